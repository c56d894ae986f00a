package pipeline

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
)

// TestNumbersAreDerivedBeforeRating: which digits are an international number is
// asked wherever a plan has prefixes, also where the country is given.
func TestNumbersAreDerivedBeforeRating(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC)
	f, err := admin.ParseAccountsFile("a.yaml", []byte(`
plans:
  - id: p
    currency: EUR
    versions: [{effective_from: 2026-01-01T00:00:00Z, rules: [{channel: sms, prefix: "39", unit: segment, price: "0.04"}, {channel: sms, unit: segment, price: "0.01"}]}]
parents:
  - {id: a, module: enterprise, timezone: UTC, plan: p, funding: {mode: postpaid}}
`))
	require.NoError(t, err)
	changes, err := f.Plan(nil, now.AddDate(0, -1, 0))
	require.NoError(t, err)
	snap := metering.NewSnapshot(1, changes.Accounts, changes.Plans)
	task := newTask("t", [][]byte{
		[]byte(`{"id":"1","account_id":"a","channel":"sms","to":"393201234567","country":"IT","occurred_at":"2026-11-10T10:00:00Z"}`),
		[]byte(`{"id":"2","account_id":"a","channel":"sms","to":"39333","occurred_at":"2026-11-10T10:00:00Z"}`),
		[]byte(`{"id":"3","account_id":"a","channel":"sms","direction":"inbound","from":"39244","to":"393201234567","occurred_at":"2026-11-10T10:00:00Z"}`),
	}, false)
	for i, want := range []metering.Micros{40_000, 10_000, 10_000} {
		c, ref := rate(snap, snap.Accounts["a"], &task.recs[i], now)
		require.Nil(t, ref)
		require.Equal(t, want, c.amount, string(task.lines[i]))
	}
}
