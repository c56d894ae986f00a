package pipeline

import (
	"context"
	"log/slog"
	"slices"
	"sync"

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

// IngestQueues are the worker's own, and those beyond.
func (pl *Pipeline) IngestQueues() []string {
	return append(wire.IngestQueues(pl.shards), pl.beyond.list()...)
}

// chargingQueues are those whose tasks hold answers.
func (pl *Pipeline) chargingQueues() []string {
	return append(pl.IngestQueues(), wire.QueueRefunds)
}

// AllQueues are those that workers serve.
func (pl *Pipeline) AllQueues() []string {
	return append(pl.chargingQueues(), wire.QueueSuspensions, wire.QueueReports)
}

// Beyond are the queues beyond the worker's number that it knows of.
func (pl *Pipeline) Beyond() []string { return pl.beyond.list() }

// LookBeyond looks for queues beyond the worker's number, and returns the new ones.
func (pl *Pipeline) LookBeyond(ctx context.Context) ([]string, error) {
	held, err := wire.Holding(ctx, pl.redis, pl.shards)
	added := pl.beyond.add(held) // of the nodes that have answered
	for _, q := range added {
		pl.log.InfoContext(ctx, "an ingest queue beyond the number of shards holds tasks, it is served too", slog.String("queue", q), slog.Int("shards", pl.shards))
	}
	return added, err
}
