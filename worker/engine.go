package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/semaphore"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/worker/metrics"
)

// engine takes a task through charge, store, settle, judge and finish.
type engine struct {
	store     *balance.Store
	ledger    *ledger.Ledger
	writer    *ledger.Writer
	snapshots *admin.Snapshots
	projector *reconcile.Projector
	queue     wire.Enqueuer
	codec     *wire.Codec
	clock     clock.Clock
	log       *slog.Logger
	metrics   *metrics.Set
	shards    int
	brakes    brakes
	beyond    beyond
	room      *semaphore.Weighted // recordsInHand
	unpacking *semaphore.Weighted // unpackingMax
	aside     *semaphore.Weighted // asideMax
	noPrice   unpriced
	outage    outage
	promoted  recently
	taken     atomic.Int64       // tasks of records that ended, well or not
	crash     func(point string) // nil but in crash tests

	mu         sync.Mutex
	metas      map[int]*balance.Meta
	writes     map[string]*writing // no more than open answers
	looked     time.Time           // when writes was last looked through
	background sync.WaitGroup      // of the writes
}

// recordsInHand bounds the records of all tasks in hand (about 1 KB each with
// all that is made of them), however large the tasks are.
const recordsInHand = 256 << 10

// asideMax bounds the lines on their way to the ledger that aren't rows, in KB: a
// handler whose insert takes long lets go of its room, and the insert keeps them.
const asideMax = 128 << 10

// unpackingMax bounds the bytes of payloads that are unpacked and wait until their
// records may be in hand: the others wait in Redis's few bytes. Of each line there is
// a slice beside its text.
const (
	unpackingMax = wire.PayloadMax + 64<<20
	sliceBytes   = 24
)

// unpackedMost is what a payload may take unpacked, as far as it tells.
func unpackedMost(payload []byte) int64 {
	text := min(wire.Unpacked(payload), wire.PayloadMax)
	return int64(text + sliceBytes*min(text/2+1, wire.LinesMax))
}

// unpack takes a payload apart, its head into head unless that is nil, and waits
// until its records may be in hand. ErrPayload: it can't be taken apart.
func (e *engine) unpack(ctx context.Context, payload []byte, head any) (lines [][]byte, release func(), err error) {
	held := unpackedMost(payload)
	if err := e.unpacking.Acquire(ctx, held); err != nil {
		return nil, nil, fmt.Errorf("wait for other payloads to be unpacked: %w", err)
	}
	defer func() { e.unpacking.Release(held) }()
	if head == nil {
		lines, err = e.codec.Decode(payload)
	} else {
		lines, err = e.codec.DecodeHead(payload, head)
	}
	if err != nil {
		return nil, nil, err
	}
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	if less := held - int64(size+sliceBytes*len(lines)); less > 0 { // it didn't tell more
		e.unpacking.Release(less)
		held -= less
	}
	release, err = e.hold(ctx, max(len(lines), size>>10))
	return lines, release, err
}

// hold waits until so many records may be in hand.
func (e *engine) hold(ctx context.Context, records int) (release func(), err error) {
	n := int64(min(records, recordsInHand))
	if err := e.room.Acquire(ctx, n); err != nil {
		return nil, fmt.Errorf("wait for other records to be stored: %w", err)
	}
	return func() { e.room.Release(n) }, nil
}

// meta of a partition, as last seen; the scripts refuse one that is over.
func (e *engine) meta(ctx context.Context, p int) (*balance.Meta, error) {
	e.mu.Lock()
	m := e.metas[p]
	e.mu.Unlock()
	if m != nil {
		return m, nil
	}
	return e.renew(ctx, p)
}

// renew makes sure that the partition has a projection and reads its meta. Nobody
// charges in a new one before its breaker has a bound.
func (e *engine) renew(ctx context.Context, p int) (*balance.Meta, error) {
	m, err := e.projector.Ensure(ctx, p)
	if err != nil {
		return nil, err
	}
	if !m.Bounded && e.snapshots.Current().Catalog > 0 { // else it charges nobody yet
		if err := e.setBound(ctx, p, m); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	e.metas[p] = m
	e.mu.Unlock()
	return m, nil
}

// current notices a Redis that was restarted or emptied, and accounts that
// another process has changed, while nobody charged.
func (e *engine) current(ctx context.Context, p int) error {
	meta, err := e.renew(ctx, p)
	if err != nil {
		return err
	}
	if meta.Catalog > e.snapshots.Current().Catalog {
		_, err = e.snapshots.Refresh(ctx)
	}
	return err
}

// newestEpoch of the projections as they were last looked at.
func (e *engine) newestEpoch() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := int64(0)
	for _, m := range e.metas {
		n = max(n, m.Epoch)
	}
	return n
}

// work is what has been done so far: two that differ tell that something was done
// between them.
type work struct {
	charged int64 // by any worker, as far as the projections were last looked at
	taken   int64 // tasks of records of this worker: a status charges nothing
}

func (e *engine) done() work {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := work{taken: e.taken.Load()}
	for _, m := range e.metas {
		w.charged += m.Seq
	}
	return w
}

// crashPoint is a named point at which crash tests end the process.
func (e *engine) crashPoint(point string) {
	if e.crash != nil {
		e.crash(point)
	}
}

// storePatience is how long a handler keeps its slot while its rows aren't
// stored (docs/protocol.md, The states of a task).
const storePatience = 5 * time.Second

// write stores a batch. Where that takes longer than storePatience the handler
// gives its slot back, and the insert goes on: the task, when it comes again,
// joins it under the same key instead of sending its rows once more.
func (e *engine) write(ctx context.Context, key string, b *ledger.Batch) (*ledger.Batch, error) {
	started := e.clock.Now()
	patience, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	w := e.begin(ctx, patience, key, b)
	if w != nil {
		select {
		case <-w.done:
			e.forget(key)
			e.metrics.StoreSeconds.Observe(metrics.Seconds(e.clock.Now().Sub(started)))
			return w.batch, w.err
		case <-patience.Done():
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("wait for the ledger: %w", ctx.Err())
	}
	e.outage.wrote(false, e.clock.Now())
	return nil, errUnstored
}

// writing is a batch on its way, or at its end: until its task comes again, which
// may be at another worker.
type writing struct {
	batch *ledger.Batch
	done  chan struct{}
	err   error
	ended time.Time // before done is closed
}

// writtenMax is how long a batch is kept once it is written. A task comes again
// within half a minute; one that comes later sends its rows once more, which is
// harmless.
const writtenMax = 2 * time.Minute

// forgetWritten lets go of batches whose task hasn't come again. The caller holds mu.
func (e *engine) forgetWritten() {
	now := e.clock.Now()
	if now.Sub(e.looked) < writtenMax {
		return
	}
	e.looked = now
	for key, w := range e.writes {
		select {
		case <-w.done:
			if now.Sub(w.ended) > writtenMax {
				delete(e.writes, key)
			}
		default:
		}
	}
}

// begin starts to write a batch, or finds the one that is on its way. nil: there is
// no room for it while patience lasts.
func (e *engine) begin(ctx, patience context.Context, key string, b *ledger.Batch) *writing {
	if w := e.underWay(key); w != nil {
		return w
	}
	aside := int64(min(b.Aside(), asideMax))
	if !e.aside.TryAcquire(aside) && e.aside.Acquire(patience, aside) != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.writes[key]; w != nil { // of another copy of the task
		e.aside.Release(aside)
		return w
	}
	w := &writing{batch: b, done: make(chan struct{})}
	e.writes[key] = w
	e.background.Go(func() { // the writer ends it: stored, refused, or stopped
		w.err = e.writer.Write(context.WithoutCancel(ctx), b)
		b.Quarantine, b.Waiting = nil, nil // who comes for it wants the rows
		e.aside.Release(aside)
		w.ended = e.clock.Now()
		e.outage.wrote(w.err == nil, e.clock.Now())
		close(w.done)
	})
	return w
}

// underWay is the batch that is on its way under a key, if one is.
func (e *engine) underWay(key string) *writing {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forgetWritten()
	return e.writes[key]
}

func (e *engine) forget(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.writes, key)
}

// enqueue adds a follow-up task; that it is there already is success.
func (e *engine) enqueue(ctx context.Context, typ, id string, payload []byte, delay time.Duration) error {
	queue := wire.IngestQueue(wire.ShardOf(id, e.shards))
	if typ == wire.TypeRefund {
		queue = wire.QueueRefunds
	}
	var later []asynq.Option
	if delay > 0 {
		later = append(later, asynq.ProcessIn(delay))
	}
	return wire.Enqueue(ctx, e.queue, typ, id, queue, payload, later...)
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
func (e *engine) entry(t *task, line int, reason metering.Reason, detail string) ledger.Entry {
	now := e.clock.Now().UTC()
	en := ledger.Entry{
		Reason: reason, Detail: detail, Raw: t.lines[line], QuarantinedAt: now,
		State: ledger.QuarantineOpen, Version: uint64(now.UnixMicro()), Again: strings.HasPrefix(t.run, wire.RunReplay),
	}
	if t.bad[line] == nil || t.bad[line].Reason == metering.ReasonOverflow {
		r := &t.recs[line]
		id := r.Identity()
		en.AccountID, en.Kind, en.RecordID, en.ContentHash = id.AccountID, id.Kind, id.ID, r.ContentHash()
	} else {
		en.AccountID, en.Kind, en.RecordID = salvage(t.lines[line])
	}
	en.ID = ledger.EntryID(en.AccountID, en.Kind, en.Raw)
	return en
}
