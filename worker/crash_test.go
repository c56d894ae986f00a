package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
)

// dieEnv tells TestDyingWorker where the engines are, and where to die.
const dieEnv = "METERD_TEST_DYING_WORKER"

// TestDyingWorker is no test: the crash tests run it in a process of its own,
// which ends without a word at the named point.
func TestDyingWorker(t *testing.T) {
	text := os.Getenv(dieEnv)
	if text == "" {
		return
	}
	var a address
	require.NoError(t, json.Unmarshal([]byte(text), &a))
	d, _ := connect(t, a)
	var passed atomic.Int64
	w, err := New(d, Options{Alone: true, Crash: func(point string) {
		if point == a.Point && passed.Add(1) == int64(a.Nth) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	require.NoError(t, w.Run(ctx))
}

// die runs a worker that dies at a point.
func (h *harness) die(point string, nth int) {
	h.tb.Helper()
	a := h.address()
	a.Point, a.Nth = point, nth
	cmd := exec.CommandContext(h.tb.Context(), os.Args[0], "-test.run=^TestDyingWorker$")
	cmd.Env = append(os.Environ(), dieEnv+"="+a.String())
	out, err := cmd.CombinedOutput()
	require.Error(h.tb, err, "the worker never came to %s %d: %s", point, nth, out)
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(h.tb, ok && status.Signaled(), "%s %d: %s", point, nth, out)
}

// TestCrashPoints ends a worker at each step of a task, early and late in a
// batch; another takes over, and everything is counted once.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"decoded", "charged", "stored", "settled", "judged", "finished"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			var messages int64
			for i, nth := range []int{1, 4} {
				id := func(n int) string { return fmt.Sprintf("%d-%d", i, n) }
				b := h.batch()
				for task := range 6 {
					var lines []string
					for n := range 10 {
						lines = append(lines, message(shop, id(10*task+n), time.Duration(n)*12*time.Hour)) // hot and cold
						messages++
					}
					// A duplicate of its own task's, of another's, and what is refused.
					lines = append(lines, message(shop, id(10*task), time.Hour), message(shop, id(10*((task+3)%6)), time.Hour), "nonsense "+id(task))
					b.task(lines...)
				}
				h.die(point, nth)
				stop := h.work(Options{})
				started := time.Now()
				assert.Equal(t, balance.Counts{Stored: 60, Duplicates: 12, Quarantined: 6}, b.wait())
				assert.Less(t, time.Since(started), 30*time.Second, "nobody waits for asynq's leases")
				h.charged(shop, messages)
				assert.Zero(t, h.reconcile())
				stop()
			}
		})
	}
}

// TestCrashOfRefund ends a worker while it applies refunds: each is applied
// once.
func TestCrashOfRefund(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var lines, refunds []string
	const n = 10
	for i := range n {
		lines = append(lines, message(shop, fmt.Sprint(i), time.Hour))
		refunds = append(refunds, refundLine(shop, fmt.Sprint(i)))
	}
	stop := h.work(Options{})
	h.batch().task(lines...).wait()
	stop()
	b := h.batch().task(refunds...).task(refunds[:3]...)
	h.die("charged", 1)
	h.die("stored", 1)
	h.work(Options{})
	assert.Equal(t, balance.Counts{Stored: n, Duplicates: 3}, b.wait())
	assert.Equal(t, rows{Usage: n, Refunds: n, Identities: 2 * n}, h.rows(shop))
	assert.Zero(t, h.used(shop))
	assert.Zero(t, h.reconcile())
}

// TestCleanStop cancels a worker in the middle of its work: it ends what it has
// in hand and leaves nothing behind, and the next one does the rest.
func TestCleanStop(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	b := h.batch()
	const tasks, each = 60, 25
	for task := range tasks {
		var lines []string
		for n := range each {
			lines = append(lines, message(shop, fmt.Sprintf("%d-%d", task, n), time.Hour))
		}
		b.task(lines...)
	}
	stop := h.work(Options{Concurrency: 2})
	h.eventually("some are done", func() bool {
		c, err := h.Store.RunCounts(t.Context(), b.run)
		require.NoError(t, err)
		return c.Sum() > 0
	})
	stop()
	open, err := h.Store.OpenAnswers(t.Context(), 0, 0)
	require.NoError(t, err)
	assert.Empty(t, open, "every answer is settled")
	for shard := range 4 {
		active, err := h.Redis.LLen(t.Context(), fmt.Sprintf("asynq:{ingest-%d}:active", shard)).Result()
		require.NoError(t, err)
		assert.Zero(t, active, "no task is left in hand")
	}
	assert.Zero(t, h.reconcile())
	h.work(Options{})
	assert.Equal(t, balance.Counts{Stored: tasks * each}, b.wait())
	h.charged(shop, tasks*each)
	assert.Zero(t, h.reconcile())
}

// TestRaisedLimitOutlivesItsProcess: a limit whose rows are in the ledger lifts
// a suspension although the process that raised it pushed nothing.
func TestRaisedLimitOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	_, err := h.admin.Transfer(t.Context(), metering.Transfer{Ref: "r", Kind: metering.TransferTopup, AccountID: "acme", Amount: 1_000_000_000, Actor: "operator"})
	require.NoError(t, err)
	var lines []string
	for i := range 6 {
		lines = append(lines, message("acme-shared", fmt.Sprint(i), time.Second))
	}
	h.batch().task(lines...).wait()
	state := func() metering.Flags {
		st, err := h.Store.State(t.Context(), "acme-shared")
		require.NoError(t, err)
		own, inherited := st.Flags(time.Now().UnixMilli())
		return own | inherited
	}
	require.Equal(t, metering.FlagMonthly, state())

	a := *h.Snapshots.Current().Accounts["acme-shared"]
	limit := metering.Micros(1_000_000)
	a.MonthlyLimit = &limit
	h.saveAccount(&a)
	h.eventually("the suspension is lifted", func() bool { return state() == 0 })
}
