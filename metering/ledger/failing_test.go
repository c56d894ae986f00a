package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestUndecidedComesInPages: every message once, whatever its id holds, until it
// is decided.
func TestUndecidedComesInPages(t *testing.T) {
	t.Parallel()
	l := open(t)
	var rows []Row
	for _, id := range oddTexts {
		r := sent(id, noon)
		failed := *r.Record
		failed.Status = "failed"
		r.Record = &failed
		rows = append(rows, r)
	}
	never := sent("of a plan that refunds nothing", noon)
	never.Record.Status, never.Refundable = "failed", false
	put(t, l, noon, append(rows, never)...)
	q := UndecidedQuery{At: noon, Arrived: noon.Add(time.Hour), Now: noon, Limit: 4}
	seen := map[string]int{}
	for n := q.Limit; n == q.Limit; {
		page, err := l.Undecided(t.Context(), &q)
		require.NoError(t, err)
		n = len(page)
		for _, u := range page {
			seen[u.ID]++
			traces, err := l.Traces(t.Context(), []MessageKey{u.MessageKey})
			require.NoError(t, err)
			require.True(t, traces[u.MessageKey].Stored)
			require.Equal(t, []metering.MessageStatus{{At: noon, Status: "failed"}}, traces[u.MessageKey].Statuses)
		}
		require.NoError(t, l.Looked(t.Context(), page, nil))
	}
	require.Len(t, seen, len(oddTexts))
	for id, n := range seen {
		require.Equal(t, 1, n, "%q", id)
	}
	left, err := l.Undecided(t.Context(), &q)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestNothingIsKeptOfWhatIsDecided: what was looked at for the last time leaves
// the table, so that a look doesn't grow with all that ever was.
func TestNothingIsKeptOfWhatIsDecided(t *testing.T) {
	t.Parallel()
	l := open(t)
	insert := func(sign string) {
		require.NoError(t, l.conn.Exec(t.Context(), l.text("INSERT INTO {db}.refund_looks SELECT 0, toDateTime64(0, 3), 'a', 'a', toString(number), toDateTime64(0, 3), "+sign+" FROM numbers(100000)")))
	}
	insert("1")
	insert("-1")
	list, err := l.Undecided(t.Context(), &UndecidedQuery{At: noon, Arrived: noon, Now: noon, Limit: 10})
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, l.conn.Exec(t.Context(), l.text("OPTIMIZE TABLE {db}.refund_looks FINAL")))
	var n uint64
	require.NoError(t, l.conn.QueryRow(t.Context(), l.text("SELECT count() FROM {db}.refund_looks")).Scan(&n))
	require.Zero(t, n)
}

// reasons to look at messages of a parent, whose dues begin at an instant, a millisecond apart.
func reasons(parent string, look Look, from time.Time, n int) []Undecided {
	list := make([]Undecided, n)
	for i := range list {
		at := from.Add(time.Duration(i) * time.Millisecond)
		list[i] = Undecided{MessageKey: MessageKey{AccountID: parent + "-sub", ID: fmt.Sprint(i)}, ParentID: parent, Look: look, Due: at, Arrived: at}
	}
	return list
}

// TestParentsAreLookedAtInTurn: much that is due of one holds up no other's.
func TestParentsAreLookedAtInTurn(t *testing.T) {
	t.Parallel()
	l := open(t)
	require.NoError(t, l.Looked(t.Context(), nil, reasons("aa", LookNew, noon.AddDate(0, 0, -9), 3000)))
	require.NoError(t, l.Looked(t.Context(), nil, reasons("bb", LookMade, noon.AddDate(0, 0, -8), 3000)))
	require.NoError(t, l.Looked(t.Context(), nil, append(reasons("cc", LookNew, noon.Add(-time.Hour), 1), reasons("dd", LookAgain, noon.Add(-time.Minute), 1)...)))
	q := UndecidedQuery{At: noon, Arrived: noon, Now: noon, Limit: 1000}
	var pages [3]map[string]int
	for i := range pages {
		page, err := l.Undecided(t.Context(), &q)
		require.NoError(t, err)
		pages[i] = map[string]int{}
		for _, u := range page {
			pages[i][u.ParentID]++
		}
		require.NoError(t, l.Looked(t.Context(), page, nil))
	}
	require.Equal(t, [3]map[string]int{{"aa": 499, "bb": 499, "cc": 1, "dd": 1}, {"aa": 500, "bb": 500}, {"aa": 500, "bb": 500}}, pages)
	q.Limit = 10_000
	left, err := l.Undecided(t.Context(), &q)
	require.NoError(t, err)
	require.Len(t, left, 2*(3000-1499))
	require.Equal(t, noon.AddDate(0, 0, -9).Add(1499*time.Millisecond), left[0].Due.UTC(), "the oldest come first")
}

// TestWhatIsNotDueIsNotRead: a look costs what is due, however much is undecided.
func TestWhatIsNotDueIsNotRead(t *testing.T) {
	t.Parallel()
	l := open(t)
	const n = 200_000
	require.NoError(t, l.Looked(t.Context(), nil, reasons("aa", LookAgain, noon.Add(time.Minute), n))) // looked at, due later
	require.NoError(t, l.Looked(t.Context(), nil, reasons("bb", LookNew, noon.Add(-time.Minute), n)))  // no plan refunds so soon
	require.NoError(t, l.Looked(t.Context(), nil, append(reasons("cc", LookAgain, noon.Add(-time.Second), 1), reasons("dd", LookNew, noon.Add(-2*time.Hour), 1)...)))
	q := UndecidedQuery{At: noon.Add(-time.Hour), Arrived: noon, Now: noon, Limit: 1000}
	bound := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_rows_to_read": n / 10}))
	page, err := l.Undecided(bound, &q)
	require.NoError(t, err)
	require.Len(t, page, 2)
	require.Equal(t, "dd", page[0].ParentID)

	// What is put off comes when it is due, and the reason before it never again.
	page[1].Look, page[1].Due = LookAgain, noon.Add(time.Second)
	require.NoError(t, l.Looked(t.Context(), reasons("cc", LookAgain, noon.Add(-time.Second), 1), page[1:]))
	require.NoError(t, l.Looked(t.Context(), page[:1], nil))
	page, err = l.Undecided(bound, &q)
	require.NoError(t, err)
	require.Empty(t, page)
	q.Now = noon.Add(time.Second)
	page, err = l.Undecided(bound, &q)
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, "cc", page[0].ParentID)
}
