package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/worker/metrics"
	"github.com/meterd/meterd/worker/pipeline"
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

// ownChores keep what the worker itself knows current: accounts, plans and hooks are
// known before a task needs them, and while the ledger is away.
func (w *Worker) ownChores() []chore {
	return []chore{
		// The projection tells of a newer one sooner, unless who applied it died.
		{"snapshot", idleEvery, func(ctx context.Context) error { _, err := w.deps.Snapshots.Refresh(ctx); return err }},
		{"projection", time.Second, w.partitions(w.projections.Current)},
		{"beat", beatEvery, w.beat},
	}
}

func (w *Worker) sharedChores() []chore {
	return []chore{
		{"rollups", 10 * time.Second, afterWork(w.pipeline.Done, restEvery, newRollup(w.deps.Ledger, w.deps.Log).pass)},
		{"bounds of months", time.Second, w.admin.OpenMonths},
		{"months", time.Second, w.rollMonths},
		{"waiting refunds", 2 * time.Second, afterWork(w.pipeline.Done, restEvery, func(ctx context.Context) error { return w.pipeline.DueRefunds(ctx, w.opts.WaitMax) })},
		{"automatic refunds", 2 * time.Second, afterWork(w.pipeline.Done, idleEvery, w.autoRefunds)},
		{"late statuses", 5 * time.Minute, w.lateStatuses},
		{"resolved quarantine", 10 * time.Second, afterWork(w.pipeline.Done, restEvery, w.resolveQuarantine())},
		{"dead workers", 5 * time.Second, func(ctx context.Context) error { return w.pipeline.Requeue(ctx, w.pipeline.AllQueues(), false) }},
		{"open answers", time.Minute, w.pipeline.GiveUpAll},
		{"old dedup sets", 10 * time.Minute, w.partitions(func(ctx context.Context, p int) error {
			meta, err := w.projections.Meta(ctx, p)
			if err != nil {
				return err
			}
			return w.deps.Store.SweepDedup(ctx, p, meta)
		})},
		{"reconcile", min(w.opts.ReconcileEvery, time.Second), w.reconcileDue()},
		{"breaker", 2 * time.Second, w.breakers.Watch},
		{"reports", time.Second, w.report.Due},
		{"retention", time.Hour, func(ctx context.Context) error { return w.admin.Retain(ctx, w.opts.Retention, w.deps.Log) }},
		{"closing", closeEvery, func(ctx context.Context) error { return w.closer.CloseDue(ctx, w.opts.CloseGrace) }},
		{"waiting tasks", 10 * time.Second, w.countTasks},
		{"suspended accounts", restEvery, w.countSuspended}, // it reads the state of every account
	}
}

// partitions makes one of f for each.
func (w *Worker) partitions(f func(ctx context.Context, p int) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for p := range w.deps.Store.Partitions() {
			if err := f(ctx, p); err != nil {
				return err
			}
		}
		return nil
	}
}

func (w *Worker) runChore(ctx context.Context, c chore) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		if err := c.run(ctx); err != nil && ctx.Err() == nil {
			w.deps.Log.WarnContext(ctx, "chore failed, it is tried again", slog.String("chore", c.name), pipeline.Because(err), slog.Any("error", err))
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
func afterWork(done func() pipeline.Work, idle time.Duration, f func(ctx context.Context) error) func(ctx context.Context) error {
	var seen pipeline.Work
	var moved, asked time.Time
	return func(ctx context.Context) error {
		now := clock.System().Now() // not the worker's: this is about work, not about what is due
		if work := done(); work != seen {
			seen, moved = work, now
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
	now := w.deps.Clock.Now()
	snap := w.deps.Snapshots.Current()
	for _, id := range snap.Parents {
		a := snap.Accounts[id]
		month := a.Calendar.Of(now).Name
		if w.months[id] == month {
			continue
		}
		p := w.deps.Store.PartitionOf(id)
		meta, err := w.projections.Meta(ctx, p)
		if err != nil {
			return err
		}
		ids := snap.Family(id)
		// What counts is the month by Redis's clock, which may not be there yet.
		if w.months[id], err = w.deps.Store.Roll(ctx, p, meta, w.deps.Snapshots.Months(a), ids); err != nil {
			return w.projections.ForgetIfOver(p, err)
		}
	}
	return nil
}

// resolveQuarantine looks at a page of entries each time, for as many have been
// sent again.
func (w *Worker) resolveQuarantine() func(ctx context.Context) error {
	after := ""
	return func(ctx context.Context) (err error) {
		after, _, err = w.deps.Ledger.ResolveQuarantine(ctx, after, w.deps.Clock.Now())
		return err
	}
}

// countSuspended sets the gauge of suspended accounts, a parent's page at a time.
func (w *Worker) countSuspended(ctx context.Context) error {
	snap := w.deps.Snapshots.Current()
	now := w.deps.Clock.Now().UnixMilli()
	n := 0
	for _, parent := range snap.Parents {
		proj, err := w.deps.Store.Read(ctx, w.deps.Store.PartitionOf(parent), snap.Family(parent))
		if err != nil {
			return err
		}
		for _, st := range proj.States {
			if own, inherited := st.Flags(now); own|inherited != 0 {
				n++
			}
		}
	}
	w.metrics.Suspended.Set(metrics.Float(n))
	w.metrics.MeasuredNow(metrics.MeasuredSuspended)
	return nil
}
