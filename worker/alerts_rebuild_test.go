package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

const alertAccounts = `
parents:
  - id: pre
    module: enterprise
    timezone: UTC
    plan: flat
    funding: {mode: prepaid}
    alerts: [50, 80, 100]
    sub_accounts:
      - {id: pre-sub, channels: [sms], funding: {source: allocated}}
      - {id: pre-shared, channels: [sms], monthly_limit: "0.10"}
  - id: post
    module: enterprise
    timezone: UTC
    plan: flat
    funding: {mode: postpaid, credit_limit: "0.10"}
    alerts: [50, 80, 100]
`

// raised are the alerts that the ledger has, each as often as it was raised.
func (h *harness) raised() []string {
	h.tb.Helper()
	rows, err := h.engines.ClickHouse(h.tb).Query(h.tb.Context(), "SELECT account_id || ' ' || limit_kind || ' ' || toString(share) AS a FROM alerts FINAL ORDER BY a")
	require.NoError(h.tb, err)
	defer func() { _ = rows.Close() }()
	out := []string{}
	for rows.Next() {
		var s string
		require.NoError(h.tb, rows.Scan(&s))
		out = append(out, s)
	}
	require.NoError(h.tb, rows.Err())
	return out
}

// TestARebuildKeepsAlerts: each comes once for its month or top-up, whether Redis
// was lost meanwhile or not, and those that are still to come do.
func TestARebuildKeepsAlerts(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(alertAccounts)
	h.work(Options{})
	var want []string
	raised := func(more ...string) {
		t.Helper()
		want = append(want, more...)
		h.eventually("alerts", func() bool { return len(h.raised()) >= len(want) })
		require.ElementsMatch(t, want, h.raised())
	}
	each := func(share int) (list []string) {
		for _, limit := range []string{"pre-shared monthly_limit", "pre wallet", "pre-sub budget", "post credit"} {
			list = append(list, fmt.Sprint(limit, " ", share))
		}
		return list
	}
	sent := 0
	send := func(n int, accounts ...string) {
		t.Helper()
		var lines []string
		for range n {
			for _, account := range accounts {
				sent++
				lines = append(lines, message(account, fmt.Sprint(sent), time.Second))
			}
		}
		require.EqualValues(t, len(lines), h.batch().task(lines...).wait().Stored)
	}
	rebuild := func() {
		t.Helper()
		require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	}

	h.transfer("1", metering.TransferTopup, "pre", 10*price)
	h.transfer("2", metering.TransferAllocate, "pre-sub", 10*price)
	raised("pre wallet 50", "pre wallet 80", "pre wallet 100")
	h.transfer("3", metering.TransferTopup, "pre", 10*price)
	send(5, "pre-shared", "pre-sub", "post")
	raised(each(50)...)
	rebuild()
	send(3, "pre-shared", "pre-sub", "post")
	raised(each(80)...)

	rebuild()
	h.transfer("4", metering.TransferTopup, "pre", 10*price) // 12 are in the wallet then
	send(6, "pre")
	raised("pre wallet 50")
	rebuild()
	send(4, "pre")
	raised("pre wallet 80")
	require.Zero(t, h.reconcile())
}
