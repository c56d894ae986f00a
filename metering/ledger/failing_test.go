package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestFailingsComeInPages: every message once, whatever its id holds.
func TestFailingsComeInPages(t *testing.T) {
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
	seen := map[string]int{}
	var after MessageKey
	const page = 4
	for n := page; n == page; {
		n = 0
		require.NoError(t, l.Failings(t.Context(), after, page, func(f *Failing) error {
			n++
			require.True(t, f.Stored)
			require.Equal(t, "failed", f.Status)
			require.Equal(t, metering.Micros(40_000), f.Refundable)
			require.Greater(t, f.MessageID, after.ID)
			after = MessageKey{AccountID: f.AccountID, ID: f.MessageID}
			seen[f.MessageID]++
			return nil
		}))
	}
	require.Len(t, seen, len(oddTexts))
	for id, n := range seen {
		require.Equal(t, 1, n, "%q", id)
	}
}
