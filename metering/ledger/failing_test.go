package ledger

import (
	"testing"
	"time"

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
	put(t, l, noon, rows...)
	q := UndecidedQuery{At: noon, Arrived: noon.Add(time.Hour), Limit: 4}
	seen := map[string]int{}
	for n := q.Limit; n == q.Limit; {
		page, err := l.Undecided(t.Context(), &q)
		require.NoError(t, err)
		n = len(page)
		for _, u := range page {
			require.Greater(t, u.ID, q.After.ID)
			q.After = u.MessageKey
			seen[u.ID]++
			traces, err := l.Traces(t.Context(), []MessageKey{u.MessageKey})
			require.NoError(t, err)
			require.True(t, traces[u.MessageKey].Stored)
			require.Equal(t, []metering.MessageStatus{{At: noon, Status: "failed"}}, traces[u.MessageKey].Statuses)
		}
		require.NoError(t, l.Decided(t.Context(), page))
	}
	require.Len(t, seen, len(oddTexts))
	for id, n := range seen {
		require.Equal(t, 1, n, "%q", id)
	}
	q.After = MessageKey{}
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
		require.NoError(t, l.conn.Exec(t.Context(), l.text("INSERT INTO {db}.undecided SELECT 'a', toString(number), toDateTime64(0, 3), toDateTime64(0, 3), "+sign+" FROM numbers(100000)")))
	}
	insert("1")
	insert("-1")
	list, err := l.Undecided(t.Context(), &UndecidedQuery{At: noon, Arrived: noon, Limit: 10})
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, l.conn.Exec(t.Context(), l.text("OPTIMIZE TABLE {db}.undecided FINAL")))
	var n uint64
	require.NoError(t, l.conn.QueryRow(t.Context(), l.text("SELECT count() FROM {db}.undecided")).Scan(&n))
	require.Zero(t, n)
}
