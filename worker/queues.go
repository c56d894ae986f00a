package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/wire"
)

// beyond are ingest queues beyond a worker's number of shards in which something
// lay. A client, or a worker before this one, may have another number: what is in
// those queues is served as well, until this process ends. A task's queue decides
// nothing but who takes it, so it doesn't matter in which one an account's records are.
type beyond struct {
	mu     sync.Mutex
	queues []string
}

// add those that aren't known yet, and return them.
func (b *beyond) add(queues []string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var added []string
	for _, q := range queues {
		if !slices.Contains(b.queues, q) {
			added = append(added, q)
		}
	}
	b.queues = append(b.queues, added...)
	return added
}

func (b *beyond) list() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.queues)
}

// ingestQueues are the worker's own, and those beyond.
func (e *engine) ingestQueues() []string {
	return append(wire.IngestQueues(e.shards), e.beyond.list()...)
}

// chargingQueues are those whose tasks hold answers.
func (e *engine) chargingQueues() []string {
	return append(e.ingestQueues(), wire.QueueRefunds)
}

// allQueues are those that workers serve.
func (e *engine) allQueues() []string {
	return append(e.chargingQueues(), wire.QueueSuspensions, wire.QueueReports)
}

// lookBeyond looks for queues beyond the worker's number, and returns the new ones.
func (e *engine) lookBeyond(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	held, err := wire.Holding(ctx, rdb, e.shards)
	added := e.beyond.add(held) // of the nodes that have answered
	for _, q := range added {
		e.log.InfoContext(ctx, "an ingest queue beyond the number of shards holds tasks, it is served too", slog.String("queue", q), slog.Int("shards", e.shards))
	}
	return added, err
}

// beyondEvery is how often they are looked for.
const beyondEvery = 5 * time.Second

// serveBeyond looks for queues beyond the worker's number until ctx ends, and has
// those that are new served.
func (w *Worker) serveBeyond(ctx context.Context, serve func(*server)) {
	w.runChore(ctx, chore{"queues beyond the shards", beyondEvery, func(ctx context.Context) error {
		added, err := w.engine.lookBeyond(ctx, w.redis)
		if len(added) > 0 && w.has(RoleIngest) {
			serve(w.ingestServer(added...))
		}
		return err
	}})
}
