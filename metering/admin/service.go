package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	ErrBusy = errors.New("another change of accounts is being made: try again")
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
	meta func(ctx context.Context, p int) (*balance.Meta, error)
}

// NewService returns a Service. meta makes sure that a partition's projection
// may be used (reconcile.Projector.Ensure).
func NewService(l *ledger.Ledger, s *balance.Store, h *Snapshots, c clock.Clock, meta func(context.Context, int) (*balance.Meta, error)) *Service {
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

// lease for changes of the catalog: one at a time.
const (
	catalogLease     = "catalog"
	catalogLeaseTime = 30 * time.Second
	catalogWait      = 20 * time.Second
)

// locked runs f while no other process changes the catalog.
func (s *Service) locked(ctx context.Context, f func(ctx context.Context) error) error {
	token := uuid.NewString()
	for waited := time.Duration(0); ; waited += 50 * time.Millisecond {
		ok, err := s.store.Lease(ctx, 0, catalogLease, token, catalogLeaseTime)
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
	err := f(ctx)
	return errors.Join(err, s.store.Release(context.WithoutCancel(ctx), 0, catalogLease, token))
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
		if err := s.save(ctx, changes.Accounts, changes.Plans, now); err != nil {
			return err
		}
		return s.SweepLeftBudgets(ctx)
	})
	return changes, err
}

// save stores new versions under the next number and brings them to Redis.
func (s *Service) save(ctx context.Context, accounts []*metering.Account, plans []*metering.Plan, now time.Time) error {
	if len(accounts)+len(plans) == 0 {
		return nil
	}
	number, err := s.ledger.CatalogNumber(ctx)
	if err != nil {
		return err
	}
	if err := s.ledger.SaveCatalog(ctx, number+1, accounts, plans, now); err != nil {
		return err
	}
	_, err = s.snapshots.Refresh(ctx)
	return err
}

// OpenMonths keeps the bounds of the month that has begun for each parent: what
// machines come to know of zones later moves no month that is open. Again
// changes nothing.
func (s *Service) OpenMonths(ctx context.Context) error {
	due := func() map[string]metering.Opened {
		snap, now, out := s.snapshots.Current(), s.clock.Now(), map[string]metering.Opened{}
		for _, id := range snap.Parents {
			if o, more := snap.Accounts[id].Opened.Open(snap.Accounts[id], now); more {
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
		number, err := s.ledger.CatalogNumber(ctx)
		if err != nil {
			return err
		}
		if err := s.ledger.SaveOpened(ctx, number+1, opened, s.clock.Now().UTC()); err != nil {
			return err
		}
		_, err = s.snapshots.Refresh(ctx)
		return err
	})
}

// SweepLeftBudgets moves what is left in a budget, either sign, to the parent
// where its sub-account draws on it no more (DOMAIN.md, Funding).
func (s *Service) SweepLeftBudgets(ctx context.Context) error {
	snap := s.snapshots.Current()
	for _, parent := range snap.Parents {
		p := s.store.PartitionOf(parent)
		var ids []string
		for _, id := range snap.Subs[parent] {
			if a := snap.Accounts[id]; a.Mode == metering.Prepaid && (a.Source != metering.SourceAllocated || a.ClosedAt != nil) {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			continue
		}
		proj, err := s.store.Read(ctx, p, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			st := proj.States[id]
			if st == nil || st.Balance == 0 {
				continue
			}
			kind := metering.TransferSweep
			if snap.Accounts[id].ClosedAt != nil {
				kind = metering.TransferClose
			}
			// A reference for each version of the account and each balance met.
			ref := fmt.Sprintf("%s:%s:%d:%d", kind, id, snap.Accounts[id].Catalog, proj.Seq)
			if _, err := s.transfer(ctx, &metering.Transfer{
				Ref: ref, Kind: kind, ParentID: parent, AccountID: id, Amount: st.Balance, Currency: snap.Accounts[id].Currency, Actor: OperatorActor,
			}); err != nil {
				return err
			}
		}
	}
	return nil
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
		if a.ClosedAt == nil {
			next := *a
			now := s.clock.Now().UTC().Truncate(time.Millisecond)
			next.ClosedAt = &now
			if err := s.save(ctx, []*metering.Account{&next}, nil, now); err != nil {
				return err
			}
		}
		closed = s.snapshots.Current().Accounts[id]
		return s.SweepLeftBudgets(ctx)
	})
	return closed, err
}

// TransferResult is what became of a transfer.
type TransferResult struct {
	Account string
	Balance metering.Micros
	Applied bool // false: the reference had been applied before
}

// Transfer moves money. It is durable before it returns; the same reference
// with the same content is a no-op that reports success.
func (s *Service) Transfer(ctx context.Context, t metering.Transfer) (*TransferResult, error) {
	if err := s.ensureAll(ctx); err != nil {
		return nil, err
	}
	a := s.snapshots.Current().Accounts[t.AccountID]
	if a == nil {
		return nil, metering.ErrUnknownAccount
	}
	t.ParentID, t.Currency = a.Parent(), a.Currency
	if err := allowed(a, &t); err != nil {
		return nil, err
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	// A reference is used once over the whole installation; within a partition
	// the script makes sure of it.
	parent, hash, used, err := s.ledger.TransferByRef(ctx, t.Ref)
	if err != nil {
		return nil, err
	}
	if used && (parent != t.ParentID || hash != t.ContentHash()) {
		return nil, fmt.Errorf("%w: %w", ErrRefused, balance.ErrReference)
	}
	return s.transfer(ctx, &t)
}

// allowed judges whether the kind of transfer is for this account.
func allowed(a *metering.Account, t *metering.Transfer) error {
	wrong := func(why string) error { return fmt.Errorf("%w: %s", ErrWrongKind, why) }
	switch {
	case a.Mode == metering.Postpaid:
		return wrong("a postpaid parent has no wallet, its limit is in its accounts file")
	case t.Kind == metering.TransferTopup && !a.IsParent():
		return wrong("a top-up goes to a parent's wallet; allocate to a sub-account")
	case (t.Kind == metering.TransferAllocate || t.Kind == metering.TransferReclaim) && a.IsParent():
		return wrong("only a sub-account has a budget; top a parent up")
	case !a.IsParent() && a.Source != metering.SourceAllocated:
		return wrong("the sub-account has no budget of its own, it draws on its parent's wallet")
	case a.ClosedAt != nil:
		return fmt.Errorf("%w: the account is closed", ErrRefused)
	}
	return nil
}

// transfer: apply in Redis, store and wait, confirm; again where the
// projection's epoch changed on the way (ARCHITECTURE.md, Money moved by hand).
func (s *Service) transfer(ctx context.Context, t *metering.Transfer) (*TransferResult, error) {
	p := s.store.PartitionOf(t.ParentID)
	parent := s.snapshots.Current().Accounts[t.ParentID]
	var err error
	for range 5 {
		var meta *balance.Meta
		if meta, err = s.meta(ctx, p); err != nil {
			return nil, err
		}
		var res *TransferResult
		if res, err = s.move(ctx, p, meta, parent, t); err == nil {
			return res, nil
		}
		var missing *balance.MissingError
		switch {
		case errors.As(err, &missing):
			if err := s.snapshots.PushMissing(ctx, p, meta, missing.Accounts); err != nil {
				return nil, err
			}
		case errors.Is(err, balance.ErrEpoch), errors.Is(err, balance.ErrEmpty), errors.Is(err, balance.ErrReplid):
		default:
			return nil, err
		}
	}
	return nil, err
}

func (s *Service) move(ctx context.Context, p int, meta *balance.Meta, parent *metering.Account, t *metering.Transfer) (*TransferResult, error) {
	row := *t
	mv := &balance.Move{Ref: t.Ref, Hash: t.ContentHash(), Amount: t.Amount, Months: s.snapshots.Months(parent)}
	from := false // the account that is reported is the one that gives
	switch t.Kind {
	case metering.TransferTopup:
		mv.To, mv.Fresh = t.AccountID, true
	case metering.TransferAllocate:
		mv.From, mv.To, mv.NonNeg, mv.Fresh = t.ParentID, t.AccountID, true, true
	case metering.TransferReclaim:
		mv.From, mv.To, mv.NonNeg, from = t.AccountID, t.ParentID, true, true
	case metering.TransferSweep, metering.TransferClose:
		mv.From, mv.To, mv.All, from = t.AccountID, t.ParentID, true, true
		row.Amount = 0
	case metering.TransferAdjust:
		if t.Amount > 0 {
			mv.To = t.AccountID
		} else {
			mv.From, mv.Amount, from = t.AccountID, -t.Amount, true
		}
	}
	var err error
	if mv.Row, err = json.Marshal(row); err != nil {
		return nil, fmt.Errorf("transfer %s: %w", t.Ref, err)
	}
	moved, err := s.store.Transfer(ctx, p, meta, mv)
	var short *balance.ShortError
	switch {
	case errors.As(err, &short), errors.Is(err, balance.ErrReference), errors.Is(err, balance.ErrRange):
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	case err != nil:
		return nil, err
	}
	done := *t
	done.At = moved.At
	if mv.All {
		done.Amount = moved.Amount
	}
	// The row is inserted on a repeat too: the one before may have died here.
	if done.Amount != 0 {
		if err := s.ledger.InsertTransfers(ctx, []ledger.TransferRow{{
			Transfer: done, Booked: moved.Booked, At: moved.At, Epoch: moved.Epoch, Seq: moved.Seq,
		}}); err != nil {
			return nil, err
		}
	}
	if err := s.store.Confirm(ctx, p, meta.Epoch, t.Ref); err != nil {
		return nil, err
	}
	res := &TransferResult{Account: t.AccountID, Balance: moved.ToBalance, Applied: moved.Applied}
	if from {
		res.Balance = moved.FromBalance
	}
	return res, nil
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
	flag := metering.FlagManualOperator
	if actor != OperatorActor {
		flag = metering.FlagManualParent
	}
	p := s.store.PartitionOf(a.Parent())
	for range 5 {
		meta, err := s.meta(ctx, p)
		if err != nil {
			return err
		}
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
		var missing *balance.MissingError
		switch {
		case errors.As(err, &missing):
			if err := s.snapshots.PushMissing(ctx, p, meta, missing.Accounts); err != nil {
				return err
			}
			continue
		case errors.Is(err, balance.ErrEpoch), errors.Is(err, balance.ErrEmpty), errors.Is(err, balance.ErrReplid):
			continue
		case err != nil:
			return err
		}
		return s.ledger.InsertStates(ctx, []ledger.StateRow{{
			AccountID: id, ParentID: a.Parent(), Epoch: done.Epoch, Flags: done.Own, Cause: "manual",
			Period: a.Calendar.Of(done.At).Name, Actor: actor, Note: note, At: done.At,
		}})
	}
	return fmt.Errorf("suspend or resume %s: %w", id, balance.ErrEpoch)
}
