package worker

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/gate"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/worker/workertest"
)

// zones, one for each hour of the day, some with odd minutes.
var zones = []string{
	"Pacific/Pago_Pago", "Pacific/Honolulu", "America/Anchorage", "America/Los_Angeles", "America/Denver", "America/Chicago", "America/New_York",
	"America/Halifax", "America/St_Johns", "America/Sao_Paulo", "Atlantic/South_Georgia", "Atlantic/Azores", "UTC", "Europe/Rome", "Africa/Cairo",
	"Europe/Istanbul", "Asia/Dubai", "Asia/Karachi", "Asia/Kathmandu", "Asia/Dhaka", "Asia/Bangkok", "Asia/Shanghai", "Asia/Tokyo", "Pacific/Kiritimati",
}

// manyParents are n parents over the zones, each with a ceiling and a
// sub-account with a limit, and one with n sub-accounts.
func manyParents(n int) string {
	var b strings.Builder
	b.WriteString(`
plans:
  - {id: flat-many, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.01"}]}]}
parents:
`)
	for i := range n {
		fmt.Fprintf(&b, `  - {id: p%d, module: reseller, timezone: %s, plan: flat-many, funding: {mode: postpaid, credit_limit: "1"}, sub_accounts: [{id: p%d-s, channels: [sms], monthly_limit: "1"}]}
`, i, zones[i%len(zones)], i)
	}
	b.WriteString("  - id: big\n    module: reseller\n    timezone: Asia/Kathmandu\n    plan: flat-many\n    funding: {mode: postpaid, credit_limit: \"1\"}\n    sub_accounts:\n")
	for i := range n {
		fmt.Fprintf(&b, "      - {id: big-%d, channels: [sms], monthly_limit: \"1\"}\n", i)
	}
	return b.String()
}

// lastMonth puts accounts into the state in which a new month finds them: over
// their limits in the month that has just ended, suspended until its end.
func (h *harness) lastMonth() (accounts int) {
	h.TB.Helper()
	snap := h.Snapshots.Current()
	pipe := h.Redis.Pipeline()
	for id, a := range snap.Accounts {
		if !strings.HasPrefix(a.Parent(), "p") && a.Parent() != "big" {
			continue
		}
		month := a.Calendar.Of(time.Now())
		before := a.Calendar.Of(month.Start.Add(-time.Second)).Name
		flag := metering.FlagMonthly
		if a.IsParent() {
			flag = metering.FlagCeiling
		}
		pipe.HSet(h.TB.Context(), "{p00}:a:"+id, "f", int(flag), "fp", before, "fe", month.Start.UnixMilli(), "quiet", "0", "u:"+before, 2_000_000)
		accounts++
	}
	_, err := pipe.Exec(h.TB.Context())
	require.NoError(h.TB, err)
	return accounts
}

// TestRollover: 1,000 parents in 24 zones, and one with 1,000 sub-accounts: the
// gate lets all through the instant that their month begins; one look of the
// worker lifts every state, tells each once, and a second changes nothing.
func TestRollover(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const n = 1000
	h.Apply(manyParents(n))
	d, _ := workertest.Connect(t, h.Address())
	w, err := New(Deps(d), Options{})
	require.NoError(t, err)
	_, err = d.Snapshots.Refresh(t.Context())
	require.NoError(t, err)
	accounts := h.lastMonth()
	require.Equal(t, 3*n+1, accounts)

	g := gate.New(h.Store.Redis(), gate.Options{})
	for _, id := range []string{"p0", "p7-s", "big", "big-999"} {
		assert.True(t, g.Check(t.Context(), id, "sms").Allowed, "%s: the gate needs no job", id)
	}
	started := time.Now()
	require.NoError(t, w.rollMonths(t.Context()))
	t.Logf("%d parents and %d accounts rolled over in %s", n+1, accounts, time.Since(started).Round(time.Millisecond))
	told := map[string]int{}
	facts, err := h.Store.Facts(t.Context(), 0, 10*n)
	require.NoError(t, err)
	for _, f := range facts {
		if f.Fields["k"] == "state" {
			assert.Equal(t, []string{"0", "period"}, []string{f.Fields["f"], f.Fields["cause"]})
			told[f.Fields["id"]]++
		}
	}
	assert.Len(t, told, accounts)
	for id, times := range told {
		assert.Equal(t, 1, times, id)
	}
	d.Metrics = prometheus.NewRegistry()
	again, err := New(Deps(d), Options{})
	require.NoError(t, err)
	require.NoError(t, again.rollMonths(t.Context()))
	facts, err = h.Store.Facts(t.Context(), 0, 10*n)
	require.NoError(t, err)
	states := 0
	for _, f := range facts {
		if f.Fields["k"] == "state" {
			states++
		}
	}
	assert.Equal(t, accounts, states, "a second look changes nothing")
}

// TestRolloverByRedisClock: a worker whose clock is ahead of Redis's, or behind
// it, lifts a limit once the month has begun by both.
func TestRolloverByRedisClock(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	o := newOrigin(t, end.AddDate(0, 0, -10), 1)
	for name, ahead := range map[string]time.Duration{"ahead": 2 * time.Second, "behind": -2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redisClock, workerClock := clock.NewFake(end.Add(-time.Second)), clock.NewFake(end.Add(-time.Second+ahead))
			client, log := o.redis.Fork(redisClock.Now).Client(), slog.New(slog.DiscardHandler)
			s, l := balance.New(client, 1), ledger.NewWithServer(o.server.Fork())
			snapshots := admin.NewSnapshots(l, s, workerClock)
			w := build(Deps{
				Redis: client, Store: s, Ledger: l, Snapshots: snapshots, Clock: workerClock, Log: log,
				Projector: reconcile.New(s, l, workerClock, log, reconcile.Options{Durable: true, Buckets: 4}),
			}, Options{}, seams{metrics: o.metrics})
			_, err := w.projections.Renew(t.Context(), 0)
			require.NoError(t, err)
			_, err = snapshots.Refresh(t.Context())
			require.NoError(t, err)
			require.NoError(t, client.HSet(t.Context(), "{p00}:a:acme-shared", "f", "8", "fp", "2026-11", "fe", end.UnixMilli(), "quiet", "0", "u:2026-11", "60000").Err())
			for range 10 {
				want := "8"
				if !redisClock.Now().Before(end) && !workerClock.Now().Before(end) {
					want = "0"
				}
				require.NoError(t, w.rollMonths(t.Context()))
				assert.Equal(t, want, client.HGet(t.Context(), "{p00}:a:acme-shared", "f").Val(), redisClock.Now())
				redisClock.Advance(500 * time.Millisecond)
				workerClock.Advance(500 * time.Millisecond)
			}
		})
	}
}
