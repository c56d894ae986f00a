package main_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/proc"
	"github.com/meterd/meterd/worker"
)

// points are those between decode and ack at which a worker is killed.
var points = []string{"decoded", "charged", "stored", "settled", "judged", "finished"}

// TestKilledAtEachPoint kills workers at each named point, early and late in
// the work; the next one takes over at once, for none other can hold tasks. In
// the short form all points are of one work, the rarest first.
func TestKilledAtEachPoint(t *testing.T) {
	t.Parallel()
	kill := func(t *testing.T, order int, fault string, at []string, nth ...int) {
		t.Helper()
		r := begun(t, order, fault)
		sent := r.send(r.lines(pick(400, 4000)), 10*time.Millisecond)
		a := r.alone()
		for _, a.Die = range at {
			for _, a.Nth = range nth {
				r.dies(a)
			}
		}
		a.Die = ""
		r.worker(a, nil)
		sent.wait()
		r.settle()
	}
	if !long() {
		t.Run("in turn", func(t *testing.T) {
			t.Parallel()
			kill(t, 30, "worker killed at each point in turn", append([]string{"judged"}, points...), 2)
		})
		return
	}
	for i, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			kill(t, 30+i, "worker killed when a task is "+point, []string{point}, 1, 2, 3, 5, 8, 13, 21, 34)
		})
	}
}

// TestPaused stops a worker in its work for longer than its leases hold. Its
// tasks are another's by then; it is resumed and goes on where it was.
func TestPaused(t *testing.T) {
	t.Parallel()
	r := begun(t, 40, "worker paused past its lease (SIGSTOP), another takes over, then resumed")
	// Its inserts take a while, so that it is stopped with tasks in hand.
	r.back.toxic("latency", "downstream", `{"latency":300}`)
	paused := r.process(r.proxied())
	sent := r.send(r.lines(pick(400, 4000)), 20*time.Millisecond)
	for range pick(1, 3) {
		held := r.holding(paused)
		stopOther := r.worker(r.direct(), nil)
		r.eventually("another has done its tasks", 2*time.Minute, func() (bool, string) {
			left := int64(0)
			for q, ids := range held {
				for _, id := range ids {
					n, err := r.sys.redis.Exists(t.Context(), q+"t:"+id).Result()
					require.NoError(t, err)
					left += n
				}
			}
			return left == 0, fmt.Sprint(left, " are left")
		})
		require.NoError(t, syscall.Kill(paused.PID(), syscall.SIGCONT))
		r.result.Tried++
		r.ended()
		sent.wait()
		r.drain()
		stopOther()
		if r.result.Tried < pick(1, 3) {
			sent = r.send(r.lines(500), 20*time.Millisecond)
		}
	}
	r.back.clean()
	r.settle()
	paused.Stop(t)
}

// holding stops a worker once it holds tasks, and returns those by queue.
func (r *rig) holding(p *proc.Process) map[string][]string {
	r.t.Helper()
	held := map[string][]string{}
	r.eventually("the worker is stopped with tasks in hand", 30*time.Second, func() (bool, string) {
		require.NoError(r.t, syscall.Kill(p.PID(), syscall.SIGSTOP))
		for shard := range 4 {
			q := fmt.Sprintf("asynq:{ingest-%d}:", shard)
			ids, err := r.sys.redis.LRange(r.t.Context(), q+"active", 0, -1).Result()
			require.NoError(r.t, err)
			if len(ids) > 0 {
				held[q] = ids
			}
		}
		if len(held) > 0 {
			return true, ""
		}
		require.NoError(r.t, syscall.Kill(p.PID(), syscall.SIGCONT))
		return false, "it holds none"
	})
	return held
}

// TestTwoSchedulers: three workers do every chore at the same time, with
// refunds that come before their messages.
func TestTwoSchedulers(t *testing.T) {
	t.Parallel()
	r := begun(t, 41, "three schedulers at once")
	for range 3 {
		r.worker(r.proxied(), func(_ *system, o *worker.Options) { o.ReconcileEvery = 100 * time.Millisecond })
	}
	r.result.Tried = 3
	lines := r.lines(pick(400, 8000))
	early, late := r.refundsFirst(40)
	r.send(early, 0).wait()
	sent := r.send(lines, 10*time.Millisecond)
	r.waiting(len(early))
	r.send(late, 0).wait()
	sent.wait()
	r.ended()
	r.settle()
	var twice uint64
	require.NoError(t, r.ch.QueryRow(t.Context(), "SELECT count() FROM (SELECT account_id, epoch FROM states GROUP BY account_id, epoch HAVING uniqExact(flags) > 1)").Scan(&twice))
	assert.Zero(t, twice, "changes of state under one epoch")
}

// refundsFirst are refunds, and the messages that they refer to.
func (r *rig) refundsFirst(n int) (refunds, messages []string) {
	for range n { // the oracle takes them in the order in which they make sense
		m := r.work.Message()
		messages = append(messages, m.Line())
		r.oracle.Take(m)
		u := r.work.Refund(m)
		refunds = append(refunds, u.Line())
		r.oracle.Take(u)
	}
	return refunds, messages
}

// waiting waits until so many refunds wait for their message, or have.
func (r *rig) waiting(n int) {
	r.t.Helper()
	r.eventually("the refunds wait", 2*time.Minute, func() (bool, string) {
		var got uint64
		err := r.ch.QueryRow(r.t.Context(), "SELECT count() FROM waiting FINAL").Scan(&got)
		return err == nil && got == uint64(n), fmt.Sprint(got)
	})
}

// TestClocksApart: the clocks of two workers are five minutes apart, one right
// and one ahead, then both wrong.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	r := begun(t, 42, "clocks five minutes apart")
	held := 0
	for _, off := range [][2]time.Duration{{0, 5 * time.Minute}, {-150 * time.Second, 150 * time.Second}} {
		var stops []func()
		for _, d := range off {
			a := r.proxied()
			a.Clock = d
			stops = append(stops, r.worker(a, nil))
		}
		r.result.Tried++
		early, late := r.refundsFirst(20)
		r.send(early, 0).wait()
		held += len(early)
		r.waiting(held)
		r.send(append(late, r.lines(pick(300, 4000))...), 20*time.Millisecond).wait()
		r.ended()
		r.drain()
		for _, stop := range stops {
			stop()
		}
	}
	r.settle()
}

// lossyAck ends the connection around asynq's word that a task is done: before
// Redis has heard it, or after.
type lossyAck struct {
	left atomic.Int64
	lost atomic.Int64
}

var errCut = errors.New("read tcp: connection reset by peer")

// DialHook implements redis.Hook, as do the others.
func (l *lossyAck) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook passes pipelines on.
func (l *lossyAck) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook loses every second word that a task is done.
func (l *lossyAck) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !isAck(cmd) {
			return next(ctx, cmd)
		}
		n := l.left.Add(-1)
		if n < 0 {
			return next(ctx, cmd)
		}
		l.lost.Add(1)
		if n%2 == 0 {
			_ = next(ctx, cmd) // Redis has heard it, the answer is cut
		}
		cmd.SetErr(errCut)
		return errCut
	}
}

// isAck knows asynq's script by its keys.
func isAck(cmd redis.Cmder) bool {
	args := cmd.Args()
	if len(args) < 8 || cmd.Name() != "evalsha" {
		return false
	}
	key := func(i int, suffix string) bool {
		s, ok := args[i].(string)
		return ok && strings.HasPrefix(s, "asynq:{ingest-") && strings.Contains(s, suffix)
	}
	return key(3, ":active") && key(4, ":lease") && key(5, ":t:") && key(6, ":processed")
}

// TestAckLost: the handler has finished, and Redis doesn't hear it, or the
// worker doesn't hear that Redis did.
func TestAckLost(t *testing.T) {
	t.Parallel()
	r := begun(t, 43, "ack lost")
	l := &lossyAck{}
	l.left.Store(pick[int64](10, 100))
	r.worker(r.proxied(), func(s *system, _ *worker.Options) { s.redis.AddHook(l) })
	r.send(r.lines(pick(400, 6000)), 10*time.Millisecond).wait()
	r.ended()
	r.drain()
	assert.LessOrEqual(t, l.left.Load(), int64(0), "acks that were to be lost")
	r.result.Tried = int(l.lost.Load())
	r.settle()
}
