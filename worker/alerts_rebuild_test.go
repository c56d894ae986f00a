package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/worker/workertest"
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
	h.TB.Helper()
	rows, err := h.Engines.ClickHouse(h.TB).Query(h.TB.Context(), "SELECT account_id || ' ' || limit_kind || ' ' || toString(share) AS a FROM alerts FINAL ORDER BY a")
	require.NoError(h.TB, err)
	defer func() { _ = rows.Close() }()
	out := []string{}
	for rows.Next() {
		var s string
		require.NoError(h.TB, rows.Scan(&s))
		out = append(out, s)
	}
	require.NoError(h.TB, rows.Err())
	return out
}

// spend sends so many messages of each account, numbered on from sent.
func (h *harness) spend(sent *int, n int, accounts ...string) {
	h.TB.Helper()
	var lines []string
	for range n {
		for _, account := range accounts {
			*sent++
			lines = append(lines, workertest.Message(account, fmt.Sprint(*sent), time.Second))
		}
	}
	require.EqualValues(h.TB, len(lines), h.Batch().Task(lines...).Wait().Stored)
}

// TestARebuildKeepsAlerts: each comes once for its month or top-up, whether Redis
// was lost meanwhile or not, and those that are still to come do.
func TestARebuildKeepsAlerts(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(alertAccounts)
	h.work(Options{})
	var want []string
	raised := func(more ...string) {
		t.Helper()
		want = append(want, more...)
		h.Eventually("alerts", func() bool { return len(h.raised()) >= len(want) })
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
		h.spend(&sent, n, accounts...)
	}
	rebuild := func() {
		t.Helper()
		require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	}

	h.transfer("1", metering.TransferTopup, "pre", 10*workertest.Price)
	h.transfer("2", metering.TransferAllocate, "pre-sub", 10*workertest.Price)
	h.transfer("3", metering.TransferTopup, "pre", 10*workertest.Price)
	send(5, "pre-shared", "pre-sub", "post")
	raised(each(50)...)
	rebuild()
	send(3, "pre-shared", "pre-sub", "post")
	raised(each(80)...)

	rebuild()
	h.transfer("4", metering.TransferTopup, "pre", 10*workertest.Price) // 12 are in the wallet then
	send(6, "pre")
	raised("pre wallet 50")
	rebuild()
	send(4, "pre")
	raised("pre wallet 80")
	require.Zero(t, h.Reconcile())
}

// purses is what the projection keeps for the alerts of purses.
func (h *harness) purses(accounts ...string) map[string]any {
	h.TB.Helper()
	out := map[string]any{}
	for _, id := range accounts {
		v, err := h.Redis.HMGet(h.TB.Context(), "{p00}:a:"+id, "base", "tn", "as").Result()
		require.NoError(h.TB, err)
		for i, field := range v { // what was never written is as good as empty
			if field == nil {
				v[i] = ""
			}
		}
		out[id] = v
	}
	return out
}

// TestMovedMoneyIsntUsed: what is allocated, reclaimed or adjusted tells of no share;
// shares are of what was used of what is there. A projection that is made anew
// begins with the same.
func TestMovedMoneyIsntUsed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(alertAccounts)
	h.work(Options{})
	var want []string
	sent := 0
	// step moves or sends, and tells which alerts that raises, and none else; the
	// projection is made anew after it.
	step := func(do func(), more ...string) {
		t.Helper()
		do()
		h.relayed()
		want = append(want, more...)
		require.ElementsMatch(t, want, h.raised())
		before := h.purses("pre", "pre-sub")
		require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
		require.Equal(t, before, h.purses("pre", "pre-sub"))
	}
	move := func(kind metering.TransferKind, account string, amount metering.Micros) func() {
		return func() {
			t.Helper()
			sent++
			_, err := h.Admin.Transfer(t.Context(), metering.Transfer{
				Ref: fmt.Sprint(sent), Kind: kind, AccountID: account, Amount: amount, Actor: "operator", Reason: "test",
			})
			require.NoError(t, err)
		}
	}
	send := func(n int, account string) func() {
		return func() {
			t.Helper()
			h.spend(&sent, n, account)
		}
	}
	step(move(metering.TransferTopup, "pre", 100*workertest.Price))
	step(move(metering.TransferAllocate, "pre-sub", 90*workertest.Price))
	step(move(metering.TransferReclaim, "pre-sub", 90*workertest.Price))
	step(send(49, "pre"))
	step(send(1, "pre"), "pre wallet 50")
	step(move(metering.TransferAllocate, "pre-sub", 30*workertest.Price)) // 50 of 70
	step(move(metering.TransferAdjust, "pre", -5*workertest.Price))       // 50 of 65
	step(move(metering.TransferAdjust, "pre", 5*workertest.Price))
	step(send(6, "pre"), "pre wallet 80")          // 56 of 70
	step(send(15, "pre-sub"), "pre-sub budget 50") // 15 of 30
	step(move(metering.TransferReclaim, "pre-sub", 13*workertest.Price), "pre-sub budget 80")
	step(move(metering.TransferAdjust, "pre-sub", -2*workertest.Price), "pre-sub budget 100")
	step(move(metering.TransferAllocate, "pre-sub", 10*workertest.Price)) // a new mark
	step(send(5, "pre-sub"), "pre-sub budget 50")
	// A budget that is swept is over.
	step(func() {
		shared := strings.Replace(alertAccounts, "source: allocated", "source: shared", 1)
		require.NotEqual(t, alertAccounts, shared)
		h.Apply(shared)
	})
	step(func() { h.Apply(alertAccounts) })
	step(move(metering.TransferAllocate, "pre-sub", 10*workertest.Price))
	step(send(5, "pre-sub"), "pre-sub budget 50")
	step(func() {
		_, err := h.Admin.Close(t.Context(), "pre-sub")
		require.NoError(t, err)
	})
	require.Zero(t, h.Reconcile())
}
