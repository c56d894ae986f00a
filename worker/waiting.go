package worker

import (
	"context"
	_ "embed"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/worker/metrics"
)

// queueLabel is how metrics call a queue: ingest queues are one to who is to act.
func queueLabel(queue string) string {
	if strings.HasPrefix(queue, "ingest-") {
		return "ingest"
	}
	return queue
}

// countTasks sets the gauges of tasks that wait, and of the oldest of them.
func (w *Worker) countTasks(ctx context.Context) error {
	tasks := map[[2]string]int64{}
	oldest := map[string]time.Duration{}
	for _, q := range w.pipeline.AllQueues() {
		h, err := wire.Look(ctx, w.redis, q)
		if err != nil {
			return err
		}
		label := queueLabel(q)
		oldest[label] = max(oldest[label], h.Oldest)
		for state, n := range h.Tasks {
			tasks[[2]string{label, state}] += n
		}
	}
	for of, n := range tasks {
		w.metrics.QueueTasks.WithLabelValues(of[0], of[1]).Set(metrics.Float(n))
	}
	for label, age := range oldest {
		w.metrics.OldestTask.WithLabelValues(label).Set(metrics.Seconds(age))
	}
	if err := w.ageAnswers(ctx); err != nil {
		return err
	}
	w.metrics.MeasuredNow(metrics.MeasuredTasks)
	return nil
}

// answersAsked is how many of a partition's oldest open answers are asked for their age.
const answersAsked = 100

// ageAnswers sets the gauge of the charge that waits for its rows and that no task
// has come for in the longest time: it may have lost its task.
func (w *Worker) ageAnswers(ctx context.Context) error {
	now := clock.System().Now()
	oldest := now
	for p := range w.deps.Store.Partitions() {
		since, err := w.deps.Store.OpenSince(ctx, p, answersAsked)
		if err != nil {
			return err
		}
		if !since.IsZero() && since.Before(oldest) {
			oldest = since
		}
	}
	w.metrics.OldestAnswer.Set(metrics.Seconds(now.Sub(oldest)))
	return nil
}
