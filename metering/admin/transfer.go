package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

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
	// A reference is used once over the whole installation: within a partition the
	// script makes sure of it, between two the claim until its row is in the ledger.
	if err := s.claim(ctx, &t, claimMax); err != nil {
		return nil, err
	}
	res, err := s.transferOnce(ctx, a, &t)
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrWrongKind) {
		err = errors.Join(err, s.claim(ctx, &t, claimRefused))
	}
	return res, err
}

// How long a reference is one parent's: for longer than its row may take to the
// ledger, and where nothing was moved for as long as a call of the same may.
const (
	claimMax     = 7 * 24 * time.Hour
	claimRefused = time.Minute
)

// claim takes a reference for one parent, or keeps it.
func (s *Service) claim(ctx context.Context, t *metering.Transfer, d time.Duration) error {
	if s.store.Partitions() == 1 {
		return nil
	}
	ours, err := s.store.Lease(ctx, s.store.PartitionOf(t.Ref), "ref:"+t.Ref, t.ParentID, d)
	if err == nil && !ours {
		err = fmt.Errorf("%w: %w", ErrRefused, balance.ErrReference)
	}
	return err
}

// transferOnce makes a transfer of an account, or answers for the one that was made.
func (s *Service) transferOnce(ctx context.Context, a *metering.Account, t *metering.Transfer) (*TransferResult, error) {
	used, err := s.ledger.TransferByRef(ctx, t.Ref)
	if err != nil {
		return nil, err
	}
	if used != nil && (used.ParentID != t.ParentID || used.Hash != t.ContentHash()) {
		return nil, fmt.Errorf("%w: %w", ErrRefused, balance.ErrReference)
	}
	if used != nil && used.At.Before(s.clock.Now().Add(-metering.RefAsked)) {
		st, err := s.store.State(ctx, t.AccountID)
		if err != nil {
			return nil, err
		}
		return &TransferResult{Account: t.AccountID, Balance: st.Balance}, nil
	}
	if used == nil { // one that was made stays made, whatever has become of the account
		if strings.HasPrefix(t.Ref, string(metering.TransferSweep)+":") || strings.HasPrefix(t.Ref, string(metering.TransferClose)+":") {
			return nil, fmt.Errorf("%w: references that begin with sweep: or close: are meterd's own; give another", ErrRefused)
		}
		if err := s.allowed(ctx, a, t); err != nil {
			return nil, err
		}
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	return s.transfer(ctx, t)
}

// allowed judges whether the kind of transfer is for this account. A wallet that
// a parent had before it became postpaid can be adjusted until it is empty.
func (s *Service) allowed(ctx context.Context, a *metering.Account, t *metering.Transfer) error {
	wrong := func(why string) error { return fmt.Errorf("%w: %s", ErrWrongKind, why) }
	switch {
	case a.Mode == metering.Postpaid && a.IsParent() && t.Kind == metering.TransferAdjust:
		st, err := s.store.State(ctx, a.ID)
		if err != nil || st.Balance != 0 {
			return err
		}
		fallthrough
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
// projection's epoch changed on the way (docs/protocol.md, Money moved by hand).
func (s *Service) transfer(ctx context.Context, t *metering.Transfer) (*TransferResult, error) {
	p := s.store.PartitionOf(t.ParentID)
	parent := s.snapshots.Current().Accounts[t.ParentID]
	var res *TransferResult
	err := s.snapshots.retried(ctx, p, "transfer "+t.Ref, s.meta, func(meta *balance.Meta) (err error) {
		res, err = s.move(ctx, p, meta, parent, t)
		return err
	})
	return res, err
}

func (s *Service) move(ctx context.Context, p int, meta *balance.Meta, parent *metering.Account, t *metering.Transfer) (*TransferResult, error) {
	row := *t
	mv := &balance.TransferCall{Ref: t.Ref, Hash: t.ContentHash(), Amount: t.Amount, Months: s.snapshots.Months(parent)}
	from := false // the account that is reported is the one that gives
	switch t.Kind {
	case metering.TransferTopup:
		mv.To, mv.ResetAlerts = t.AccountID, true
	case metering.TransferAllocate:
		mv.From, mv.To, mv.RefuseNegative, mv.ResetAlerts = t.ParentID, t.AccountID, true, true
	case metering.TransferReclaim:
		mv.From, mv.To, mv.RefuseNegative, from = t.AccountID, t.ParentID, true, true
	case metering.TransferSweep, metering.TransferClose:
		mv.From, mv.To, mv.WholeBalance, from = t.AccountID, t.ParentID, true, true
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
	if mv.WholeBalance {
		done.Amount = moved.Amount
	}
	// The row is inserted on a repeat too: the one before may have died here.
	if done.Amount != 0 {
		if err := s.ledger.InsertTransfers(ctx, []ledger.TransferRow{{
			Transfer: done, Booked: moved.Booked, At: moved.At, Epoch: moved.Epoch, Seq: moved.Seq, Base: moved.Base, After: moved.After,
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

// SweepLeftBudgets moves what is left in a budget, either sign, to the parent
// where its sub-account draws on it no more (docs/domain.md, Funding): a charge was
// given back, or healed, after the budget had been swept.
func (s *Service) SweepLeftBudgets(ctx context.Context) error {
	left, err := s.leftBudgets(ctx)
	if err != nil || len(left) == 0 {
		return err
	}
	return s.locked(ctx, func(ctx context.Context) error {
		if _, err := s.snapshots.Refresh(ctx); err != nil {
			return err
		}
		return s.sweep(ctx)
	})
}

// leftBudget is what a budget holds that its sub-account draws on no more.
type leftBudget struct {
	account *metering.Account
	amount  metering.Micros
	epoch   int64
	seq     int64
}

// leftBudgets by the present snapshot.
func (s *Service) leftBudgets(ctx context.Context) ([]leftBudget, error) {
	snap := s.snapshots.Current()
	var left []leftBudget
	for _, parent := range snap.Parents {
		var ids []string
		for _, id := range snap.Subs[parent] {
			if a := snap.Accounts[id]; a.Source != metering.SourceAllocated || a.ClosedAt != nil {
				ids = append(ids, id)
			}
		}
		for page := range slices.Chunk(ids, accountsPage) {
			proj, err := s.store.Read(ctx, s.store.PartitionOf(parent), page)
			if err != nil {
				return nil, err
			}
			for _, id := range page {
				if st := proj.States[id]; st != nil && st.Balance != 0 {
					left = append(left, leftBudget{snap.Accounts[id], st.Balance, proj.Epoch, proj.Seq})
				}
			}
		}
	}
	return left, nil
}

// sweep what is left. The caller holds the catalog's lease: by an old snapshot
// it would take what has been allocated since.
func (s *Service) sweep(ctx context.Context) error {
	left, err := s.leftBudgets(ctx)
	if err != nil {
		return err
	}
	for _, l := range left {
		kind := metering.TransferSweep
		if l.account.ClosedAt != nil {
			kind = metering.TransferClose
		}
		// A reference for each version of the account and each balance met.
		ref := fmt.Sprintf("%s:%s:%d:%d:%d", kind, l.account.ID, l.account.Catalog, l.epoch, l.seq)
		if _, err := s.transfer(ctx, &metering.Transfer{
			Ref: ref, Kind: kind, ParentID: l.account.ParentID, AccountID: l.account.ID, Amount: l.amount, Currency: l.account.Currency, Actor: OperatorActor,
		}); err != nil {
			return err
		}
	}
	return nil
}
