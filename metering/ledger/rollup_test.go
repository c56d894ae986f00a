package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// roll rolls what is due at now, as the worker does.
func roll(tb testing.TB, l *Ledger, now time.Time) int {
	tb.Helper()
	n := 0
	for {
		due, err := l.DueHours(tb.Context(), time.Time{}, now)
		require.NoError(tb, err)
		if len(due) == 0 {
			return n
		}
		require.NoError(tb, l.RollHours(tb.Context(), due, now))
		n += len(due)
	}
}

// mark makes an hour's rollup due.
func mark(tb testing.TB, l *Ledger, h AccountHour, now time.Time) {
	tb.Helper()
	require.NoError(tb, l.insertColumns(tb.Context(), "dirty_hours", "account_id, hour, marked_at", []string{h.AccountID}, []time.Time{h.Hour}, []time.Time{now}))
}

// ofRows is what usage is by rows alone.
func ofRows(tb testing.TB, l *Ledger, q UsageQuery) []UsageLine {
	tb.Helper()
	var out []UsageLine
	params, err := l.usageParams(tb.Context(), &q)
	require.NoError(tb, err)
	require.NoError(tb, l.usageOfRows(tb.Context(), &q, params, func(u *UsageLine) error {
		out = append(out, *u)
		return nil
	}))
	return out
}

// ofRollups is what usage is by rollups and rows; it fails where they can't answer.
func ofRollups(tb testing.TB, l *Ledger, q UsageQuery) []UsageLine {
	tb.Helper()
	var out []UsageLine
	params, err := l.usageParams(tb.Context(), &q)
	require.NoError(tb, err)
	done, err := l.usageOfRollups(tb.Context(), &q, params, func(u *UsageLine) error {
		out = append(out, *u)
		return nil
	})
	require.NoError(tb, err)
	require.True(tb, done, "rollups can answer %+v", q)
	return out
}

func TestAnHourIsRolledOnceItIsOverAndQuiet(t *testing.T) {
	t.Parallel()
	l := open(t)
	at := noon.Add(10 * time.Minute)
	put(t, l, at, sent("m1", at))
	require.Zero(t, roll(t, l, noon.Add(50*time.Minute)), "it isn't over")
	over := noon.Add(time.Hour + rollQuiet + time.Second)
	require.Equal(t, 1, roll(t, l, over))
	require.Zero(t, roll(t, l, over.Add(time.Hour)), "nothing came")
	require.Equal(t, []string{": 1 1 0.05 0 0.01 0 EUR"}, shorts(ofRollups(t, l, UsageQuery{Parent: "acme"})))

	late := noon.Add(3 * time.Hour)
	put(t, l, late, sent("m2", at))
	require.Equal(t, []string{": 2 2 0.1 0 0.02 0 EUR"}, shorts(usage(t, l, UsageQuery{Parent: "acme"})), "its rows are read")
	require.Zero(t, roll(t, l, late.Add(rollQuiet)), "it isn't quiet")
	require.Equal(t, 1, roll(t, l, late.Add(rollQuiet+time.Second)))
	require.Equal(t, []string{": 2 2 0.1 0 0.02 0 EUR"}, shorts(ofRollups(t, l, UsageQuery{Parent: "acme"})))
	var lines uint64
	require.NoError(t, l.conn.QueryRow(t.Context(), l.text("SELECT sum(length(lines)) FROM {db}.usage_hourly FINAL")).Scan(&lines))
	require.EqualValues(t, 1, lines)
}

func TestAMarkDuringARollMakesTheHourDueAgain(t *testing.T) {
	t.Parallel()
	l := open(t)
	put(t, l, noon, sent("m1", noon))
	began := noon.Add(2 * time.Hour)
	due, err := l.DueHours(t.Context(), time.Time{}, began)
	require.NoError(t, err)
	require.Equal(t, []AccountHour{{"acme-marketing", noon}}, due)
	require.NoError(t, l.RollHours(t.Context(), due, began))
	// The row comes after the roll has read, by a worker whose clock is behind.
	put(t, l, began.Add(-rollSlack/2), sent("m2", noon))
	require.Equal(t, []string{": 2 2 0.1 0 0.02 0 EUR"}, shorts(usage(t, l, UsageQuery{Parent: "acme"})))
	require.Equal(t, 1, roll(t, l, began.Add(time.Minute)))
	require.Equal(t, []string{": 2 2 0.1 0 0.02 0 EUR"}, shorts(ofRollups(t, l, UsageQuery{Parent: "acme"})))
	// A slow roller that began earlier doesn't win.
	require.NoError(t, l.RollHours(t.Context(), due, began))
	require.Equal(t, []string{": 2 2 0.1 0 0.02 0 EUR"}, shorts(ofRollups(t, l, UsageQuery{Parent: "acme"})))
}

func TestAnHourWithoutRowsSettlesToo(t *testing.T) {
	t.Parallel()
	l := open(t)
	put(t, l, noon, status("s1", "m1", "delivered", noon))
	mark(t, l, AccountHour{"it's", noon.Add(30 * time.Minute)}, noon)
	later := noon.Add(3 * time.Hour)
	require.Equal(t, 3, roll(t, l, later))
	require.Empty(t, ofRollups(t, l, UsageQuery{}))
	due, err := l.DueHours(t.Context(), MarkedBefore(later), later)
	require.NoError(t, err)
	require.Empty(t, due)
}

// TestRollupsAndRowsAgree: whatever is inserted, marked and rolled in whatever
// order, usage is the sum over the rows.
func TestRollupsAndRowsAgree(t *testing.T) {
	t.Parallel()
	l := open(t)
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	zones := []string{"UTC", "Asia/Kathmandu", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Europe/Rome"}
	rolled, mixed := 0, 0
	for step := range 40 {
		now = now.Add(time.Duration(random.IntN(120)) * time.Minute)
		switch random.IntN(3) {
		case 0:
			rolled += roll(t, l, now)
		default:
			var rows []Row
			for i := range random.IntN(40) {
				rows = append(rows, randomRow(random, fmt.Sprintf("%d-%d", step, i), now))
			}
			if random.IntN(4) == 0 && len(rows) > 0 { // the same rows in a newer epoch
				again := append([]Row(nil), rows...)
				for i := range again {
					again[i].Epoch = 2
				}
				put(t, l, now, again...)
			}
			put(t, l, now, rows...)
		}
		zone, err := time.LoadLocation(zones[random.IntN(len(zones))])
		require.NoError(t, err)
		lists := []string{"", "day", "month,account", "hour", "booked,channel,direction", "account,day,country,network,category,unit,purse,plan,plan_version,rule,period,parent,currency"}
		q := UsageQuery{Parent: "acme", Zone: zone, By: by(t, lists[random.IntN(len(lists))])}
		if random.IntN(2) == 0 {
			q.From = now.Add(-time.Duration(random.IntN(100_000)) * time.Second)
		}
		if random.IntN(2) == 0 {
			q.To = now.Add(-time.Duration(random.IntN(20_000)) * time.Second)
		}
		if random.IntN(4) == 0 {
			q.Accounts = []string{"acme-support"}
		}
		if random.IntN(4) == 0 {
			q.Booked = "2026-11"
		}
		want, got := ofRows(t, l, q), usage(t, l, q)
		require.Equal(t, shorts(want), shorts(got), "step %d: %+v", step, q)
		for i := range want {
			require.Equal(t, want[i].Records, got[i].Records)
		}
		if _, ok := rollupParams(&q, map[string]string{}); ok && rolled > 0 {
			mixed++
		}
	}
	require.Greater(t, rolled, 20)
	require.Greater(t, mixed, 10)
}

func randomRow(random *rand.Rand, id string, now time.Time) Row {
	at := now.Add(-time.Duration(random.IntN(6*3600*1000)) * time.Millisecond)
	r := sent(id, at)
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	r.Record.AccountID = pick("acme", "acme-marketing", "acme-support")
	r.Record.Channel, r.Record.Direction = pick("sms", "voice"), pick(metering.Inbound, metering.Outbound)
	r.Record.Country, r.Record.Network, r.Record.Category = pick("IT", "DE", ""), pick("22210", ""), pick("marketing", "")
	r.Purse = metering.Purse(pick("wallet", "budget", "credit"))
	r.Booked = pick(r.Booked, "2026-12")
	r.Charge.Amount = metering.Micros(random.Int64N(1_000_000))
	r.Charge.Units = metering.Quantity(random.Int64N(10_000_000))
	r.Hour = at.Add(-30 * time.Minute).Truncate(time.Hour).Add(30 * time.Minute) // a half-hour zone's
	switch random.IntN(8) {
	case 0:
		r.Record.Kind, r.Record.RefersTo = metering.KindRefund, "of-"+id
	case 1:
		r.Record.Kind = metering.KindAdjustment
		r.Charge.Amount = -r.Charge.Amount
	case 2:
		r.Record.Kind, r.Record.RefersTo, r.Charge = metering.KindStatus, "of-"+id, metering.Charge{}
	}
	return r
}

// TestUsageWhileItIsWrittenAndRolled: what was acknowledged before a query
// began is in it, exactly once, whoever rolls.
func TestUsageWhileItIsWrittenAndRolled(t *testing.T) {
	t.Parallel()
	l := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	now, stored := noon, 0
	advance := func(d time.Duration) time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
		return now
	}
	// What happens during a query is bounded: without, the slower a query the more is
	// written and rolled meanwhile, which makes the next slower still.
	rolls, writes := make(chan struct{}, 2), make(chan struct{}, 4)
	for range 2 {
		wg.Go(func() {
			for take(ctx, rolls) {
				at := advance(time.Minute)
				due, err := l.DueHours(ctx, time.Time{}, at)
				if err == nil {
					_ = l.RollHours(ctx, due, at)
				}
			}
		})
	}
	wg.Go(func() {
		random := rand.New(rand.NewPCG(3, 4))
		for i := 0; take(ctx, writes); i++ {
			at := advance(time.Duration(random.IntN(3000)) * time.Second)
			row := sent(fmt.Sprint("m", i), at.Add(-time.Duration(random.IntN(7200))*time.Second))
			if _, err := l.insertRows(ctx, []*Row{&row}, at); err != nil {
				return
			}
			if err := l.markHours(ctx, []*Row{&row}, advance(0)); err != nil {
				return
			}
			mu.Lock()
			stored = i + 1
			mu.Unlock()
		}
	})
	for range 25 {
		fill(rolls)
		fill(writes)
		mu.Lock()
		least := stored
		mu.Unlock()
		list := usage(t, l, UsageQuery{Parent: "acme"})
		mu.Lock()
		most := stored + 1
		mu.Unlock()
		records := 0
		if len(list) > 0 {
			records = int(list[0].Records)
		}
		require.GreaterOrEqual(t, records, least)
		require.LessOrEqual(t, records, most)
	}
	require.Greater(t, stored, 25)
	cancel()
	wg.Wait()
}

// take one of what may be done, or none: the test is over.
func take(ctx context.Context, from <-chan struct{}) bool {
	select {
	case <-from:
		return true
	case <-ctx.Done():
		return false
	}
}

func fill(to chan<- struct{}) {
	for {
		select {
		case to <- struct{}{}:
		default:
			return
		}
	}
}

func TestWholeSlots(t *testing.T) {
	t.Parallel()
	in := func(name string, from, to int, want bool) {
		zone, err := time.LoadLocation(name)
		require.NoError(t, err)
		require.Equal(t, want, wholeSlots(zone, time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(to, 1, 1, 0, 0, 0, 0, time.UTC)), name)
	}
	in("Asia/Kathmandu", 2012, 2100, true)
	in("Australia/Lord_Howe", 2012, 2100, true)
	in("America/St_Johns", 2012, 2100, true)
	in("America/St_Johns", 2005, 2007, false) // the clocks changed at 00:01
	in("Africa/Monrovia", 1970, 1971, false)  // −00:44:30
	require.True(t, wholeSlots(nil, time.Time{}, time.Time{}))
}

// TestHoursDueBeforeRowsGo: an hour whose rows are still read, and would be
// rolled anew, is due; one of which the instant's own hour alone is due isn't.
func TestHoursDueBeforeRowsGo(t *testing.T) {
	t.Parallel()
	l := open(t)
	hour := AccountHour{"acme-marketing", noon}
	due := func(before time.Time) int {
		t.Helper()
		n, err := l.DueHoursBefore(t.Context(), before)
		require.NoError(t, err)
		return n
	}
	marked := noon.Add(3 * time.Hour)
	mark(t, l, hour, marked)
	require.Equal(t, 1, due(noon.Add(time.Hour)))
	require.NoError(t, l.RollHours(t.Context(), []AccountHour{hour}, marked.Add(rollSlack/2)))
	require.Equal(t, 1, due(noon.Add(time.Hour)), "a mark by a clock that is behind may stand for rows that weren't rolled")
	require.NoError(t, l.RollHours(t.Context(), []AccountHour{hour}, marked.Add(rollSlack)))
	require.Zero(t, due(noon.Add(time.Hour)))

	// A local hour of a zone of half hours, in the last hour before the instant.
	mark(t, l, AccountHour{hour.AccountID, noon.Add(30 * time.Minute)}, marked.Add(-time.Hour))
	require.Zero(t, due(noon.Add(time.Hour)), "the hour after it needs no row of before")
}

// cutServer comes to its end at an insert, as a process that is killed does.
type cutServer struct {
	Server

	mu     sync.Mutex
	left   int                // inserts until then
	before func(table string) // each insert, one at a time
}

func (s *cutServer) Insert(ctx context.Context, table, columns string, data []any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left < 0 {
		return errors.New("killed")
	}
	s.before(table)
	return s.Server.Insert(ctx, table, columns, data)
}

// TestUsageHoldsWhereverStoringIsCutOff: a writer stores rows of an hour that was
// rolled before and is rolled while they are on their way, and is killed between
// its inserts for good. Usage by rollups is that of the rows all the same.
func TestUsageHoldsWhereverStoringIsCutOff(t *testing.T) {
	t.Parallel()
	l := open(t)
	now, err := l.Now(t.Context())
	require.NoError(t, err)
	for inserts := range 4 {
		hour := noon.Add(time.Duration(inserts) * time.Hour)
		put(t, l, hour, sent("m", hour))
		require.Equal(t, 1, roll(t, l, hour.Add(2*time.Hour)))
		stored := []string{}
		cut := NewWithServer(&cutServer{Server: l.server, left: inserts, before: func(table string) {
			stored = append(stored, table)
			roll(t, l, now.Add(metering.InsertMax/2)) // a slow insert: the hour seems quiet meanwhile
		}})
		w := NewWriter(cut, WriterOptions{})
		err := w.store(t.Context(), []*request{{batch: &Batch{Rows: []Row{sent("cut", hour)}}}})
		require.Equal(t, inserts < 3, err != nil)
		roll(t, l, now.Add(time.Hour))
		q := UsageQuery{Parent: "acme", From: hour, To: hour.Add(time.Hour)}
		require.Equal(t, shorts(ofRows(t, l, q)), shorts(ofRollups(t, l, q)), "cut off after %q", stored)
		require.Equal(t, err == nil, slices.Contains(stored, "records"), "the rows come last: %q", stored)
	}
}

// TestStatusesStandBeforeTheirRows, wherever storing is cut off: a task that comes again
// under a new projection finds its rows stored, and stores nothing.
func TestStatusesStandBeforeTheirRows(t *testing.T) {
	t.Parallel()
	l := open(t)
	q := UndecidedQuery{At: noon.Add(time.Hour), Arrived: time.Now().Add(time.Hour), Now: noon, Limit: 10}
	for inserts := range 5 {
		id := fmt.Sprint("m", inserts)
		late := sent(id, noon)
		failed := status("s"+id, id, "failed", noon.Add(time.Second))
		cut := NewWithServer(&cutServer{Server: l.server, left: inserts, before: func(string) {}})
		err := NewWriter(cut, WriterOptions{}).store(t.Context(), []*request{{batch: &Batch{Rows: []Row{late, failed}}}})
		require.Equal(t, inserts < 4, err != nil)
		key := MessageKey{AccountID: late.Record.AccountID, ID: id}
		traces, err := l.Traces(t.Context(), []MessageKey{key})
		require.NoError(t, err)
		if traces[key] == nil || !traces[key].Stored {
			require.Less(t, inserts, 4)
			continue
		}
		page, err := l.Undecided(t.Context(), &q)
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(page, func(u Undecided) bool { return u.MessageKey == key }), "cut off after %d inserts", inserts)
		require.Contains(t, traces[key].Statuses, metering.MessageStatus{At: noon.Add(time.Second), Status: "failed", ID: "s" + id})
	}
}
