package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// Closer closes months (docs/domain.md, Periods; docs/protocol.md, Closing
// and rollups). Any number of processes may try the same month: it is closed once,
// and every one of them gives the same digest.
type Closer struct {
	ledger    *ledger.Ledger
	store     *balance.Store
	snapshots *Snapshots
	clock     clock.Clock
	log       *slog.Logger
	meta      metaOf

	done    map[string]string // parent → newest month that is known to be closed
	blocked map[string]string // parent → open month that was told of
}

// NewCloser returns a Closer. meta makes sure that a partition's projection may
// be used (reconcile.Projector.Ensure).
func NewCloser(l *ledger.Ledger, s *balance.Store, h *Snapshots, c clock.Clock, log *slog.Logger, meta metaOf) *Closer {
	return &Closer{ledger: l, store: s, snapshots: h, clock: c, log: log, meta: meta, blocked: map[string]string{}}
}

// youngError says that the projection was rebuilt too short a time ago.
type youngError struct{ until time.Time }

// Error implements error.
func (e *youngError) Error() string {
	return "the projection was rebuilt a short time ago: rows of the one before may still be on their way"
}

// CloseMonth closes a parent's month by hand and waits until it is done. A month
// that is closed already stays as it is. ErrRefused says why it can't be closed
// yet. wait, if not nil, is told until when a rebuilt projection makes it wait.
func (c *Closer) CloseMonth(ctx context.Context, parent, period string, wait func(until time.Time)) (*ledger.Closing, error) {
	a := c.snapshots.Current().Accounts[parent]
	if a == nil {
		return nil, metering.ErrUnknownAccount
	}
	if !a.IsParent() {
		return nil, fmt.Errorf("%w: months are a parent's; name the parent", ErrWrongKind)
	}
	month, err := a.Calendar.Named(period)
	if err != nil {
		return nil, err
	}
	if err := c.mayClose(ctx, a, month); err != nil {
		return nil, err
	}
	for {
		done, err := c.close(ctx, a, month)
		var young *youngError
		switch {
		case errors.As(err, &young):
			if wait != nil {
				wait(young.until)
			}
		case !errors.Is(err, ErrBusy):
			return done, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// mayClose judges a closing by hand: not before the dedup window has passed
// since the month's end, and not before older months.
func (c *Closer) mayClose(ctx context.Context, a *metering.Account, month metering.Period) error {
	now := c.clock.Now()
	if now.Before(month.End) {
		return fmt.Errorf("%w: %s isn't over before %s", ErrRefused, month.Name, month.End.Format(time.RFC3339))
	}
	list, err := c.ledger.Closings(ctx, a.ID)
	if err != nil {
		return err
	}
	later := ""
	for i := range list {
		switch {
		case list[i].Period == month.Name:
			return nil // begun or closed: it is ended, or shown
		case list[i].Period > month.Name:
			later = list[i].Period
		}
	}
	if later != "" {
		return fmt.Errorf("%w: months close in order, and %s is closed or being closed; what still comes of %s is booked in the open month", ErrRefused, later, month.Name)
	}
	meta, err := c.meta(ctx, c.store.PartitionOf(a.ID))
	if err != nil {
		return err
	}
	if from := month.End.Add(meta.Window); now.Before(from) {
		return fmt.Errorf("%w: copies of %s's records may still come within the dedup window; close it from %s on",
			ErrRefused, month.Name, from.Format(time.RFC3339))
	}
	open, err := c.ledger.OpenMonths(ctx, a.ID, month.Name)
	if err != nil {
		return err
	}
	if len(open) > 0 {
		return fmt.Errorf("%w: months close in order, and %s is open; close it first", ErrRefused, open[0])
	}
	return nil
}

// CloseDue closes the months whose grace is over, oldest first: from the month
// on in which the parent was first applied. It never waits for a projection to
// grow old: the next call goes on.
func (c *Closer) CloseDue(ctx context.Context, grace time.Duration) error {
	if c.done == nil {
		done := map[string]string{}
		list, err := c.ledger.Closings(ctx, "")
		if err != nil {
			return err
		}
		for i := range list {
			if x := &list[i]; x.State == ledger.ClosingDone {
				done[x.ParentID] = max(done[x.ParentID], x.Period)
			}
		}
		c.done = done
	}
	snap := c.snapshots.Current()
	var errs []error
	for _, id := range snap.Parents {
		errs = append(errs, c.closeDueOf(ctx, snap.Accounts[id], grace))
	}
	return errors.Join(errs...)
}

func (c *Closer) closeDueOf(ctx context.Context, a *metering.Account, grace time.Duration) error {
	for {
		month := a.Calendar.Of(a.CreatedAt)
		if last := c.done[a.ID]; last >= month.Name {
			p, err := a.Calendar.Named(last)
			if err != nil {
				return err
			}
			month = a.Calendar.Of(p.End)
		}
		if c.clock.Now().Before(month.End.Add(grace)) {
			return nil
		}
		open, err := c.ledger.OpenMonths(ctx, a.ID, month.Name)
		if err != nil {
			return err
		}
		if len(open) > 0 {
			begun, err := c.begun(ctx, a.ID, month.Name)
			if err != nil {
				return err
			}
			if !begun {
				c.tellBlocked(ctx, a.ID, month.Name, open[0])
				return nil
			}
		}
		if _, err := c.close(ctx, a, month); err != nil {
			var young *youngError
			if errors.As(err, &young) || errors.Is(err, ErrBusy) {
				return nil
			}
			return fmt.Errorf("close %s of %s: %w", month.Name, a.ID, err)
		}
		c.done[a.ID] = month.Name
	}
}

// begun tells whether a month's closing has begun, or is done. From then on the
// months before it take no more records either.
func (c *Closer) begun(ctx context.Context, parent, period string) (bool, error) {
	list, err := c.ledger.Closings(ctx, parent)
	return slices.ContainsFunc(list, func(x ledger.Closing) bool { return x.Period == period }), err
}

// tellBlocked says once which month holds the others up.
func (c *Closer) tellBlocked(ctx context.Context, parent, period, open string) {
	if c.blocked[parent] == open {
		return
	}
	c.blocked[parent] = open
	c.log.WarnContext(ctx, "months close in order: an older one must be closed by hand first",
		slog.String("parent", parent), slog.String("period", period), slog.String("open", open))
}

// close one month under a lease; the row at its end stands once, whoever holds
// the lease.
func (c *Closer) close(ctx context.Context, a *metering.Account, month metering.Period) (*ledger.Closing, error) {
	p, name, token := c.store.PartitionOf(a.ID), balance.ClosingLease(a.ID), uuid.NewString()
	ok, err := c.store.Lease(ctx, p, name, token, balance.ClosingSilence)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: another process is closing a month of this parent", ErrBusy)
	}
	var done *ledger.Closing
	err = c.store.WhileHeld(ctx, p, name, token, balance.ClosingSilence, func(ctx context.Context) error {
		done, err = c.closeHeld(ctx, p, a, month)
		return err
	})
	return done, err
}

// closeHeld: a row that every rebuild reads as closed; the mark in Redis, from
// which on late records are booked in the current month; what is on its way
// awaited; then the digest and the closing row.
func (c *Closer) closeHeld(ctx context.Context, p int, a *metering.Account, month metering.Period) (*ledger.Closing, error) {
	stands := func() (*ledger.Closing, error) {
		list, err := c.ledger.Closings(ctx, a.ID)
		i := slices.IndexFunc(list, func(x ledger.Closing) bool { return x.Period == month.Name && x.State == ledger.ClosingDone })
		if err != nil || i < 0 {
			return nil, err
		}
		return &list[i], nil
	}
	if done, err := stands(); done != nil || err != nil {
		return done, err
	}
	begun := &ledger.Closing{ParentID: a.ID, Period: month.Name, Start: month.Start, End: month.End, AsOf: c.clock.Now().UTC()}
	if err := c.ledger.BeginClosing(ctx, begun); err != nil {
		return nil, err
	}
	err := c.snapshots.retried(ctx, p, "close "+month.Name, c.meta, func(meta *balance.Meta) error { return c.fix(ctx, p, meta, a, month) })
	if err != nil {
		return nil, err
	}
	return stands()
}

// fix works the month out and stores it. Another epoch on the way begins anew.
func (c *Closer) fix(ctx context.Context, p int, meta *balance.Meta, a *metering.Account, month metering.Period) error {
	if _, err := c.store.Close(ctx, p, meta, a.ID, month.Name); err != nil {
		return err
	}
	if err := requireOldEpochsLanded(meta, c.clock.Now()); err != nil {
		return err
	}
	// What the month's rows may be: S is read after the mark and the wait. Of a
	// later epoch, what the one before has in flight isn't waited for yet.
	now, err := c.meta(ctx, p)
	if err != nil {
		return err
	}
	if now.Epoch != meta.Epoch {
		return balance.ErrEpoch
	}
	seq := now.Seq
	ok, err := c.store.WaitSettled(ctx, p, seq, settleMax)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: charges are still on their way to the ledger", ErrBusy)
	}
	if err := c.closeOlder(ctx, p, a, month); err != nil {
		return err
	}
	done, err := c.billOnce(ctx, a, month)
	if err != nil {
		return err
	}
	done.Epoch, done.Seq = meta.Epoch, seq
	if err := c.freeze(ctx, p, a.ID, done); err != nil {
		return err
	}
	if now, err = c.store.Meta(ctx, p); err != nil {
		return err
	}
	if now.Epoch != meta.Epoch {
		return balance.ErrEpoch
	}
	return c.ledger.FinishClosing(ctx, done)
}

// closeOlder closes the months before one that takes no more records: those of
// which a charge was on its way when the closing began. They take none either
// since the mark, and everything of theirs has settled, so what is open now is
// all that ever will be. Left open, their charges would be in no closing balance.
func (c *Closer) closeOlder(ctx context.Context, p int, a *metering.Account, month metering.Period) error {
	open, err := c.ledger.OpenMonths(ctx, a.ID, month.Name)
	if err != nil {
		return err
	}
	for _, name := range open {
		older, err := a.Calendar.Named(name)
		if err != nil {
			return err
		}
		c.log.WarnContext(ctx, "records of an older month came in while a later one was being closed: the older one is closed first",
			slog.String("parent", a.ID), slog.String("period", month.Name), slog.String("open", name))
		if _, err := c.closeHeld(ctx, p, a, older); err != nil {
			return err
		}
	}
	return nil
}

// settleMax is how long a closing waits for open answers at once.
const settleMax = 30 * time.Second

// requireOldEpochsLanded makes sure that nothing of an older epoch can land any more, by any clock: a
// closed month never changes.
func requireOldEpochsLanded(meta *balance.Meta, now time.Time) error {
	if until := meta.Landing.Add(metering.ClocksMax); !meta.Landing.IsZero() && now.Before(until) {
		return &youngError{until}
	}
	return nil
}

// accountsPage is how many accounts one question names.
const accountsPage = 400

// freeze notes what the month's reports show of things that go on changing.
func (c *Closer) freeze(ctx context.Context, p int, parent string, done *ledger.Closing) error {
	snap := c.snapshots.Current()
	done.Catalog = snap.Catalog
	done.Frozen = ledger.Frozen{
		Quarantined: map[string]map[metering.Reason]uint64{}, Rejected: map[string]uint64{}, Waiting: map[string]uint64{},
		Flags: map[string]ledger.FrozenFlags{},
	}
	ids := snap.Family(parent)
	for page := range slices.Chunk(ids, accountsPage) {
		quarantined, err := c.ledger.QuarantinedAt(ctx, page, done.AsOf)
		if err != nil {
			return err
		}
		rejected, err := c.ledger.RejectedAt(ctx, page, done.AsOf)
		if err != nil {
			return err
		}
		waiting, err := c.ledger.WaitingAt(ctx, page, done.AsOf)
		if err != nil {
			return err
		}
		maps.Copy(done.Frozen.Quarantined, quarantined)
		maps.Copy(done.Frozen.Rejected, rejected)
		maps.Copy(done.Frozen.Waiting, waiting)
	}
	proj, err := c.store.Read(ctx, p, ids)
	if err != nil {
		return err
	}
	for id, st := range proj.States {
		if own, inherited := st.Flags(done.AsOf.UnixMilli()); own|inherited != 0 {
			done.Frozen.Flags[id] = ledger.FrozenFlags{Own: own, Inherited: inherited}
		}
	}
	return nil
}
