package worker

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
)

const shop = "globex-shop"

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
	accounts := []string{"acme-own", shop}
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	h.transfer("budget", metering.TransferAllocate, "acme-own", 1_000_000)
	var first, again []string
	for _, a := range accounts {
		first = append(first, message(a, "x", time.Minute))
		again = append(again, message(a, "x", time.Minute), line(a, "x", time.Minute, `,"units":7`))
	}
	require.EqualValues(t, 2, h.batch().task(first...).wait().Stored)
	armed.Store(2)
	older := h.batch().task(message(accounts[0], "older", time.Minute)).task(message(accounts[1], "older", time.Minute))
	h.eventually("charges are held", func() bool { return held.Load() == 2 })
	b := h.batch().task(again...)
	h.eventually("each partition's duplicates have a task", func() bool {
		keys, err := h.Redis.Keys(t.Context(), "asynq:*:t:"+b.run+"*"+judgeInfix+"*").Result()
		require.NoError(t, err)
		return len(keys) == 2
	})
	close(release)
	assert.Equal(t, balance.Counts{Duplicates: 2, Quarantined: 2}, b.wait())
	older.wait()
	for _, a := range accounts {
		assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.reasons(a, "x"))
	}
	assert.Zero(t, h.reconcile())
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
			"same content", func(id string, _ int) string { return message(shop, id, time.Hour) },
			balance.Counts{Stored: n, Duplicates: n * (copies - 1)},
		},
		{
			"another time", func(id string, nth int) string { return message(shop, id, time.Duration(nth*40)*time.Hour) },
			balance.Counts{Stored: n, Duplicates: n * (copies - 1)},
		},
		{
			"other content", func(id string, nth int) string {
				return line(shop, id, time.Hour, `,"to":"+3932`+strconv.Itoa(nth)+`"`)
			},
			balance.Counts{Stored: n, Quarantined: n * (copies - 1)},
		},
	} {
		b := h.batch()
		for nth := range copies {
			var lines []string
			for i := range n {
				lines = append(lines, c.make(c.name+strconv.Itoa(i), nth))
			}
			b.task(lines...)
		}
		if c.name == "same content" { // all tasks wait when the worker comes
			h.work(Options{})
		}
		assert.Equal(t, c.want, b.wait(), c.name)
	}
	h.charged(shop, 3*n)
	assert.Len(t, h.reasons(shop, "other content7"), copies-1)
	assert.Zero(t, h.reconcile())
}

// TestOneBatch: copies within one task are compared in memory.
func TestOneBatch(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	got := h.batch().task(
		message(shop, "a", time.Hour), message(shop, "a", 2*time.Hour), message(shop, "a", 50*time.Hour),
		message(shop, "b", time.Hour), line(shop, "b", time.Hour, `,"units":2`),
		message("globex", "a", time.Hour), // another identity
		line(shop, "a", time.Hour, `,"kind":"status","refers_to":"a","status":"delivered"`), // and another
	).wait()
	assert.Equal(t, balance.Counts{Stored: 4, Duplicates: 2, Quarantined: 1}, got)
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.reasons(shop, "b"))
	assert.Equal(t, rows{Usage: 2, Identities: 3, Net: 2 * price}, h.rows(shop))
	assert.Equal(t, rows{Usage: 1, Identities: 1, Net: price}, h.rows("globex"))
	assert.Equal(t, metering.Micros(3*price), h.used("globex"), "a parent's use includes its sub-accounts'")
	assert.Zero(t, h.reconcile())
}

// TestALostAnswerHoldsNobodyUp: whoever asks the ledger waits for open answers,
// and one that the projection lists but has lost never settles.
func TestALostAnswerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	first := h.batch().task(message(shop, "a", 26*time.Hour)).wait()
	require.Equal(t, balance.Counts{Stored: 1}, first)
	h.forget()
	require.NoError(t, h.engines.Redis(t).ZAdd(t.Context(), "{p00}:open", redis.Z{Score: 1, Member: "lost"}).Err())
	got := h.batch().task(message(shop, "a", 26*time.Hour), message(shop, "b", 40*time.Hour)).wait()
	assert.Equal(t, balance.Counts{Stored: 1, Duplicates: 1}, got)
	h.charged(shop, 2)
	assert.Zero(t, h.reconcile())
}

// TestColdCopies: a copy of a record that has left the sets is looked up in the
// ledger, a day and a month later, after a restart, and in another epoch.
func TestColdCopies(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	stop := h.work(Options{})
	send := func() balance.Counts {
		t.Helper()
		return h.batch().
			task(message(shop, "today", time.Hour), message(shop, "day", 26*time.Hour), message(shop, "month", 31*24*time.Hour)).
			task(line(shop, "month", 31*24*time.Hour, `,"units":3`), line(shop, "day", 29*time.Hour, `,"units":3`)).wait()
	}
	first := h.batch().task(message(shop, "today", time.Hour), message(shop, "day", 26*time.Hour), message(shop, "month", 31*24*time.Hour)).wait()
	assert.Equal(t, balance.Counts{Stored: 3}, first)
	again := balance.Counts{Duplicates: 3, Quarantined: 2}
	assert.Equal(t, again, send(), "while they are hot")

	// The sets have passed by; what is older than the window is cold.
	h.forget()
	got := h.batch().task(message(shop, "day", 26*time.Hour), message(shop, "month", 31*24*time.Hour)).task(message(shop, "month", 3*24*time.Hour)).wait()
	assert.Equal(t, balance.Counts{Duplicates: 3}, got, "when they are cold")
	h.charged(shop, 3)

	stop()
	h.engines.RestartRedis(t)
	stop = h.work(Options{})
	assert.Equal(t, balance.Counts{Duplicates: 2}, h.batch().task(message(shop, "day", 26*time.Hour), message(shop, "month", 31*24*time.Hour)).wait(), "after a restart")
	assert.Zero(t, h.reconcile())

	// Redis emptied: a new epoch, whose floor makes everything older cold.
	stop()
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	h.work(Options{})
	assert.Equal(t, again, send(), "in another epoch")
	h.charged(shop, 3)
	assert.Zero(t, h.reconcile())
}

// TestWaitingRefundsOfOneID: two refunds with one id and other content, both
// before their message: one is applied, the other is quarantined, none is lost.
func TestWaitingRefundsOfOneID(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	part := line(shop, "refund-m", 0, `,"kind":"refund","refers_to":"m","amount":"0.004","currency":"EUR"`)
	all := refundLine(shop, "m")
	assert.Equal(t, balance.Counts{Waiting: 1}, h.batch().task(all).wait())
	assert.Equal(t, balance.Counts{Waiting: 2}, h.batch().task(part, all).wait(), "a copy waits with its first")
	assert.Equal(t, balance.Counts{Stored: 1}, h.batch().task(message(shop, "m", time.Hour)).wait())
	h.eventually("one is refused", func() bool { return len(h.reasons(shop, "m")) > 0 })
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.reasons(shop, "m"))
	got := h.rows(shop)
	assert.Equal(t, int64(1), got.Refunds, "the other is applied")
	assert.Contains(t, []metering.Micros{0, price - 4000}, got.Net)
	assert.Equal(t, got.Net, h.used(shop))
	assert.Zero(t, h.reconcile())
}

// forget drops the dedup sets, as time does.
func (h *harness) forget() {
	h.tb.Helper()
	keys, err := h.Redis.Keys(h.tb.Context(), "{p00}:d:*").Result()
	require.NoError(h.tb, err)
	require.NotEmpty(h.tb, keys)
	require.NoError(h.tb, h.Redis.Del(h.tb.Context(), keys...).Err())
	require.NoError(h.tb, h.Redis.HSet(h.tb.Context(), "{p00}:meta", "gen", 0).Err())
}

// TestMissingRow: an identity that stands in its set but has no row is charged
// by the no-row rule, once.
func TestMissingRow(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	require.Equal(t, balance.Counts{Stored: 2}, h.batch().task(message(shop, "lost", time.Hour), message(shop, "kept", time.Hour)).wait())
	conn := h.engines.ClickHouse(t)
	require.NoError(t, conn.Exec(t.Context(), "ALTER TABLE records DELETE WHERE id = 'lost' SETTINGS mutations_sync = 2"))

	b := h.batch()
	for range 3 {
		b.task(message(shop, "kept", time.Hour), message(shop, "lost", time.Hour))
	}
	assert.Equal(t, balance.Counts{Stored: 1, Duplicates: 5}, b.wait())
	assert.Equal(t, rows{Usage: 2, Identities: 2, Net: 2 * price}, h.rows(shop), "one row for each")
	h.reconcile() // the charge whose row was lost stands in the projection until then
	h.charged(shop, 2)
	assert.Zero(t, h.reconcile())
}

// TestConflictOfAnotherEpoch: a worker that hasn't noticed a new epoch says of no
// record that it is in conflict with a row: the new one may have charged it.
func TestConflictOfAnotherEpoch(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	stop := h.work(Options{})
	h.batch().task(message(shop, "m", 0)).wait()
	stop()
	e := h.byHand().engine
	runWriter(t, e)
	old, err := e.meta(t.Context(), 0)
	require.NoError(t, err)
	payload, err := e.codec.EncodeHead(wire.JudgeHeader{Epoch: old.Epoch, Seq: old.Seq + 1}, [][]byte{[]byte(line(shop, "m", 0, `,"units":2`))})
	require.NoError(t, err)

	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	_, err = h.Projector.Ensure(t.Context(), 0)
	require.NoError(t, err)
	entries := func() (n uint64) {
		require.NoError(t, h.engines.ClickHouse(t).QueryRow(t.Context(), "SELECT count() FROM quarantine").Scan(&n))
		return n
	}
	require.ErrorIs(t, e.judgeTask(t.Context(), "t~j0", payload), balance.ErrEpoch)
	require.Zero(t, entries())
	require.NoError(t, e.judgeTask(t.Context(), "t~j0", payload), "it starts over as an ordinary task")
	require.Equal(t, uint64(1), entries(), "the other content stands in this epoch too")
}
