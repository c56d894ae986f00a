package pipeline

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// Bounds of the time to a task's next try.
const (
	turnDelay  = 250 * time.Millisecond // until others have settled
	retryFirst = time.Second            // then twice as long each time,
	retryMost  = 30 * time.Second
)

// Delay of a task that has failed so often before: waiting for others is
// short, anything else doubles.
func Delay(n int, err error) time.Duration {
	if waits(err) {
		return turnDelay
	}
	return min(retryFirst<<min(n, 5), retryMost)
}

// waits tells that a task only waits for others to settle.
func waits(err error) bool {
	return errors.Is(err, ErrLater) || errors.Is(err, balance.ErrEpoch) || errors.Is(err, balance.ErrGone) || errors.Is(err, balance.ErrOpen)
}

// errUnstored puts a task back whose rows are on their way for long.
var errUnstored = fmt.Errorf("rows aren't stored after %s", storePatience)

// outage is what a worker knows of the ledger.
type outage struct {
	suspected atomic.Bool // a task failed by it since it was last asked
	away      atomic.Bool
	stuck     atomic.Int64 // when the last write failed or took long, ms; 0: it went well

	mu     sync.Mutex
	asking map[*context.CancelCauseFunc]bool // who waits for it
}

// left notes that it is away: nobody waits for it any longer.
func (o *outage) left() {
	o.away.Store(true)
	o.mu.Lock()
	defer o.mu.Unlock()
	for cancel := range o.asking {
		(*cancel)(ledger.ErrAway)
	}
}

// waitsFor ends ctx once the ledger is known to be away, until done is called.
func (o *outage) waitsFor(ctx context.Context) (_ context.Context, cancel context.CancelCauseFunc, done func()) {
	ctx, cancel = context.WithCancelCause(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asking == nil {
		o.asking = map[*context.CancelCauseFunc]bool{}
	}
	o.asking[&cancel] = true
	return ctx, cancel, func() {
		cancel(nil)
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.asking, &cancel)
	}
}

// failed notes why a task goes back.
func (o *outage) failed(err error) {
	if errors.Is(err, ledger.ErrAway) || errors.Is(err, errUnstored) || errors.Is(err, errSlow) {
		o.suspected.Store(true)
	}
}

// wrote notes how the last write went.
func (o *outage) wrote(well bool, now time.Time) {
	if well {
		o.stuck.Store(0)
	} else {
		o.stuck.Store(now.UnixMilli())
	}
}

// stands tells whether nothing was written lately though it was tried.
func (o *outage) stands(now time.Time) bool {
	at := o.stuck.Load()
	return at != 0 && now.UnixMilli()-at < retryMost.Milliseconds()
}

// counts tells whether a try counts, so that the next one is later. While the
// ledger is away nobody settles, so who waits for others counts too.
func (o *outage) counts(err error) bool { return o.away.Load() || !waits(err) }

// delay is Delay while the ledger may be away. A quarter is left to chance,
// so that tasks that failed together don't all come again together.
func (o *outage) delay(n int, err error) time.Duration {
	if o.away.Load() {
		err = ledger.ErrAway
	}
	d := Delay(n, err)
	return d - rand.N(d/4) //nolint:gosec // it only spreads load
}

// RetryDelay is how long after a try, of so many that have failed, the next one comes.
func (pl *Pipeline) RetryDelay(n int, err error) time.Duration { return pl.outage.delay(n, err) }

// Counts tells whether a try that ended so counts, so that the next one is later.
func (pl *Pipeline) Counts(err error) bool { return pl.outage.counts(err) }

// Failed notes why a task goes back to its queue.
func (pl *Pipeline) Failed(err error) { pl.outage.failed(err) }

// Bounds of the watch.
const (
	WatchEvery  = time.Second
	WatchAnswer = 5 * time.Second
)

// Watch asks the ledger whether it answers while tasks fail by it. Once it does
// again the tasks that have backed off come back at once.
func (pl *Pipeline) Watch(ctx context.Context) error {
	tick := time.NewTicker(WatchEvery)
	defer tick.Stop()
	for {
		if err := pl.look(ctx); err != nil && ctx.Err() == nil {
			pl.log.WarnContext(ctx, "tasks aren't brought back, it is tried again", Because(err), slog.Any("error", err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (pl *Pipeline) look(ctx context.Context) error {
	if !pl.outage.away.Load() && !pl.outage.suspected.Swap(false) {
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, WatchAnswer)
	defer cancel()
	if err := pl.ledger.Ping(ask); err != nil {
		pl.outage.left()
		return nil // that is the answer
	}
	if !pl.outage.away.Load() {
		return nil
	}
	// Before its tasks come back: they would fail at once, and wait again.
	pl.outage.stuck.Store(0)
	pl.outage.away.Store(false)
	if err := pl.recall(ctx); err != nil {
		pl.outage.away.Store(true) // the next look brings back who is left
		return err
	}
	return nil
}

// recall has tasks come at once that wait for the ledger.
func (pl *Pipeline) recall(ctx context.Context) error {
	all := int64(0)
	for _, q := range pl.chargingQueues() {
		n, err := wire.Recall(ctx, pl.redis, q)
		if err != nil {
			return err
		}
		all += n
	}
	if all > 0 {
		pl.log.InfoContext(ctx, "the ledger answers again, tasks come back", slog.Int64("tasks", all))
	}
	return nil
}
