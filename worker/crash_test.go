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
	"github.com/meterd/meterd/worker/workertest"
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
	var a workertest.Address
	require.NoError(t, json.Unmarshal([]byte(text), &a))
	d, _ := workertest.Connect(t, a)
	var passed atomic.Int64
	w, err := New(Deps(d), Options{Alone: true, Crash: func(point string) {
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
	h.TB.Helper()
	a := h.Address()
	a.Point, a.Nth = point, nth
	cmd := exec.CommandContext(h.TB.Context(), os.Args[0], "-test.run=^TestDyingWorker$")
	cmd.Env = append(os.Environ(), dieEnv+"="+a.String())
	out, err := cmd.CombinedOutput()
	require.Error(h.TB, err, "the worker never came to %s %d: %s", point, nth, out)
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(h.TB, ok && status.Signaled(), "%s %d: %s", point, nth, out)
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
				b := h.Batch()
				for task := range 6 {
					var lines []string
					for n := range 10 {
						lines = append(lines, workertest.Message(workertest.Shop, id(10*task+n), time.Duration(n)*12*time.Hour)) // hot and cold
						messages++
					}
					// A duplicate of its own task's, of another's, and what is refused.
					lines = append(lines, workertest.Message(workertest.Shop, id(10*task), time.Hour), workertest.Message(workertest.Shop, id(10*((task+3)%6)), time.Hour), "nonsense "+id(task))
					b.Task(lines...)
				}
				h.die(point, nth)
				stop := h.work(Options{})
				started := time.Now()
				assert.Equal(t, balance.Counts{Stored: 60, Duplicates: 12, Quarantined: 6}, b.Wait())
				assert.Less(t, time.Since(started), 30*time.Second, "nobody waits for asynq's leases")
				h.Charged(workertest.Shop, messages)
				assert.Zero(t, h.Reconcile())
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
		lines = append(lines, workertest.Message(workertest.Shop, fmt.Sprint(i), time.Hour))
		refunds = append(refunds, workertest.RefundLine(workertest.Shop, fmt.Sprint(i)))
	}
	stop := h.work(Options{})
	h.Batch().Task(lines...).Wait()
	stop()
	b := h.Batch().Task(refunds...).Task(refunds[:3]...)
	h.die("charged", 1)
	h.die("stored", 1)
	h.work(Options{})
	assert.Equal(t, balance.Counts{Stored: n, Duplicates: 3}, b.Wait())
	assert.Equal(t, workertest.RowSums{Usage: n, Refunds: n, Identities: 2 * n}, h.Rows(workertest.Shop))
	assert.Zero(t, h.Used(workertest.Shop))
	assert.Zero(t, h.Reconcile())
}

// TestCleanStop cancels a worker in the middle of its work: it ends what it has
// in hand and leaves nothing behind, and the next one does the rest.
func TestCleanStop(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	b := h.Batch()
	const tasks, each = 60, 25
	for task := range tasks {
		var lines []string
		for n := range each {
			lines = append(lines, workertest.Message(workertest.Shop, fmt.Sprintf("%d-%d", task, n), time.Hour))
		}
		b.Task(lines...)
	}
	stop := h.work(Options{Concurrency: 2})
	h.Eventually("some are done", func() bool {
		c, err := h.Store.RunCounts(t.Context(), b.Run)
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
	assert.Zero(t, h.Reconcile())
	h.work(Options{})
	assert.Equal(t, balance.Counts{Stored: tasks * each}, b.Wait())
	h.Charged(workertest.Shop, tasks*each)
	assert.Zero(t, h.Reconcile())
}

// TestRaisedLimitOutlivesItsProcess: a limit whose rows are in the ledger lifts
// a suspension although the process that raised it pushed nothing.
func TestRaisedLimitOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	_, err := h.Admin.Transfer(t.Context(), metering.Transfer{Ref: "r", Kind: metering.TransferTopup, AccountID: "acme", Amount: 1_000_000_000, Actor: "operator"})
	require.NoError(t, err)
	var lines []string
	for i := range 6 {
		lines = append(lines, workertest.Message("acme-shared", fmt.Sprint(i), time.Second))
	}
	h.Batch().Task(lines...).Wait()
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
	h.SaveAccount(&a)
	h.Eventually("the suspension is lifted", func() bool { return state() == 0 })
}
