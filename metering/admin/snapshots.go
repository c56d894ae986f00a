package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// Snapshots holds the newest snapshot of accounts and plans, and pushes its
// live values to Redis whenever a newer one is read.
type Snapshots struct {
	ledger  *ledger.Ledger
	store   *balance.Store
	clock   clock.Clock
	current atomic.Pointer[metering.Snapshot]
	turn    chan struct{} // capacity 1: one refresh at a time
}

// NewSnapshots starts with an empty snapshot, number 0: Refresh it.
func NewSnapshots(l *ledger.Ledger, s *balance.Store, c clock.Clock) *Snapshots {
	h := &Snapshots{ledger: l, store: s, clock: c, turn: make(chan struct{}, 1)}
	h.current.Store(metering.NewSnapshot(0, nil, nil))
	return h
}

// Current never waits.
func (h *Snapshots) Current() *metering.Snapshot { return h.current.Load() }

// Refresh reads the ledger's newest snapshot if it is newer than the one in
// hand, pushes what is new to every partition that has a projection, and only
// then takes it into use. It tells whether there was a newer one.
func (h *Snapshots) Refresh(ctx context.Context) (bool, error) {
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return false, fmt.Errorf("wait for a refresh of accounts: %w", ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, refreshMax) // others wait for their turn
	defer cancel()
	number, err := h.ledger.CatalogNumber(ctx)
	if err != nil {
		return false, err
	}
	old := h.current.Load()
	if number <= old.Catalog {
		return false, nil
	}
	next, err := h.ledger.Snapshot(ctx)
	if err != nil {
		return false, err
	}
	if len(next.Faults) > 0 {
		return false, fmt.Errorf("stored accounts are damaged: %w", errors.Join(next.Faults...))
	}
	if err := h.push(ctx, next, old.Catalog); err != nil {
		return false, err
	}
	h.current.Store(next)
	return true, nil
}

// refreshMax bounds one: a hundred thousand accounts take some seconds.
const refreshMax = 2 * time.Minute

// push brings accounts that are newer than a catalog number to Redis.
func (h *Snapshots) push(ctx context.Context, s *metering.Snapshot, since int64) error {
	for p := range h.store.Partitions() {
		meta, err := h.store.Meta(ctx, p)
		if balance.NotOurs(err) || errors.Is(err, balance.ErrEmpty) {
			continue // a rebuild loads everything
		}
		if err != nil {
			return err
		}
		from := since
		if since == 0 {
			// The first: what the partition holds says what it lacks, for who made
			// the newest versions may have died before they were pushed.
			from = meta.Catalog
		}
		err = h.store.PushSnapshot(ctx, p, meta, s, from, h.clock.Now())
		if errors.Is(err, balance.ErrLost) {
			continue // likewise, from what is stored
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// PushMissing brings accounts to Redis that a partition named as missing. One that had
// been pushed was lost: that ends the projection, which the next call is told.
func (h *Snapshots) PushMissing(ctx context.Context, p int, meta *balance.Meta, ids []string) error {
	s := h.Current()
	var list []*metering.Account
	for _, id := range ids {
		a := s.Accounts[id]
		if a == nil {
			return fmt.Errorf("account %s is in no snapshot", id)
		}
		if !a.IsParent() && !slices.Contains(ids, a.ParentID) {
			list = append(list, s.Accounts[a.ParentID])
		}
		list = append(list, a)
	}
	slices.SortStableFunc(list, func(a, b *metering.Account) int {
		return len(a.ParentID) - len(b.ParentID) // parents have none
	})
	if err := h.store.Push(ctx, p, meta, 0, list, h.clock.Now()); !balance.Over(err) {
		return err
	}
	return nil
}

// Months around now of one account's parent.
func (h *Snapshots) Months(a *metering.Account) balance.Months {
	return balance.MonthsAround(a.Calendar, h.clock.Now())
}
