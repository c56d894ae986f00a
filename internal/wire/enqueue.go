package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
)

// Enqueuer adds a task: an *asynq.Client, or the queue of a test.
type Enqueuer interface {
	EnqueueContext(ctx context.Context, t *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error)
}

// Enqueue adds a task under an id of its own; that it is there already is success.
func Enqueue(ctx context.Context, q Enqueuer, typ, id, queue string, payload []byte, more ...asynq.Option) error {
	_, err := q.EnqueueContext(ctx, asynq.NewTask(typ, payload), append(TaskOptions(id, queue), more...)...)
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return fmt.Errorf("enqueue %s: %w", typ, err)
	}
	return nil
}

// jobKept is how long an account job's id is kept after it is done, so that a repeated
// relay doesn't run it again.
const jobKept = time.Hour

// EnqueueAccountJob adds a job of the suspensions queue.
func EnqueueAccountJob(ctx context.Context, q Enqueuer, typ, id string, job any) error {
	b, err := json.Marshal(job)
	if err != nil {
		return fmt.Errorf("job %s: %w", typ, err)
	}
	return Enqueue(ctx, q, typ, id, QueueSuspensions, b, asynq.Retention(jobKept))
}

// EnqueueStateChange adds the job that tells an account's hooks of its state.
func EnqueueStateChange(ctx context.Context, q Enqueuer, c StateChange) error {
	typ := TypeResume
	if c.Flags != 0 {
		typ = TypeSuspend
	}
	return EnqueueAccountJob(ctx, q, typ, "state:"+c.AccountID+":"+strconv.FormatInt(c.Epoch, 10), c)
}
