package worker

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/jobs"
)

//go:embed queue.lua
var queueSource string

// followedMax bounds the tasks of a queue that are followed from when a worker took
// them, and askedMax those that nobody has taken and that are asked for their age: a
// look costs Redis about a millisecond, however long the queue is. asynq takes
// the oldest first, so those at its end tell the age of all.
const (
	followedMax = 1000
	askedMax    = 100
)

// held is what a queue holds.
type held struct {
	tasks  map[string]int64 // by state
	oldest time.Duration
}

// lookInto a queue. The age of a task that nobody has taken is exact. One that a worker
// has taken counts from the first look that found it taken, not from its
// enqueueing, and those beyond followedMax aren't known: it is never too old.
func lookInto(ctx context.Context, rdb redis.UniversalClient, queue string) (held, error) {
	prefix := "asynq:{" + queue + "}:"
	keys := []string{jobs.PendingKey(queue), prefix + "active", jobs.ScheduledKey(queue), jobs.RetryKey(queue), prefix + "meterd:seen"}
	v, err := redis.NewScript(queueSource).Run(ctx, rdb, keys, prefix+"t:", followedMax, askedMax).Int64Slice()
	if err != nil {
		return held{}, fmt.Errorf("count the tasks of queue %s: %w", queue, err)
	}
	if len(v) != 5 {
		return held{}, fmt.Errorf("count the tasks of queue %s: %d figures instead of 5", queue, len(v))
	}
	return held{
		tasks:  map[string]int64{"pending": v[0], "active": v[1], "scheduled": v[2], "retry": v[3]},
		oldest: time.Duration(v[4]) * time.Millisecond,
	}, nil
}

// queueLabel is how metrics call a queue: ingest queues are one to who is to act.
func queueLabel(queue string) string {
	if strings.HasPrefix(queue, "ingest-") {
		return "ingest"
	}
	return queue
}

// countTasks sets the gauges of tasks that wait, and of the oldest of them.
func (w *Worker) countTasks(ctx context.Context) error {
	e := w.engine
	tasks := map[[2]string]int64{}
	oldest := map[string]time.Duration{}
	for _, q := range e.allQueues() {
		h, err := lookInto(ctx, w.redis, q)
		if err != nil {
			return err
		}
		label := queueLabel(q)
		oldest[label] = max(oldest[label], h.oldest)
		for state, n := range h.tasks {
			tasks[[2]string{label, state}] += n
		}
	}
	for of, n := range tasks {
		e.metrics.queueTasks.WithLabelValues(of[0], of[1]).Set(double(n))
	}
	for label, age := range oldest {
		e.metrics.oldestTask.WithLabelValues(label).Set(seconds(age))
	}
	if err := w.ageAnswers(ctx); err != nil {
		return err
	}
	e.metrics.measuredNow(measuredTasks)
	return nil
}

// answersAsked is how many of a partition's oldest open answers are asked for their age.
const answersAsked = 100

// ageAnswers sets the gauge of the charge that waits for its rows and that no task
// has come for in the longest time: it may have lost its task.
func (w *Worker) ageAnswers(ctx context.Context) error {
	e := w.engine
	now := clock.System().Now()
	oldest := now
	for p := range e.store.Partitions() {
		since, err := e.store.OpenSince(ctx, p, answersAsked)
		if err != nil {
			return err
		}
		if !since.IsZero() && since.Before(oldest) {
			oldest = since
		}
	}
	e.metrics.oldestAnswer.Set(seconds(now.Sub(oldest)))
	return nil
}
