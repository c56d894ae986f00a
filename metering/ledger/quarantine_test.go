package ledger

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

func entries(tb testing.TB, l *Ledger, q QuarantineFilter) []Entry {
	tb.Helper()
	var out []Entry
	require.NoError(tb, l.Quarantined(tb.Context(), q, func(e *Entry) error {
		out = append(out, *e)
		return nil
	}))
	return out
}

func TestQuarantineKeepsEveryByte(t *testing.T) {
	t.Parallel()
	l := open(t)
	all := make([]byte, 0, 256*3)
	for i := range 256 {
		all = append(all, byte(i), byte(255-i), 0)
	}
	random := make([]byte, 100_000)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(random)
	var want []Entry
	for i, raw := range [][]byte{all, random, {}, []byte("not json"), {0xff}} {
		want = append(want, Entry{
			ID: EntryID("acme", "", raw), Reason: metering.ReasonMalformed, Detail: "line 1: it's \\ broken", Raw: raw,
			QuarantinedAt: noon.Add(time.Duration(i) * time.Second), State: QuarantineOpen, Version: 1,
		})
	}
	require.NoError(t, l.InsertQuarantine(t.Context(), want))
	require.NoError(t, l.InsertQuarantine(t.Context(), want[:2])) // the same bytes are one entry
	require.Equal(t, want, entries(t, l, QuarantineFilter{State: QuarantineOpen}))
	require.Equal(t, want[1:2], entries(t, l, QuarantineFilter{ID: want[1].ID}))
	require.Equal(t, want[:1], entries(t, l, QuarantineFilter{Limit: 1}))
}

func TestQuarantineFiltersByOddRecordIDs(t *testing.T) {
	t.Parallel()
	l := open(t)
	var list []Entry
	for i, id := range oddTexts {
		list = append(list, Entry{
			ID: fmt.Sprint(i), Reason: metering.ReasonConflict, AccountID: "acme", Kind: metering.KindUsage, RecordID: id,
			QuarantinedAt: noon, State: QuarantineOpen, Note: id, Version: 1,
		})
	}
	require.NoError(t, l.InsertQuarantine(t.Context(), list))
	for i, id := range oddTexts {
		got := entries(t, l, QuarantineFilter{RecordID: id})
		require.Len(t, got, 1, "%q", id)
		require.Equal(t, fmt.Sprint(i), got[0].ID)
		require.Equal(t, id, got[0].Note)
	}
}

func TestQuarantineEntriesCloseAndResolve(t *testing.T) {
	t.Parallel()
	l := open(t)
	m := sent("m1", noon)
	entry := func(id, record string, hash uint64) Entry {
		return Entry{
			ID: id, Reason: metering.ReasonUnknownAccount, AccountID: "acme-marketing", Kind: metering.KindUsage, RecordID: record,
			ContentHash: hash, Raw: []byte(id), QuarantinedAt: noon, State: QuarantineOpen, Version: 5,
		}
	}
	require.NoError(t, l.InsertQuarantine(t.Context(), []Entry{
		entry("same", "m1", m.Hash), entry("conflict", "m1", m.Hash+1), entry("absent", "m2", 1), entry("unreadable", "", 0),
	}))
	_, n, err := l.ResolveQuarantine(t.Context(), "", noon)
	require.NoError(t, err)
	require.Zero(t, n)
	put(t, l, noon, m)
	next, n, err := l.ResolveQuarantine(t.Context(), "", noon)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, next, "from the beginning again")
	got := entries(t, l, QuarantineFilter{State: QuarantineResolved})
	require.Len(t, got, 1)
	require.Equal(t, "same", got[0].ID)

	open := entries(t, l, QuarantineFilter{ID: "absent"})
	require.NoError(t, l.CloseQuarantine(t.Context(), open, QuarantineDiscarded, "not ours", noon))
	require.Len(t, entries(t, l, QuarantineFilter{State: QuarantineOpen, Accounts: []string{"acme-marketing"}}), 2)
	require.Empty(t, entries(t, l, QuarantineFilter{State: QuarantineOpen, Accounts: []string{"acme"}}))

	// A replay marks an entry when the worker may have refused it again: open stands.
	read := entries(t, l, QuarantineFilter{ID: "conflict"})
	again := entry("conflict", "m1", m.Hash+1)
	again.Version = uint64(noon.UnixMicro())
	require.NoError(t, l.InsertQuarantine(t.Context(), []Entry{again}))
	require.NoError(t, l.CloseQuarantine(t.Context(), read, QuarantineReplayed, "", time.UnixMicro(0)))
	require.Equal(t, []Entry{again}, entries(t, l, QuarantineFilter{ID: "conflict"}))
}

// TestAReplayKeepsTheFirstTime: else nobody could tell for how long an entry has waited
// for somebody. What had been settled begins anew, and so does what its sender sends again.
func TestAReplayKeepsTheFirstTime(t *testing.T) {
	t.Parallel()
	l := open(t)
	later := noon.Add(time.Hour)
	for _, c := range []struct {
		state string
		again bool
		want  time.Time
	}{
		{QuarantineOpen, true, noon}, // refused before the replay could mark it
		{QuarantineReplayed, true, noon},
		{QuarantineDiscarded, true, later},
		{QuarantineResolved, true, later},
		{QuarantineReplayed, false, later},
		{"", true, later}, // not there before
	} {
		id := fmt.Sprint(c.state, c.again)
		e := Entry{ID: id, Reason: metering.ReasonNoPrice, QuarantinedAt: noon, State: c.state, Version: 5}
		if c.state != "" {
			require.NoError(t, l.InsertQuarantine(t.Context(), []Entry{e}))
		}
		e.QuarantinedAt, e.State, e.Again = later, QuarantineOpen, c.again
		require.NoError(t, l.OpenQuarantine(t.Context(), []Entry{e}))
		got := entries(t, l, QuarantineFilter{ID: id})
		require.Len(t, got, 1, id)
		require.Equal(t, c.want, got[0].QuarantinedAt, id)
		require.Equal(t, QuarantineOpen, got[0].State, id)
	}
}

// TestQuarantineIsLookedAtInPages: each costs the same, however much there is.
func TestQuarantineIsLookedAtInPages(t *testing.T) {
	t.Parallel()
	l := open(t)
	const n = 105_000
	require.NoError(t, l.conn.Exec(t.Context(), l.text("INSERT INTO {db}.quarantine (id, reason, account_id, kind, record_id, content_hash, state, version)"+
		" SELECT hex(sipHash128(number)), 'no_price', 'acme', 'usage', toString(number), number, 'open', 1 FROM numbers("+strconv.Itoa(n)+")")))
	m := sent("12345", noon)
	m.Record.AccountID, m.Hash = "acme", 12345
	put(t, l, noon, m)
	bound := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_rows_to_read": 3 * resolvePage}))
	after, found, pages := "", 0, 0
	for pages == 0 || after != "" {
		next, k, err := l.ResolveQuarantine(t.Context(), after, noon)
		require.NoError(t, err)
		require.True(t, next == "" || next > after)
		if next != "" {
			_, err = l.resolved(bound, after, next)
			require.NoError(t, err)
		}
		after, found, pages = next, found+k, pages+1
	}
	require.Equal(t, n/resolvePage+1, pages)
	require.Equal(t, 1, found)
	require.Len(t, entries(t, l, QuarantineFilter{State: QuarantineResolved}), 1)
}

func TestWaitingIsDueOnceItsMessageHasCome(t *testing.T) {
	t.Parallel()
	l := open(t)
	raw := []byte{0, 1, 0xff, '\\', '\''}
	waiting := func(message string, since time.Time) Waiting {
		return Waiting{AccountID: "acme-marketing", RefersTo: message, ID: "r-" + message, Raw: raw, Run: "run", Since: since, Version: 1}
	}
	list := []Waiting{waiting("m1", noon), waiting("m2", noon), waiting("old", noon.Add(-25*time.Hour)), waiting("done", noon.Add(-25*time.Hour))}
	require.NoError(t, l.InsertWaiting(t.Context(), list))
	done := list[3]
	done.Done, done.Version = true, 2
	require.NoError(t, l.InsertWaiting(t.Context(), []Waiting{done}))
	put(t, l, noon, sent("m1", noon))
	come := map[string]bool{}
	require.NoError(t, l.WaitingRefunds(t.Context(), noon.Add(-24*time.Hour), func(w *Waiting, c bool) error {
		come[w.RefersTo] = c
		require.Equal(t, raw, w.Raw)
		return nil
	}))
	require.Equal(t, map[string]bool{"m1": true, "old": false}, come)
}

// TestWhatIsDoneIsNotRead: who looks for refunds whose message has come pays for
// what waits, however many have waited.
func TestWhatIsDoneIsNotRead(t *testing.T) {
	t.Parallel()
	l := open(t)
	const n = 20_000
	list := make([]Waiting, n)
	for i := range list {
		id := strconv.Itoa(i)
		list[i] = Waiting{AccountID: "acme", RefersTo: "m" + id, ID: "r" + id, Raw: []byte("{}"), Since: noon, Version: 1}
	}
	require.NoError(t, l.InsertWaiting(t.Context(), list))
	due := func(ctx context.Context) (ids []string) {
		require.NoError(t, l.WaitingRefunds(ctx, noon.Add(time.Hour), func(w *Waiting, _ bool) error { ids = append(ids, w.ID); return nil }))
		return ids
	}
	require.Len(t, due(t.Context()), n/2, "a page")
	for i := range list[1:] {
		list[1+i].Done, list[1+i].Version = true, 2
	}
	require.NoError(t, l.InsertWaiting(t.Context(), list[1:]))
	require.NoError(t, l.conn.Exec(t.Context(), l.text("OPTIMIZE TABLE {db}.refund_waits FINAL"))) // ClickHouse does within minutes
	bound := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_rows_to_read": n / 100}))
	require.Equal(t, []string{"r0"}, due(bound))
}

// TestARefundThatCameAgainWaitsFromThenOn, and is brought back each time.
func TestARefundThatCameAgainWaitsFromThenOn(t *testing.T) {
	t.Parallel()
	l := open(t)
	wait := func(since time.Time) Waiting {
		return Waiting{AccountID: "acme", RefersTo: "m", ID: "r", Raw: []byte("{}"), Since: since, Version: uint64(since.UnixMicro())}
	}
	due := func(before time.Time) (list []Waiting) {
		require.NoError(t, l.WaitingRefunds(t.Context(), before, func(w *Waiting, _ bool) error { list = append(list, *w); return nil }))
		return list
	}
	list := []Waiting{wait(noon), wait(noon.Add(time.Minute))}
	require.NoError(t, l.InsertWaiting(t.Context(), list))
	require.NoError(t, l.InsertWaiting(t.Context(), list[:1]), "an insert that was repeated")
	require.Empty(t, due(noon.Add(time.Second)))
	for left := 2; left > 0; left-- { // what came twice is taken back twice
		found := due(noon.Add(time.Hour))
		require.Len(t, found, left)
		for i := range found {
			found[i].Done, found[i].Version = true, uint64(noon.Add(time.Hour).UnixMicro())
		}
		require.NoError(t, l.InsertWaiting(t.Context(), found))
	}
	require.Empty(t, due(noon.Add(time.Hour)))
	waiting, err := l.WaitingAt(t.Context(), []string{"acme"}, noon.Add(2*time.Hour))
	require.NoError(t, err)
	require.Empty(t, waiting)
}

// TestARefusalAfterAReplayStands, also where it comes from a worker whose clock
// is behind that of the one before.
func TestARefusalAfterAReplayStands(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := running(t, l, WriterOptions{})
	refuse := func(clock time.Duration) {
		at := time.Now().Add(clock)
		e := Entry{
			ID: "e", Reason: metering.ReasonNoPrice, AccountID: "acme", Kind: "usage", RecordID: "m", Raw: []byte("{}"), QuarantinedAt: at,
			State: QuarantineOpen, Version: uint64(at.UnixMicro()),
		}
		require.NoError(t, w.Write(t.Context(), &Batch{Quarantine: []Entry{e}}))
	}
	standing := func(state string) (list []Entry) {
		require.NoError(t, l.Quarantined(t.Context(), QuarantineFilter{ID: "e", State: state}, func(e *Entry) error { list = append(list, *e); return nil }))
		require.Len(t, list, 1)
		return list
	}
	refuse(time.Hour)
	require.NoError(t, l.CloseQuarantine(t.Context(), standing(QuarantineOpen), QuarantineReplayed, "", time.UnixMicro(0)))
	refuse(-time.Hour)
	standing(QuarantineOpen)
}

// TestLargeEntriesAreInsertedInParts: each insert holds its lines several times.
func TestLargeEntriesAreInsertedInParts(t *testing.T) {
	t.Parallel()
	l := open(t)
	large := bytes.Repeat([]byte("x"), quarantineBytes/2+1)
	var entries []Entry
	for i := range 5 {
		raw := large
		if i%2 == 1 {
			raw = []byte("small")
		}
		entries = append(entries, Entry{ID: fmt.Sprint("e", i), Raw: raw, QuarantinedAt: noon, State: QuarantineOpen, Version: 1})
	}
	require.NoError(t, l.InsertQuarantine(t.Context(), entries))
	got := map[string]int{}
	require.NoError(t, l.Quarantined(t.Context(), QuarantineFilter{State: QuarantineOpen}, func(e *Entry) error {
		got[e.ID] = len(e.Raw)
		return nil
	}))
	require.Equal(t, map[string]int{"e0": len(large), "e1": 5, "e2": len(large), "e3": 5, "e4": len(large)}, got)
	var parts uint64
	require.NoError(t, l.conn.QueryRow(t.Context(), l.text("SELECT uniqExact(_part) FROM {db}.quarantine")).Scan(&parts))
	require.EqualValues(t, 3, parts)
}
