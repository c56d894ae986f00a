package admin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// Errors of what changes by hand.
var (
	// ErrRefused: the state of things doesn't allow it.
	ErrRefused = errors.New("refused")
	// ErrWrongKind: the operation isn't for this kind of account.
	ErrWrongKind = errors.New("not for this kind of account")
	// ErrBusy: another change is being made.
	ErrBusy = errors.New("another change is being made: try again")
)

// OperatorActor acts for the installation; any other actor is a parent's id.
const OperatorActor = "operator"

// Service makes the changes.
type Service struct {
	ledger    *ledger.Ledger
	store     *balance.Store
	snapshots *Snapshots
	clock     clock.Clock
	// meta makes sure that a partition has a projection.
	meta metaOf
}

// NewService returns a Service. meta makes sure that a partition's projection
// may be used (reconcile.Projector.Ensure).
func NewService(l *ledger.Ledger, s *balance.Store, h *Snapshots, c clock.Clock, meta metaOf) *Service {
	return &Service{ledger: l, store: s, snapshots: h, clock: c, meta: meta}
}

// ensureAll partitions and the newest snapshot.
func (s *Service) ensureAll(ctx context.Context) error {
	for p := range s.store.Partitions() {
		if _, err := s.meta(ctx, p); err != nil {
			return err
		}
	}
	_, err := s.snapshots.Refresh(ctx)
	return err
}

// Whole makes sure that Redis holds what it has had of accounts: who reads them, or
// changes them, is told no figures of accounts that it has lost.
func (s *Service) Whole(ctx context.Context, ids ...string) error {
	snap := s.snapshots.Current()
	of := map[int][]string{}
	for _, id := range ids {
		a := snap.Accounts[id]
		if a == nil {
			continue
		}
		p := s.store.PartitionOf(a.Parent())
		of[p] = append(of[p], id)
		if !a.IsParent() {
			of[p] = append(of[p], a.ParentID)
		}
	}
	for p, list := range of {
		lost, err := s.store.Absent(ctx, p, list)
		if err != nil {
			return err
		}
		if len(lost) == 0 {
			continue
		}
		meta, err := s.meta(ctx, p)
		if err != nil {
			return err
		}
		if err := s.snapshots.PushMissing(ctx, p, meta, slices.Compact(slices.Sorted(slices.Values(lost)))); err != nil {
			return err
		}
		if _, err := s.meta(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// lease for changes of the catalog: one at a time.
const (
	catalogLease     = "catalog"
	quarantineLease  = "quarantine"
	catalogLeaseTime = 30 * time.Second
	catalogWait      = 20 * time.Second
)

// locked runs f while no other process changes the catalog.
func (s *Service) locked(ctx context.Context, f func(ctx context.Context) error) error {
	return s.alone(ctx, catalogLease, f)
}

// DecideQuarantine runs f, which reads open entries and decides what becomes of them,
// while no other process does. ErrBusy.
func (s *Service) DecideQuarantine(ctx context.Context, f func(ctx context.Context) error) error {
	return s.alone(ctx, quarantineLease, f)
}

// alone runs f under a lease of the installation, for which it waits a while.
func (s *Service) alone(ctx context.Context, lease string, f func(ctx context.Context) error) error {
	token := uuid.NewString()
	for waited := time.Duration(0); ; waited += 50 * time.Millisecond {
		ok, err := s.store.Lease(ctx, 0, lease, token, catalogLeaseTime)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		if waited > catalogWait {
			return ErrBusy
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.store.WhileHeld(ctx, 0, lease, token, catalogLeaseTime, f)
}

// Apply makes accounts and plans as in the file. It is durable, and stands in
// Redis, before it returns; a dry run changes nothing.
func (s *Service) Apply(ctx context.Context, f *AccountsFile, dry bool) (*Changes, error) {
	if err := s.ensureAll(ctx); err != nil {
		return nil, err
	}
	if dry {
		return f.Plan(s.snapshots.Current(), s.clock.Now().UTC())
	}
	var changes *Changes
	err := s.locked(ctx, func(ctx context.Context) error {
		if _, err := s.snapshots.Refresh(ctx); err != nil {
			return err
		}
		now := s.clock.Now().UTC()
		var err error
		if changes, err = f.Plan(s.snapshots.Current(), now); err != nil {
			return err
		}
		ids := make([]string, len(changes.Accounts))
		for i, a := range changes.Accounts {
			ids[i] = a.ID
		}
		if err := s.Whole(ctx, ids...); err != nil {
			return err
		}
		if err := s.save(ctx, changes.Accounts, changes.Plans, now); err != nil {
			return err
		}
		return s.sweep(ctx)
	})
	return changes, err
}

// save stores new versions under the next number and brings them to Redis.
func (s *Service) save(ctx context.Context, accounts []*metering.Account, plans []*metering.Plan, now time.Time) error {
	if len(accounts)+len(plans) == 0 {
		return nil
	}
	return s.underNext(ctx, func(number int64) error {
		return s.ledger.SaveCatalog(ctx, number, accounts, plans, now)
	})
}

// numbersMax is how often a number of the catalog is another's by chance.
const numbersMax = 5

// underNext stores what changes accounts under the catalog's next number, and under
// the one after it where another has taken that meanwhile: the lease keeps others away
// unless Redis has lost it. What was stored stands in Redis when it returns.
func (s *Service) underNext(ctx context.Context, save func(number int64) error) error {
	for range numbersMax {
		number, err := s.ledger.CatalogNumber(ctx)
		if err != nil {
			return err
		}
		if err = save(number + 1); err == nil {
			_, err = s.snapshots.Refresh(ctx)
		}
		if !errors.Is(err, ledger.ErrNumberTaken) {
			return err
		}
		select {
		case <-time.After(rand.N(200 * time.Millisecond)): //nolint:gosec // it only keeps the two apart
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return ErrBusy
}

// OpenMonths keeps the bounds of the month that has begun for each parent: what
// machines come to know of zones later moves no month that is open. Again
// changes nothing.
func (s *Service) OpenMonths(ctx context.Context) error {
	due := func() map[string]metering.MonthStarts {
		snap, now, out := s.snapshots.Current(), s.clock.Now(), map[string]metering.MonthStarts{}
		for _, id := range snap.Parents {
			if o, more := snap.Accounts[id].Opened.Extend(snap.Accounts[id], now); more {
				out[id] = o
			}
		}
		return out
	}
	if len(due()) == 0 {
		return nil
	}
	return s.locked(ctx, func(ctx context.Context) error {
		if _, err := s.snapshots.Refresh(ctx); err != nil {
			return err
		}
		opened := due()
		if len(opened) == 0 {
			return nil
		}
		return s.underNext(ctx, func(number int64) error {
			return s.ledger.SaveOpened(ctx, number, opened, s.clock.Now().UTC())
		})
	})
}

// Close closes a sub-account: what is left of its budget goes to its parent;
// what occurs from now on is refused. Closing it again changes nothing.
func (s *Service) Close(ctx context.Context, id string) (*metering.Account, error) {
	if err := s.ensureAll(ctx); err != nil {
		return nil, err
	}
	var closed *metering.Account
	err := s.locked(ctx, func(ctx context.Context) error {
		if _, err := s.snapshots.Refresh(ctx); err != nil {
			return err
		}
		a := s.snapshots.Current().Accounts[id]
		if a == nil {
			return metering.ErrUnknownAccount
		}
		if a.IsParent() {
			return fmt.Errorf("%w: a parent can't be closed; close its sub-accounts, or suspend it", ErrWrongKind)
		}
		if err := s.Whole(ctx, id); err != nil {
			return err
		}
		if a.ClosedAt == nil {
			next := *a
			now := s.clock.Now().UTC().Truncate(time.Millisecond)
			next.ClosedAt = &now
			if err := s.save(ctx, []*metering.Account{&next}, nil, now); err != nil {
				return err
			}
		}
		closed = s.snapshots.Current().Accounts[id]
		return s.sweep(ctx)
	})
	return closed, err
}

// Suspend sets the manual reason, Resume lifts it. A parent acts on itself and
// its sub-accounts, and can't lift what the operator imposed.
func (s *Service) Suspend(ctx context.Context, id, actor, note string) error {
	return s.manual(ctx, id, actor, note, true)
}

// Resume lifts the actor's own manual suspension.
func (s *Service) Resume(ctx context.Context, id, actor, note string) error {
	return s.manual(ctx, id, actor, note, false)
}

func (s *Service) manual(ctx context.Context, id, actor, note string, set bool) error {
	if err := s.ensureAll(ctx); err != nil {
		return err
	}
	a := s.snapshots.Current().Accounts[id]
	if a == nil || actor != OperatorActor && actor != a.Parent() {
		return metering.ErrUnknownAccount
	}
	if set && a.ClosedAt != nil {
		return fmt.Errorf("%w: the account is closed", ErrRefused)
	}
	flag := metering.FlagManualOperator
	if actor != OperatorActor {
		flag = metering.FlagManualParent
	}
	if err := s.Whole(ctx, id); err != nil {
		return err
	}
	p := s.store.PartitionOf(a.Parent())
	return s.snapshots.retried(ctx, p, "suspend or resume "+id, s.meta, func(meta *balance.Meta) error {
		if !set && flag == metering.FlagManualParent {
			st, err := s.store.State(ctx, id)
			if err != nil {
				return err
			}
			if st.Own&metering.FlagManualOperator != 0 && st.Own&metering.FlagManualParent == 0 {
				return fmt.Errorf("%w: the operator suspended this account, only the operator can lift that", ErrRefused)
			}
		}
		done, err := s.store.SetManual(ctx, p, meta, &balance.ManualChange{
			Account: id, Flag: flag, Set: set, Actor: actor, Note: note, Months: s.snapshots.Months(a),
		})
		if err != nil {
			return err
		}
		if err := s.keepState(ctx, a, done, actor, note); err != nil {
			return err
		}
		// A projection that was made anew meanwhile may have been made without it.
		now, err := s.meta(ctx, p)
		if err == nil && now.Epoch != meta.Epoch {
			err = balance.ErrEpoch
		}
		return err
	})
}

// keepState makes a change by hand a row of the ledger. One that has changed
// nothing leaves the row of the last real change as it is.
func (s *Service) keepState(ctx context.Context, a *metering.Account, done *balance.Manual, actor, note string) error {
	latest, err := s.ledger.LatestFlags(ctx, []string{a.Parent()})
	if err != nil || latest[a.ID].Flags == done.Own {
		return err
	}
	return s.ledger.InsertStates(ctx, []ledger.StateRow{{
		AccountID: a.ID, ParentID: a.Parent(), Epoch: done.Epoch, Flags: done.Own, Cause: "manual",
		Period: a.Calendar.Of(done.At).Name, Actor: actor, Note: note, At: done.At,
	}})
}
