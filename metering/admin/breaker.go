package admin

import (
	"context"
	"slices"
	"time"

	"github.com/meterd/meterd/metering/ledger"
)

// BreakerState is what holds suspensions back.
type BreakerState struct {
	Open  bool
	Since time.Time // when the first partition's opened
	Held  []string  // accounts whose suspension is held back, by the breaker or because their parent only observes
}

// Breaker looks at the breaker of every partition.
func (s *Service) Breaker(ctx context.Context) (*BreakerState, error) {
	if err := s.ensureAll(ctx); err != nil {
		return nil, err
	}
	b := &BreakerState{Held: []string{}}
	for p := range s.store.Partitions() {
		at, err := s.store.BreakerOpenSince(ctx, p)
		if err != nil {
			return nil, err
		}
		if !at.IsZero() && (!b.Open || at.Before(b.Since)) {
			b.Open, b.Since = true, at
		}
	}
	snap := s.snapshots.Current()
	now := s.clock.Now().UnixMilli()
	for _, parent := range snap.Parents {
		ids := snap.Family(parent)
		proj, err := s.store.Read(ctx, s.store.PartitionOf(parent), ids)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			st, err := proj.State(id)
			if err != nil {
				return nil, err
			}
			if st != nil && st.HeldBack(now) != 0 {
				b.Held = append(b.Held, id)
			}
		}
	}
	return b, nil
}

// ReleaseBreaker has the suspensions that the breaker holds back take effect,
// and closes it. It may run again after it was cut off.
func (s *Service) ReleaseBreaker(ctx context.Context, actor, note string) error {
	if err := s.ensureAll(ctx); err != nil {
		return err
	}
	open, err := s.ledger.OpenBreakers(ctx)
	if err != nil {
		return err
	}
	for p := range s.store.Partitions() {
		at, err := s.store.BreakerOpenSince(ctx, p)
		if err != nil {
			return err
		}
		if !at.IsZero() {
			open = slices.DeleteFunc(open, func(b ledger.Breaker) bool { return b.Partition == p })
			// First the ledger: a rebuild on the way holds nothing back any more.
			if err := s.ledger.InsertBreaker(ctx, &ledger.Breaker{Partition: p, Actor: actor, Note: note, At: s.clock.Now().UTC()}); err != nil {
				return err
			}
		}
		// Also where it is closed: whoever closed it may have been cut off.
		if err := s.releasePartition(ctx, p); err != nil {
			return err
		}
	}
	// What another number of partitions has left open would open these when that comes back.
	for _, b := range open {
		left := &ledger.Breaker{Partition: b.Partition, Actor: actor, Note: note, At: b.At.Add(time.Millisecond)} // older than any that opens meanwhile
		if err := s.ledger.InsertBreaker(ctx, left); err != nil {
			return err
		}
	}
	return nil
}

// releasePartition releases before and after the breaker closes: between the
// two a charge may have held another back.
func (s *Service) releasePartition(ctx context.Context, p int) error {
	meta, err := s.meta(ctx, p)
	if err != nil {
		return err
	}
	snap := s.snapshots.Current()
	all := func() error {
		for _, parent := range snap.Parents {
			if s.store.PartitionOf(parent) != p {
				continue
			}
			ids := snap.Family(parent)
			if err := s.store.ReleaseHeld(ctx, p, meta, s.snapshots.Months(snap.Accounts[parent]), ids); err != nil {
				return err
			}
		}
		return nil
	}
	if err := all(); err != nil {
		return err
	}
	if err := s.store.CloseBreaker(ctx, p, meta); err != nil {
		return err
	}
	return all()
}
