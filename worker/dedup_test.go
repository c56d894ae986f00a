package worker

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

// TestDuplicatesOfTwoPartitions: one task has duplicates in two partitions, which
// can't be judged before older charges settle: each partition's get their judge.
func TestDuplicatesOfTwoPartitions(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 4)
	require.NotEqual(t, h.Store.PartitionOf("acme"), h.Store.PartitionOf("globex"))
	var armed, held atomic.Int32
	release := make(chan struct{})
	h.work(Options{ReconcileEvery: time.Hour, Crash: func(point string) {
		if point == "charged" && armed.Add(-1) >= 0 {
			held.Add(1)
			<-release
		}
	}})
	accounts := []string{"acme-own", workertest.Shop}
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	h.transfer("budget", metering.TransferAllocate, "acme-own", 1_000_000)
	var first, again []string
	for _, a := range accounts {
		first = append(first, workertest.Message(a, "x", time.Minute))
		again = append(again, workertest.Message(a, "x", time.Minute), workertest.Line(a, "x", time.Minute, `,"units":7`))
	}
	require.EqualValues(t, 2, h.Batch().Task(first...).Wait().Stored)
	armed.Store(2)
	older := h.Batch().Task(workertest.Message(accounts[0], "older", time.Minute)).Task(workertest.Message(accounts[1], "older", time.Minute))
	h.Eventually("charges are held", func() bool { return held.Load() == 2 })
	b := h.Batch().Task(again...)
	h.Eventually("each partition's duplicates have a task", func() bool {
		keys, err := h.Redis.Keys(t.Context(), "asynq:*:t:"+b.Run+"*"+"~j"+"*").Result()
		require.NoError(t, err)
		return len(keys) == 2
	})
	close(release)
	assert.Equal(t, balance.Counts{Duplicates: 2, Quarantined: 2}, b.Wait())
	older.Wait()
	for _, a := range accounts {
		assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.Reasons(a, "x"))
	}
	assert.Zero(t, h.Reconcile())
}

// TestTwoBatchesAtOnce: the same ids in tasks that run side by side are charged
// once, whatever their copies look like.
func TestTwoBatchesAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const n, copies = 40, 4
	for _, c := range []struct {
		name string
		make func(id string, nth int) string
		want balance.Counts
	}{
		{
			"same content", func(id string, _ int) string { return workertest.Message(workertest.Shop, id, time.Hour) },
			balance.Counts{Stored: n, Duplicates: n * (copies - 1)},
		},
		{
			"another time", func(id string, nth int) string {
				return workertest.Message(workertest.Shop, id, time.Duration(nth*40)*time.Hour)
			},
			balance.Counts{Stored: n, Duplicates: n * (copies - 1)},
		},
		{
			"other content", func(id string, nth int) string {
				return workertest.Line(workertest.Shop, id, time.Hour, `,"to":"+3932`+strconv.Itoa(nth)+`"`)
			},
			balance.Counts{Stored: n, Quarantined: n * (copies - 1)},
		},
	} {
		b := h.Batch()
		for nth := range copies {
			var lines []string
			for i := range n {
				lines = append(lines, c.make(c.name+strconv.Itoa(i), nth))
			}
			b.Task(lines...)
		}
		if c.name == "same content" { // all tasks wait when the worker comes
			h.work(Options{})
		}
		assert.Equal(t, c.want, b.Wait(), c.name)
	}
	h.Charged(workertest.Shop, 3*n)
	assert.Len(t, h.Reasons(workertest.Shop, "other content7"), copies-1)
	assert.Zero(t, h.Reconcile())
}

// TestOneBatch: copies within one task are compared in memory.
func TestOneBatch(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	got := h.Batch().Task(
		workertest.Message(workertest.Shop, "a", time.Hour), workertest.Message(workertest.Shop, "a", 2*time.Hour), workertest.Message(workertest.Shop, "a", 50*time.Hour),
		workertest.Message(workertest.Shop, "b", time.Hour), workertest.Line(workertest.Shop, "b", time.Hour, `,"units":2`),
		workertest.Message("globex", "a", time.Hour),                                                              // another identity
		workertest.Line(workertest.Shop, "a", time.Hour, `,"kind":"status","refers_to":"a","status":"delivered"`), // and another
	).Wait()
	assert.Equal(t, balance.Counts{Stored: 4, Duplicates: 2, Quarantined: 1}, got)
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.Reasons(workertest.Shop, "b"))
	assert.Equal(t, workertest.RowSums{Usage: 2, Identities: 3, Net: 2 * workertest.Price}, h.Rows(workertest.Shop))
	assert.Equal(t, workertest.RowSums{Usage: 1, Identities: 1, Net: workertest.Price}, h.Rows("globex"))
	assert.Equal(t, metering.Micros(3*workertest.Price), h.Used("globex"), "a parent's use includes its sub-accounts'")
	assert.Zero(t, h.Reconcile())
}

// TestALostAnswerHoldsNobodyUp: whoever asks the ledger waits for open answers,
// and one that the projection lists but has lost never settles.
func TestALostAnswerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	first := h.Batch().Task(workertest.Message(workertest.Shop, "a", 26*time.Hour)).Wait()
	require.Equal(t, balance.Counts{Stored: 1}, first)
	h.Forget()
	require.NoError(t, h.Engines.Redis(t).ZAdd(t.Context(), "{p00}:open", redis.Z{Score: 1, Member: "lost"}).Err())
	got := h.Batch().Task(workertest.Message(workertest.Shop, "a", 26*time.Hour), workertest.Message(workertest.Shop, "b", 40*time.Hour)).Wait()
	assert.Equal(t, balance.Counts{Stored: 1, Duplicates: 1}, got)
	h.Charged(workertest.Shop, 2)
	assert.Zero(t, h.Reconcile())
}

// TestColdCopies: a copy of a record that has left the sets is looked up in the
// ledger, a day and a month later, after a restart, and in another epoch.
func TestColdCopies(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	stop := h.work(Options{})
	send := func() balance.Counts {
		t.Helper()
		return h.Batch().
			Task(workertest.Message(workertest.Shop, "today", time.Hour), workertest.Message(workertest.Shop, "day", 26*time.Hour), workertest.Message(workertest.Shop, "month", 31*24*time.Hour)).
			Task(workertest.Line(workertest.Shop, "month", 31*24*time.Hour, `,"units":3`), workertest.Line(workertest.Shop, "day", 29*time.Hour, `,"units":3`)).Wait()
	}
	first := h.Batch().Task(workertest.Message(workertest.Shop, "today", time.Hour), workertest.Message(workertest.Shop, "day", 26*time.Hour), workertest.Message(workertest.Shop, "month", 31*24*time.Hour)).Wait()
	assert.Equal(t, balance.Counts{Stored: 3}, first)
	again := balance.Counts{Duplicates: 3, Quarantined: 2}
	assert.Equal(t, again, send(), "while they are hot")

	// The sets have passed by; what is older than the window is cold.
	h.Forget()
	got := h.Batch().Task(workertest.Message(workertest.Shop, "day", 26*time.Hour), workertest.Message(workertest.Shop, "month", 31*24*time.Hour)).Task(workertest.Message(workertest.Shop, "month", 3*24*time.Hour)).Wait()
	assert.Equal(t, balance.Counts{Duplicates: 3}, got, "when they are cold")
	h.Charged(workertest.Shop, 3)

	stop()
	h.Engines.RestartRedis(t)
	stop = h.work(Options{})
	assert.Equal(t, balance.Counts{Duplicates: 2}, h.Batch().Task(workertest.Message(workertest.Shop, "day", 26*time.Hour), workertest.Message(workertest.Shop, "month", 31*24*time.Hour)).Wait(), "after a restart")
	assert.Zero(t, h.Reconcile())

	// Redis emptied: a new epoch, whose floor makes everything older cold.
	stop()
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	h.work(Options{})
	assert.Equal(t, again, send(), "in another epoch")
	h.Charged(workertest.Shop, 3)
	assert.Zero(t, h.Reconcile())
}

// TestWaitingRefundsOfOneID: two refunds with one id and other content, both
// before their message: one is applied, the other is quarantined, none is lost.
func TestWaitingRefundsOfOneID(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	part := workertest.Line(workertest.Shop, "refund-m", 0, `,"kind":"refund","refers_to":"m","amount":"0.004","currency":"EUR"`)
	all := workertest.RefundLine(workertest.Shop, "m")
	assert.Equal(t, balance.Counts{Waiting: 1}, h.Batch().Task(all).Wait())
	assert.Equal(t, balance.Counts{Waiting: 2}, h.Batch().Task(part, all).Wait(), "a copy waits with its first")
	assert.Equal(t, balance.Counts{Stored: 1}, h.Batch().Task(workertest.Message(workertest.Shop, "m", time.Hour)).Wait())
	h.Eventually("one is refused", func() bool { return len(h.Reasons(workertest.Shop, "m")) > 0 })
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.Reasons(workertest.Shop, "m"))
	got := h.Rows(workertest.Shop)
	assert.Equal(t, int64(1), got.Refunds, "the other is applied")
	assert.Contains(t, []metering.Micros{0, workertest.Price - 4000}, got.Net)
	assert.Equal(t, got.Net, h.Used(workertest.Shop))
	assert.Zero(t, h.Reconcile())
}

// TestMissingRow: an identity that stands in its set but has no row is charged
// by the no-row rule, once.
func TestMissingRow(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	require.Equal(t, balance.Counts{Stored: 2}, h.Batch().Task(workertest.Message(workertest.Shop, "lost", time.Hour), workertest.Message(workertest.Shop, "kept", time.Hour)).Wait())
	conn := h.Engines.ClickHouse(t)
	require.NoError(t, conn.Exec(t.Context(), "ALTER TABLE records DELETE WHERE id = 'lost' SETTINGS mutations_sync = 2"))

	b := h.Batch()
	for range 3 {
		b.Task(workertest.Message(workertest.Shop, "kept", time.Hour), workertest.Message(workertest.Shop, "lost", time.Hour))
	}
	assert.Equal(t, balance.Counts{Stored: 1, Duplicates: 5}, b.Wait())
	assert.Equal(t, workertest.RowSums{Usage: 2, Identities: 2, Net: 2 * workertest.Price}, h.Rows(workertest.Shop), "one row for each")
	h.Reconcile() // the charge whose row was lost stands in the projection until then
	h.Charged(workertest.Shop, 2)
	assert.Zero(t, h.Reconcile())
}
