package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFindings: each is one however often it was inserted, until somebody has looked at
// it; a closed month that goes on being another is one too.
func TestFindings(t *testing.T) {
	t.Parallel()
	l := open(t)
	at := noon.Truncate(time.Millisecond)
	drift := Finding{At: at, Kind: FindingDrift, AccountID: "acme", Field: "bal", Expected: "1.00", Actual: "2.00", Healed: true}
	later := drift
	later.At = at.Add(time.Minute)
	changed := Finding{At: at.Add(time.Hour), Kind: FindingChanged, AccountID: "acme", Field: "2026-10", Expected: "a", Actual: "b"}
	again := changed
	again.At = at.Add(2 * time.Hour)
	told := Finding{At: at, Kind: FindingDelivered, AccountID: "acme", Field: "m1"}
	require.NoError(t, l.InsertFindings(t.Context(), []Finding{drift, drift, later, changed, again, told}))

	all := func(q FindingsQuery) []Finding {
		t.Helper()
		q.Limit = 100
		list, err := l.Findings(t.Context(), q)
		require.NoError(t, err)
		return list
	}
	open := func() map[string]uint64 {
		t.Helper()
		m, err := l.AlarmingFindings(t.Context())
		require.NoError(t, err)
		return m
	}
	list := all(FindingsQuery{})
	require.Len(t, list, 4)
	require.True(t, list[0].At.Equal(changed.At), "the newest first, as it was first found")
	require.Equal(t, map[string]uint64{FindingDrift: 2, FindingChanged: 1}, open())
	drifts := all(FindingsQuery{Kind: FindingDrift})
	require.Len(t, drifts, 2)
	require.Equal(t, drifts[:1], all(FindingsQuery{ID: drifts[0].ID[:8]}))

	require.NoError(t, l.AckFindings(t.Context(), nil, "operator", "", noon))
	require.NoError(t, l.AckFindings(t.Context(), []string{drifts[0].ID, list[0].ID}, "operator", "a restore", noon))
	require.Equal(t, map[string]uint64{FindingDrift: 1}, open())
	require.Len(t, all(FindingsQuery{}), 2)
	acked := all(FindingsQuery{ID: drifts[0].ID, Acked: true})
	require.Len(t, acked, 1)
	require.Equal(t, []string{"operator", "a restore"}, []string{acked[0].Actor, acked[0].Note})
	require.True(t, acked[0].AckedAt.Equal(noon))
	require.Len(t, all(FindingsQuery{Acked: true}), 4)

	again.Actual = "c" // changed once more
	require.NoError(t, l.InsertFindings(t.Context(), []Finding{again}))
	require.Equal(t, map[string]uint64{FindingDrift: 1, FindingChanged: 1}, open())

	// Each kind says what it means.
	for _, k := range FindingKinds() {
		require.NotEmpty(t, k.Means, k.Name)
		require.NotEmpty(t, k.Do, k.Name)
	}
}
