package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

// crowd are sub-accounts of one parent, each with a limit of one message.
func crowd(n int, enforcement string) string {
	var b strings.Builder
	b.WriteString(`
plans:
  - {id: crowd-plan, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.01"}]}]}
parents:
  - id: crowd
    module: enterprise
    timezone: UTC
    plan: crowd-plan
    enforcement: ` + enforcement + `
    funding: {mode: postpaid}
    sub_accounts:
`)
	for i := range n {
		fmt.Fprintf(&b, "      - {id: crowd-%d, channels: [sms], monthly_limit: \"0.01\"}\n", i)
	}
	return b.String()
}

// breakerAt waits until the breaker opens beyond so many accounts.
func (h *harness) breakerAt(most int) {
	h.TB.Helper()
	h.Eventually("the bound is set", func() bool {
		v, err := h.Redis.HGet(h.TB.Context(), "{p00}:meta", "brkmax").Result()
		return err == nil && v == fmt.Sprint(most)
	})
}

// relayed waits until no fact is left that has yet to be told.
func (h *harness) relayed() {
	h.TB.Helper()
	h.Eventually("facts are relayed", func() bool {
		facts, err := h.Store.Facts(h.TB.Context(), 0, 1)
		require.NoError(h.TB, err)
		return len(facts) == 0
	})
}

// flags in effect, and those without effect, of one of the crowd.
func (h *harness) flags(id string) (effect, back metering.Flags) {
	h.TB.Helper()
	st, err := h.Store.State(h.TB.Context(), id)
	require.NoError(h.TB, err)
	own, inherited := st.Flags(time.Now().UnixMilli())
	return own | inherited, st.HeldBack(time.Now().UnixMilli())
}

func (h *harness) crowdFlags(n int) (suspended, held int) {
	h.TB.Helper()
	for i := range n {
		effect, back := h.flags(fmt.Sprint("crowd-", i))
		if effect != 0 {
			suspended++
		}
		if back != 0 {
			held++
		}
	}
	return suspended, held
}

// oneEach is a message of each of the crowd.
func oneEach(from, to int, id string) []string {
	var lines []string
	for i := from; i < to; i++ {
		lines = append(lines, workertest.Message(fmt.Sprint("crowd-", i), id, time.Second))
	}
	return lines
}

// TestBreaker: no more than so many accounts are suspended within a minute; the
// rest waits for a hand, through a rebuild too, and goes on as usual after it.
func TestBreaker(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const n, most = 12, 5
	h.Apply(crowd(n, "enforce"))
	h.work(Options{BreakerAccounts: most})
	h.breakerAt(most)
	h.Batch().Task(oneEach(0, 10, "a")...).Wait()
	suspended, held := h.crowdFlags(n)
	// A minute may have ended between two of them: then up to so many again.
	require.GreaterOrEqual(t, suspended, most)
	require.Equal(t, 10, suspended+held)
	require.NotZero(t, held)
	b, err := h.Admin.Breaker(t.Context())
	require.NoError(t, err)
	assert.True(t, b.Open)
	assert.Len(t, b.Held, held)
	h.Eventually("it is in the ledger", func() bool {
		b, err := h.Ledger.Breaker(t.Context(), 0)
		require.NoError(t, err)
		return b.Open
	})

	h.relayed()
	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	again, back := h.crowdFlags(n)
	assert.Equal(t, []int{suspended, held}, []int{again, back}, "a rebuild neither lifts nor imposes")

	meta, err := h.Store.Meta(t.Context(), 0)
	require.NoError(t, err)
	require.NoError(t, h.Store.CloseBreaker(t.Context(), 0, meta), "as whoever releases it and is cut off there")
	for range 2 {
		require.NoError(t, h.Admin.ReleaseBreaker(t.Context(), "operator", "checked"))
	}
	suspended, held = h.crowdFlags(n)
	assert.Equal(t, []int{10, 0}, []int{suspended, held}, "what was held back takes effect")
	b, err = h.Admin.Breaker(t.Context())
	require.NoError(t, err)
	assert.False(t, b.Open)
	h.Batch().Task(oneEach(10, 12, "b")...).Wait()
	suspended, held = h.crowdFlags(n)
	assert.Equal(t, []int{12, 0}, []int{suspended, held})
	assert.Zero(t, h.Reconcile())
}

// TestBreakerCountsAnAccountOnce, however often its limit is reached and lifted within a
// minute. One that was suspended when the breaker opened, and lifted since, is so
// again at its limit, also in a projection that was made anew meanwhile.
func TestBreakerCountsAnAccountOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const n, most = 4, 2
	h.Apply(crowd(n, "enforce"))
	h.work(Options{BreakerAccounts: most})
	h.breakerAt(most)
	is := func(account string, effect, back metering.Flags) {
		t.Helper()
		e, b := h.flags(account)
		require.Equal(t, []metering.Flags{effect, back}, []metering.Flags{e, b}, account)
	}
	for i := range 2 * most { // all in one minute, unless it ends meanwhile
		id := fmt.Sprint("m", i)
		h.Batch().Task(workertest.Message("crowd-0", id, 0)).Wait()
		is("crowd-0", metering.FlagMonthly, 0)
		h.Batch().Task(workertest.RefundLine("crowd-0", id)).Wait()
		is("crowd-0", 0, 0)
	}
	h.Batch().Task(workertest.Message("crowd-0", "m", 0)).Wait()
	h.Batch().Task(oneEach(1, n, "a")...).Wait()
	b, err := h.Admin.Breaker(t.Context())
	require.NoError(t, err)
	require.True(t, b.Open)
	is("crowd-0", metering.FlagMonthly, 0)
	h.Batch().Task(workertest.RefundLine("crowd-0", "m")).Wait()
	is("crowd-0", 0, 0)
	h.relayed()
	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	is("crowd-0", 0, 0)
	h.Batch().Task(workertest.Message("crowd-0", "again", 0)).Wait()
	is("crowd-0", metering.FlagMonthly, 0)
	suspended, held := h.crowdFlags(n)
	assert.NotZero(t, held)
	assert.Equal(t, n, suspended+held)
	assert.Zero(t, h.Reconcile())
}

// TestBreakerOfANewProjection: whoever charges first in it keeps to the bound, though
// no scheduler has looked at it yet.
func TestBreakerOfANewProjection(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const n, most = 12, 5
	h.Apply(crowd(n, "enforce"))
	d, _ := workertest.Connect(t, h.Address())
	w, err := New(Deps(d), Options{BreakerAccounts: most})
	require.NoError(t, err)
	require.NoError(t, w.prepare(t.Context()))
	runWriter(t, w.pipeline)
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	require.NoError(t, w.pipeline.IngestTask(t.Context(), "t", workertest.Payload(t, oneEach(0, 10, "a")...)))
	suspended, held := h.crowdFlags(n)
	assert.Equal(t, []int{most, 10 - most}, []int{suspended, held})
}

// TestBreakerUnderAnotherNumberOfPartitions: what is held back stays so until somebody
// releases it, and what was released stays so when the old number comes back.
func TestBreakerUnderAnotherNumberOfPartitions(t *testing.T) {
	t.Parallel()
	const n, most, next = 12, 5, 1
	made := 2
	for balance.PartitionOf("crowd", made) == 0 { // one that there isn't next
		made++
	}
	h := newHarnessOf(t, made)
	h.Apply(crowd(n, "enforce"))
	of := func(partitions int) (stop func()) {
		h.Repartition(partitions)
		return h.work(Options{BreakerAccounts: most, Alone: true})
	}
	stop := of(made)
	h.Batch().Task(oneEach(0, 10, "a")...).Wait()
	suspended, held := h.crowdFlags(n)
	require.Equal(t, 10, suspended+held)
	require.NotZero(t, held)
	h.Eventually("it is in the ledger", func() bool {
		open, err := h.Ledger.OpenBreakers(t.Context())
		require.NoError(t, err)
		return len(open) == 1
	})
	stop()
	stop = of(next)
	again, back := h.crowdFlags(n)
	assert.Equal(t, []int{suspended, held}, []int{again, back}, "another number neither lifts nor imposes")
	require.NoError(t, h.Admin.ReleaseBreaker(t.Context(), "operator", "checked"))
	suspended, held = h.crowdFlags(n)
	assert.Equal(t, []int{10, 0}, []int{suspended, held})
	stop()
	of(made)
	b, err := h.Admin.Breaker(t.Context())
	require.NoError(t, err)
	assert.False(t, b.Open)
	assert.Empty(t, b.Held)
	open, err := h.Ledger.OpenBreakers(t.Context())
	require.NoError(t, err)
	assert.Empty(t, open)
}

// TestObserve: everything is computed and shown, nobody is suspended; once the
// parent enforces, what holds takes effect at once.
func TestObserve(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(crowd(3, "observe"))
	h.work(Options{})
	h.Batch().Task(oneEach(0, 2, "a")...).Wait()
	suspended, held := h.crowdFlags(3)
	assert.Equal(t, []int{0, 2}, []int{suspended, held})
	h.Eventually("what is held back is recorded", func() bool {
		var n uint64
		require.NoError(t, h.Engines.ClickHouse(t).QueryRow(t.Context(), "SELECT count() FROM states WHERE held_back = 8 AND flags = 0").Scan(&n))
		return n == 2
	})
	jobs, err := h.Redis.Exists(t.Context(), "asynq:{suspensions}:t:state:crowd-0:1000000001").Result()
	require.NoError(t, err)
	assert.Zero(t, jobs, "no job")
	require.NoError(t, h.Admin.Suspend(t.Context(), "crowd-2", "operator", "by hand"))
	effect, _ := h.flags("crowd-2")
	assert.Equal(t, metering.FlagManualOperator, effect, "by hand still holds")

	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	suspended, held = h.crowdFlags(3)
	assert.Equal(t, []int{1, 2}, []int{suspended, held})

	h.Apply(crowd(3, "enforce"))
	suspended, held = h.crowdFlags(3)
	assert.Equal(t, []int{3, 0}, []int{suspended, held})
	h.Apply(crowd(3, "observe"))
	suspended, held = h.crowdFlags(3)
	assert.Equal(t, []int{1, 2}, []int{suspended, held}, "and the other way")
}

// TestSuspendedAccountsAreCounted: those that inherit it too.
func TestSuspendedAccountsAreCounted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	deps, _ := workertest.Connect(t, h.Address())
	registry := prometheus.NewRegistry()
	deps.Metrics = registry
	h.work(Options{})() // all accounts are in the projection
	w := h.byHandWith(deps)
	count := func() (n float64) {
		require.NoError(t, w.countSuspended(t.Context()))
		all, err := registry.Gather()
		require.NoError(t, err)
		for _, f := range all {
			if f.GetName() == "meterd_suspended_accounts" {
				n = f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return n
	}
	before := count() // acme's, which have nothing
	require.NoError(t, h.Admin.Suspend(t.Context(), "globex", "operator", "by hand"))
	assert.InDelta(t, before+2, count(), 0, "globex and globex-shop")
}
