package pipeline

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/metrics"
)

// leaseOver is how long a task's lease must have been over: one is 30 s and renewed
// well before; asynq itself waits longer.
const leaseOver = 2 * time.Second

// Requeue takes back the tasks of queues whose worker died: all that are
// active where no other worker can hold them, else those whose lease ended.
func (pl *Pipeline) Requeue(ctx context.Context, queues []string, all bool) error {
	for _, q := range queues {
		n, err := wire.Requeue(ctx, pl.redis, q, leaseOver, all)
		if err != nil {
			return err
		}
		if n > 0 {
			pl.metrics.Requeued.Add(metrics.Float(n))
			pl.log.InfoContext(ctx, "tasks taken back from a worker that died", slog.String("queue", q), slog.Int("tasks", n))
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
func (pl *Pipeline) waitSettled(ctx context.Context, p int, upTo int64, patience time.Duration) (bool, error) {
	ok, err := pl.store.WaitSettled(ctx, p, upTo, patience)
	if ok || err != nil {
		return ok, err
	}
	open, err := pl.store.OldestOpen(ctx, p, upTo, promoteMax)
	if err != nil || len(open) == 0 {
		return false, err
	}
	// One that is lost gets to be the oldest.
	if lost, err := pl.lost(ctx, p, open[0]); err != nil || lost {
		return false, err
	}
	return false, pl.promote(ctx, p, open)
}

// promote brings the tasks forward that hold answers, unless one of this worker's
// waiters has just done so, or they wait for the ledger.
func (pl *Pipeline) promote(ctx context.Context, p int, open []balance.OpenAnswer) error {
	if now := pl.clock.Now(); pl.outage.stands(now) || !pl.promoted.due(p, now) {
		return nil
	}
	tasks := make([]string, len(open))
	for i, a := range open {
		tasks[i] = a.Task
	}
	for _, q := range pl.chargingQueues() {
		if err := wire.Promote(ctx, pl.store.Redis(), q, tasks); err != nil {
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
func (pl *Pipeline) lost(ctx context.Context, p int, a balance.OpenAnswer) (bool, error) {
	meta, err := pl.projections.Meta(ctx, p)
	if err != nil {
		return false, err
	}
	lost, err := pl.store.Lost(ctx, p, a)
	if err != nil || !lost {
		return false, err
	}
	pl.log.ErrorContext(ctx, "the projection has lost an open answer, it is made anew", slog.Int("partition", p), slog.String("task", a.Task))
	return true, pl.projections.projector.Replace(ctx, p, meta.Epoch, "an open answer was lost")
}

// GiveUpAll looks in every partition for answers that no task will ever settle.
func (pl *Pipeline) GiveUpAll(ctx context.Context) error {
	open := 0
	for p := range pl.store.Partitions() {
		n, err := pl.giveUp(ctx, p)
		if err != nil {
			return err
		}
		open += n
	}
	pl.metrics.OpenAnswers.Set(metrics.Float(open))
	pl.metrics.MeasuredNow(metrics.MeasuredAnswers)
	return nil
}

// giveUp looks in one, and returns how many answers are open.
func (pl *Pipeline) giveUp(ctx context.Context, p int) (int, error) {
	open, err := pl.store.OpenAnswers(ctx, p, 0)
	if err != nil {
		return 0, err
	}
	meta, err := pl.projections.Meta(ctx, p)
	if err != nil {
		return 0, err
	}
	for _, a := range open {
		if strings.HasPrefix(a.Task, "transfer:") {
			continue // the outbox brings it to its end
		}
		has, err := pl.hasTask(ctx, a.Task)
		if err != nil {
			return 0, err
		}
		if has {
			continue
		}
		if err := pl.giveUpOne(ctx, p, meta, a, metering.GiveUpAfter); err != nil && !errors.Is(err, balance.ErrGone) {
			return 0, err
		}
	}
	return len(open), nil
}

// giveUpOne gives an answer up that is at least so old, and keeps a finding.
func (pl *Pipeline) giveUpOne(ctx context.Context, p int, meta *balance.Meta, a balance.OpenAnswer, age time.Duration) error {
	if err := pl.store.GiveUp(ctx, p, meta, a, age); err != nil {
		return pl.projections.ForgetIfOver(p, err)
	}
	pl.log.WarnContext(ctx, "an answer without a task was given up", slog.String("task", a.Task))
	return pl.ledger.InsertFindings(ctx, []ledger.Finding{{
		At: pl.clock.Now().UTC(), Kind: ledger.FindingWithoutTask, Field: a.Task, Healed: false,
	}})
}

func (pl *Pipeline) hasTask(ctx context.Context, task string) (bool, error) {
	for _, q := range pl.chargingQueues() {
		n, err := pl.redis.Exists(ctx, wire.TaskKey(q, task)).Result()
		if err != nil {
			return false, fmt.Errorf("look for a task: %w", err)
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, nil
}
