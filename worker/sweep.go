package worker

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/metrics"
)

// leaseOver is how long a task's lease must have been over: one is 30 s and renewed
// well before; asynq itself waits longer.
const leaseOver = 2 * time.Second

// requeue takes back the tasks of queues whose worker died: all that are
// active where no other worker can hold them, else those whose lease ended.
func (e *engine) requeue(ctx context.Context, rdb redis.UniversalClient, queues []string, all bool) error {
	for _, q := range queues {
		n, err := wire.Requeue(ctx, rdb, q, leaseOver, all)
		if err != nil {
			return err
		}
		if n > 0 {
			e.metrics.Requeued.Add(metrics.Float(n))
			e.log.InfoContext(ctx, "tasks taken back from a worker that died", slog.String("queue", q), slog.Int("tasks", n))
		}
	}
	return nil
}

// promoteMax bounds the tasks that one wait brings forward. The oldest come first:
// those after them are open for longer than they anyhow.
const promoteMax = 256

// waitSettled waits until no answer ≤ upTo is open. Where that doesn't come
// about, the tasks that hold the oldest such answers go to the head of their
// queues: else they would stand behind all those that wait for them.
func (e *engine) waitSettled(ctx context.Context, p int, upTo int64, patience time.Duration) (bool, error) {
	ok, err := e.store.WaitSettled(ctx, p, upTo, patience)
	if ok || err != nil {
		return ok, err
	}
	open, err := e.store.OldestOpen(ctx, p, upTo, promoteMax)
	if err != nil || len(open) == 0 {
		return false, err
	}
	// One that is lost gets to be the oldest.
	if lost, err := e.lost(ctx, p, open[0]); err != nil || lost {
		return false, err
	}
	return false, e.promote(ctx, p, open)
}

// promote brings the tasks forward that hold answers, unless one of this worker's
// waiters has just done so, or they wait for the ledger.
func (e *engine) promote(ctx context.Context, p int, open []balance.OpenAnswer) error {
	if now := e.clock.Now(); e.outage.stands(now) || !e.promoted.due(p, now) {
		return nil
	}
	tasks := make([]string, len(open))
	for i, a := range open {
		tasks[i] = a.Task
	}
	for _, q := range e.chargingQueues() {
		if err := wire.Promote(ctx, e.store.Redis(), q, tasks); err != nil {
			return err
		}
	}
	return nil
}

// recently says when something was last done for a partition.
type recently struct {
	mu sync.Mutex
	at map[int]time.Time // no more than partitions
}

// due tells whether it is time for it again, and takes it on.
func (r *recently) due(p int, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := now.Sub(r.at[p]); since >= 0 && since < turnDelay {
		return false
	}
	if r.at == nil {
		r.at = map[int]time.Time{}
	}
	r.at[p] = now
	return true
}

// lost replaces a projection that lists an answer as open which it has lost:
// whoever waits would wait for ever, the task that holds it too.
func (e *engine) lost(ctx context.Context, p int, a balance.OpenAnswer) (bool, error) {
	meta, err := e.meta(ctx, p)
	if err != nil {
		return false, err
	}
	lost, err := e.store.Lost(ctx, p, a)
	if err != nil || !lost {
		return false, err
	}
	e.log.ErrorContext(ctx, "the projection has lost an open answer, it is made anew", slog.Int("partition", p), slogTask(a.Task))
	return true, e.projector.Replace(ctx, p, meta.Epoch, "an open answer was lost")
}

// giveUpAll looks in every partition for answers that no task will ever settle.
func (e *engine) giveUpAll(ctx context.Context, rdb redis.UniversalClient) error {
	open := 0
	for p := range e.store.Partitions() {
		n, err := e.giveUp(ctx, rdb, p)
		if err != nil {
			return err
		}
		open += n
	}
	e.metrics.OpenAnswers.Set(metrics.Float(open))
	e.metrics.MeasuredNow(metrics.MeasuredAnswers)
	return nil
}

// giveUp looks in one, and returns how many answers are open.
func (e *engine) giveUp(ctx context.Context, rdb redis.UniversalClient, p int) (int, error) {
	open, err := e.store.OpenAnswers(ctx, p, 0)
	if err != nil {
		return 0, err
	}
	meta, err := e.meta(ctx, p)
	if err != nil {
		return 0, err
	}
	for _, a := range open {
		if strings.HasPrefix(a.Task, "transfer:") {
			continue // the outbox brings it to its end
		}
		has, err := e.hasTask(ctx, rdb, a.Task)
		if err != nil {
			return 0, err
		}
		if has {
			continue
		}
		if err := e.giveUpOne(ctx, p, meta, a, metering.GiveUpAfter); err != nil && !errors.Is(err, balance.ErrGone) {
			return 0, err
		}
	}
	return len(open), nil
}

// giveUpOne gives an answer up that is at least so old, and keeps a finding.
func (e *engine) giveUpOne(ctx context.Context, p int, meta *balance.Meta, a balance.OpenAnswer, age time.Duration) error {
	if err := e.store.GiveUp(ctx, p, meta, a, age); err != nil {
		return e.forgetMetaIfOver(p, err)
	}
	e.log.WarnContext(ctx, "an answer without a task was given up", slogTask(a.Task))
	return e.ledger.InsertFindings(ctx, []ledger.Finding{{
		At: e.clock.Now().UTC(), Kind: ledger.FindingWithoutTask, Field: a.Task, Healed: false,
	}})
}

func (e *engine) hasTask(ctx context.Context, rdb redis.UniversalClient, task string) (bool, error) {
	for _, q := range e.chargingQueues() {
		n, err := rdb.Exists(ctx, wire.TaskKey(q, task)).Result()
		if err != nil {
			return false, fmt.Errorf("look for a task: %w", err)
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, nil
}
