package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"github.com/meterd/meterd/internal/panics"
	"github.com/meterd/meterd/internal/wire"
)

// panicsMax: a task that panics this often is quarantined whole.
const panicsMax = 3

// Guarded runs a handler and turns a panic into an error; the third of one task
// quarantines it whole, so that it never holds back others.
func (pl *Pipeline) Guarded(h func(ctx context.Context, id string, payload []byte) error) asynq.HandlerFunc {
	return func(ctx context.Context, t *asynq.Task) (err error) {
		id, _ := asynq.GetTaskID(ctx)
		defer func() {
			if v := recover(); v != nil {
				err = &panics.Error{Value: v}
				pl.log.ErrorContext(ctx, "a handler panicked", slog.String("task", id), slog.Any("error", err))
				n, bad := pl.store.Panicked(ctx, id)
				if bad != nil {
					err = errors.Join(err, bad)
				} else if n >= panicsMax {
					err = pl.unreadable(ctx, id, t.Type(), t.Payload(), err)
				}
			}
			if err != nil {
				err = errors.Join(err, pl.restore(ctx, id, t))
			}
		}()
		return h(ctx, id, t.Payload())
	}
}

// restore puts a task back that goes to its queue again, but that Redis has
// lost meanwhile: asynq would drop it, and an answer that it holds would stay
// open until it is given up. Where the task is still there nothing changes.
func (pl *Pipeline) restore(ctx context.Context, id string, t *asynq.Task) error {
	queue, ok := asynq.GetQueueName(ctx)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreMax) // a lost lease has ended ctx
	defer cancel()
	_, err := pl.queue.EnqueueContext(ctx, asynq.NewTask(t.Type(), t.Payload()), append(wire.TaskOptions(id, queue), asynq.ProcessIn(time.Second))...)
	switch {
	case errors.Is(err, asynq.ErrTaskIDConflict):
		return nil
	case err != nil:
		return fmt.Errorf("look whether the task is still there: %w", err)
	}
	pl.log.WarnContext(ctx, "a task that redis has lost was put back", slog.String("task", id))
	return nil
}

// restoreMax bounds it while Redis is away.
const restoreMax = 5 * time.Second
