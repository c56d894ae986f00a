package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/semaphore"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/metrics"
)

// Deps are what a pipeline works with.
type Deps struct {
	Store       *balance.Store
	Ledger      *ledger.Ledger
	Snapshots   *admin.Snapshots
	Projections *Projections
	Queue       wire.Enqueuer
	Redis       redis.UniversalClient // as the queues' scripts get it
	Codec       *wire.Codec
	Clock       clock.Clock
	Log         *slog.Logger
	Metrics     *metrics.Set
}

// Options of a pipeline.
type Options struct {
	// Shards is the number of ingest queues.
	Shards int
	// Writer bounds the group commit; its clock is the pipeline's.
	Writer ledger.WriterOptions
	// Crash ends the process at a named point, in crash tests.
	Crash func(point string)
}

// Pipeline takes tasks through charge, store, settle, judge and finish.
type Pipeline struct {
	store       *balance.Store
	ledger      *ledger.Ledger
	writer      *ledger.Writer
	snapshots   *admin.Snapshots
	projections *Projections
	queue       wire.Enqueuer
	redis       redis.UniversalClient
	codec       *wire.Codec
	clock       clock.Clock
	log         *slog.Logger
	metrics     *metrics.Set
	shards      int
	beyond      beyond
	room        *semaphore.Weighted // recordsInHand
	unpacking   *semaphore.Weighted // unpackingMax
	aside       *semaphore.Weighted // asideMax
	noPrice     unpriced
	outage      outage
	promoted    recently
	taken       atomic.Int64       // tasks of records that ended, well or not
	crash       func(point string) // nil but in crash tests

	mu         sync.Mutex
	writes     map[string]*writing // no more than open answers
	looked     time.Time           // when writes was last looked through
	background sync.WaitGroup      // of the writes
}

// New returns a pipeline; Run has what its tasks write stored.
func New(d Deps, o Options) *Pipeline {
	o.Writer.Clock = d.Clock
	return &Pipeline{
		store: d.Store, ledger: d.Ledger, writer: ledger.NewWriter(d.Ledger, o.Writer), snapshots: d.Snapshots, projections: d.Projections,
		queue: d.Queue, redis: d.Redis, codec: d.Codec, clock: d.Clock, log: d.Log, metrics: d.Metrics, shards: o.Shards, crash: o.Crash,
		room: semaphore.NewWeighted(recordsInHand), unpacking: semaphore.NewWeighted(unpackingMax), aside: semaphore.NewWeighted(asideMax),
		writes: map[string]*writing{},
	}
}

// Run has what tasks write stored until ctx ends, then what is on its way.
func (pl *Pipeline) Run(ctx context.Context) error {
	err := pl.writer.Run(ctx)
	pl.background.Wait()
	return err
}

// Work is what has been done so far: two that differ tell that something was done
// between them.
type Work struct {
	Charged int64 // by any worker, as far as the projections were last looked at
	Taken   int64 // tasks of records of this worker: a status charges nothing
}

// Done is the work so far.
func (pl *Pipeline) Done() Work {
	return Work{Charged: pl.projections.charged(), Taken: pl.taken.Load()}
}

// crashPoint is a named point at which crash tests end the process.
func (pl *Pipeline) crashPoint(point string) {
	if pl.crash != nil {
		pl.crash(point)
	}
}

// enqueue adds a follow-up task; that it is there already is success.
func (pl *Pipeline) enqueue(ctx context.Context, typ, id string, payload []byte, delay time.Duration) error {
	queue := wire.IngestQueue(wire.ShardOf(id, pl.shards))
	if typ == wire.TypeRefund {
		queue = wire.QueueRefunds
	}
	var later []asynq.Option
	if delay > 0 {
		later = append(later, asynq.ProcessIn(delay))
	}
	return wire.Enqueue(ctx, pl.queue, typ, id, queue, payload, later...)
}

// idOf names a task by its lines: handed over again, it is the same task.
func idOf(prefix string, lines [][]byte) string {
	h := sha256.New()
	for _, l := range lines {
		_, _ = h.Write(l)
		_, _ = h.Write([]byte{'\n'})
	}
	return prefix + hex.EncodeToString(h.Sum(nil)[:16])
}

// entry makes a quarantine entry of one line.
func (pl *Pipeline) entry(t *task, line int, reason metering.Reason, detail string) ledger.Entry {
	now := pl.clock.Now().UTC()
	en := ledger.Entry{
		Reason: reason, Detail: detail, Raw: t.lines[line], QuarantinedAt: now,
		State: ledger.QuarantineOpen, Version: uint64(now.UnixMicro()), Again: strings.HasPrefix(t.run, wire.RunReplay),
	}
	if t.bad[line] == nil || t.bad[line].Reason == metering.ReasonOverflow {
		r := &t.recs[line]
		id := r.Identity()
		en.AccountID, en.Kind, en.RecordID, en.ContentHash = id.AccountID, id.Kind, id.ID, r.ContentHash()
	} else {
		en.AccountID, en.Kind, en.RecordID = Salvage(t.lines[line])
	}
	en.ID = ledger.EntryID(en.AccountID, en.Kind, en.Raw)
	return en
}
