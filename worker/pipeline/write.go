package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/metrics"
)

// storePatience is how long a handler keeps its slot while its rows aren't
// stored (docs/protocol.md, The states of a task).
const storePatience = 5 * time.Second

// write stores a batch. Where that takes longer than storePatience the handler
// gives its slot back, and the insert goes on: the task, when it comes again,
// joins it under the same key instead of sending its rows once more.
func (pl *Pipeline) write(ctx context.Context, key string, b *ledger.Batch) (*ledger.Batch, error) {
	started := pl.clock.Now()
	patience, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	w := pl.begin(ctx, patience, key, b)
	if w != nil {
		select {
		case <-w.done:
			pl.forget(key)
			pl.metrics.StoreSeconds.Observe(metrics.Seconds(pl.clock.Now().Sub(started)))
			return w.batch, w.err
		case <-patience.Done():
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("wait for the ledger: %w", ctx.Err())
	}
	pl.outage.wrote(false, pl.clock.Now())
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
func (pl *Pipeline) forgetWritten() {
	now := pl.clock.Now()
	if now.Sub(pl.looked) < writtenMax {
		return
	}
	pl.looked = now
	for key, w := range pl.writes {
		select {
		case <-w.done:
			if now.Sub(w.ended) > writtenMax {
				delete(pl.writes, key)
			}
		default:
		}
	}
}

// begin starts to write a batch, or finds the one that is on its way. nil: there is
// no room for it while patience lasts.
func (pl *Pipeline) begin(ctx, patience context.Context, key string, b *ledger.Batch) *writing {
	if w := pl.underWay(key); w != nil {
		return w
	}
	aside := int64(min(b.Aside(), asideMax))
	if !pl.aside.TryAcquire(aside) && pl.aside.Acquire(patience, aside) != nil {
		return nil
	}
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if w := pl.writes[key]; w != nil { // of another copy of the task
		pl.aside.Release(aside)
		return w
	}
	w := &writing{batch: b, done: make(chan struct{})}
	pl.writes[key] = w
	pl.background.Go(func() { // the writer ends it: stored, refused, or stopped
		w.err = pl.writer.Write(context.WithoutCancel(ctx), b)
		b.Quarantine, b.Waiting = nil, nil // who comes for it wants the rows
		pl.aside.Release(aside)
		w.ended = pl.clock.Now()
		pl.outage.wrote(w.err == nil, pl.clock.Now())
		close(w.done)
	})
	return w
}

// underWay is the batch that is on its way under a key, if one is.
func (pl *Pipeline) underWay(key string) *writing {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.forgetWritten()
	return pl.writes[key]
}

func (pl *Pipeline) forget(key string) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	delete(pl.writes, key)
}
