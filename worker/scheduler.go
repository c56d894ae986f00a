package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/metrics"
)

// chore is something that is asked for over and over: "is anything due?".
// What is due stands in storage, so a missed tick loses nothing.
type chore struct {
	name  string
	every time.Duration
	run   func(ctx context.Context) error
}

// idleEvery is how often an idle system asks what time alone makes due: each
// question costs ClickHouse 10 to 30 ms. What may wait longer than that, for
// nobody sees it wait, is asked every restEvery.
const (
	idleEvery = 30 * time.Second
	restEvery = time.Minute
)

// closeEvery is how often months are looked for whose grace is over.
const closeEvery = 10 * time.Second

// chores are run each on its own until the worker ends: some by every worker, most by
// who has the role.
func (w *Worker) chores() []chore {
	own := w.ownChores()
	if !w.has(RoleScheduler) {
		return own
	}
	return append(own, w.sharedChores()...)
}

// partitions makes one of f for each.
func (e *engine) partitions(f func(ctx context.Context, p int) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for p := range e.store.Partitions() {
			if err := f(ctx, p); err != nil {
				return err
			}
		}
		return nil
	}
}

// ownChores keep what the worker itself knows current: accounts, plans and hooks are
// known before a task needs them, and while the ledger is away.
func (w *Worker) ownChores() []chore {
	e := w.engine
	return []chore{
		// The projection tells of a newer one sooner, unless who applied it died.
		{"snapshot", idleEvery, func(ctx context.Context) error { _, err := e.snapshots.Refresh(ctx); return err }},
		{"projection", time.Second, e.partitions(e.current)},
		{"beat", beatEvery, w.beat},
	}
}

func (w *Worker) sharedChores() []chore {
	e := w.engine
	return []chore{
		{"rollups", 10 * time.Second, w.afterWork(restEvery, newRollup(e.ledger, e.log).pass)},
		{"bounds of months", time.Second, w.admin.OpenMonths},
		{"months", time.Second, w.rollMonths},
		{"waiting refunds", 2 * time.Second, w.afterWork(restEvery, w.dueRefunds)},
		{"automatic refunds", 2 * time.Second, w.afterWork(idleEvery, w.autoRefunds)},
		{"late statuses", 5 * time.Minute, w.lateStatuses},
		{"resolved quarantine", 10 * time.Second, w.afterWork(restEvery, w.resolveQuarantine())},
		{"dead workers", 5 * time.Second, func(ctx context.Context) error { return e.requeue(ctx, w.redis, e.allQueues(), false) }},
		{"open answers", time.Minute, func(ctx context.Context) error { return e.giveUpAll(ctx, w.redis) }},
		{"old dedup sets", 10 * time.Minute, e.partitions(func(ctx context.Context, p int) error {
			meta, err := e.meta(ctx, p)
			if err != nil {
				return err
			}
			return e.store.SweepDedup(ctx, p, meta)
		})},
		{"reconcile", min(w.opts.ReconcileEvery, time.Second), w.reconcileDue()},
		{"breaker", 2 * time.Second, w.watchBreakers},
		{"reports", time.Second, w.report.Due},
		{"retention", time.Hour, func(ctx context.Context) error { return w.admin.Retain(ctx, w.opts.Retention, e.log) }},
		{"closing", closeEvery, func(ctx context.Context) error { return w.closer.CloseDue(ctx, w.opts.CloseGrace) }},
		{"waiting tasks", 10 * time.Second, w.countTasks},
		{"suspended accounts", restEvery, w.countSuspended}, // it reads the state of every account
	}
}

func (w *Worker) runChore(ctx context.Context, c chore) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		if err := c.run(ctx); err != nil && ctx.Err() == nil {
			w.engine.log.WarnContext(ctx, "chore failed, it is tried again", slog.String("chore", c.name), because(err), slogError(err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// afterWork asks f for what charges, of any worker, and this one's tasks leave
// behind: while there are none, every idle only.
func (w *Worker) afterWork(idle time.Duration, f func(ctx context.Context) error) func(ctx context.Context) error {
	var seen work
	var moved, asked time.Time
	return func(ctx context.Context) error {
		now := clock.System().Now() // not the worker's: this is about work, not about what is due
		if done := w.engine.done(); done != seen {
			seen, moved = done, now
		}
		if now.Sub(moved) > idle && now.Sub(asked) < idle {
			return nil
		}
		asked = now
		return f(ctx)
	}
}

// rollMonths judges the states of parents whose month has changed since it was
// last looked at; after a start, of all. The scripts change nothing twice.
func (w *Worker) rollMonths(ctx context.Context) error {
	e := w.engine
	now := e.clock.Now()
	snap := e.snapshots.Current()
	for _, id := range snap.Parents {
		a := snap.Accounts[id]
		month := a.Calendar.Of(now).Name
		if w.months[id] == month {
			continue
		}
		p := e.store.PartitionOf(id)
		meta, err := e.meta(ctx, p)
		if err != nil {
			return err
		}
		ids := snap.Family(id)
		// What counts is the month by Redis's clock, which may not be there yet.
		if w.months[id], err = e.store.Roll(ctx, p, meta, e.snapshots.Months(a), ids); err != nil {
			return e.forgetMetaIfOver(p, err)
		}
	}
	return nil
}

// dueRefunds brings refunds back whose message has come, and quarantines those
// that have waited too long.
func (w *Worker) dueRefunds(ctx context.Context) error {
	e := w.engine
	now := e.clock.Now().UTC()
	var done []ledger.Waiting
	var late []ledger.Entry
	err := e.ledger.WaitingRefunds(ctx, now.Add(-w.opts.WaitMax), func(wt *ledger.Waiting, come bool) error {
		if come {
			sum := sha256.Sum256(append([]byte(wt.AccountID+"\x00"+wt.ID+"\x00"+wt.Since.String()), wt.Raw...))
			id := "wait-" + hex.EncodeToString(sum[:16])
			payload, err := e.codec.EncodeHead(wire.RefundHeader{}, [][]byte{wt.Raw})
			if err != nil {
				return fmt.Errorf("waiting refund: %w", err)
			}
			if err := e.enqueue(ctx, wire.TypeRefund, id, payload, 0); err != nil {
				return err
			}
		} else {
			t := newTask("", [][]byte{wt.Raw}, true)
			t.run = wt.Run
			detail := "refers_to: no such message came in time; enqueue the message, then replay"
			if from := e.snapshots.Current().RowsFrom; !from.IsZero() {
				detail = fmt.Sprintf("refers_to: no such message came in time; if it is of before %s its row is gone: discard this, and book a wallet adjustment if it is due; else enqueue the message, then replay", from.Format(time.RFC3339))
			}
			late = append(late, e.entry(t, 0, metering.ReasonUnknownMessage, detail))
		}
		// Newer than the row, though the clock of who wrote it may be ahead.
		wt.Done, wt.Version = true, uint64(max(wt.Since.UnixMicro()+1000, now.UnixMicro()))
		done = append(done, *wt)
		return nil
	})
	if err != nil {
		return err
	}
	if err := e.ledger.OpenQuarantine(ctx, late); err != nil {
		return err
	}
	return e.ledger.InsertWaiting(ctx, done)
}

// resolveQuarantine looks at a page of entries each time, for as many have been
// sent again.
func (w *Worker) resolveQuarantine() func(ctx context.Context) error {
	after := ""
	return func(ctx context.Context) (err error) {
		after, _, err = w.engine.ledger.ResolveQuarantine(ctx, after, w.engine.clock.Now())
		return err
	}
}

// countSuspended sets the gauge of suspended accounts, a parent's page at a time.
func (w *Worker) countSuspended(ctx context.Context) error {
	e := w.engine
	snap := e.snapshots.Current()
	now := e.clock.Now().UnixMilli()
	n := 0
	for _, parent := range snap.Parents {
		proj, err := e.store.Read(ctx, e.store.PartitionOf(parent), snap.Family(parent))
		if err != nil {
			return err
		}
		for _, st := range proj.States {
			if own, inherited := st.Flags(now); own|inherited != 0 {
				n++
			}
		}
	}
	e.metrics.Suspended.Set(metrics.Float(n))
	e.metrics.MeasuredNow(metrics.MeasuredSuspended)
	return nil
}
