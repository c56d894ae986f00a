package balance

import (
	"context"
	"fmt"
)

// OfLedger says which ledger's projection the store works with: another's is
// refused. Until it is called, or with an empty name, every one is taken, for who
// only reads knows of no ledger.
func (s *Store) OfLedger(id string) { s.ledger.Store(&id) }

// Owner is the ledger that OfLedger named, "": none.
func (s *Store) Owner() string {
	if id := s.ledger.Load(); id != nil {
		return *id
	}
	return ""
}

// owns tells whether a projection is of the store's ledger. One that doesn't say
// was made before its ledger was kept.
func (s *Store) owns(m *Meta) error {
	if asked := s.Owner(); m.Ledger != "" && asked != "" && m.Ledger != asked {
		return &LedgerError{Made: m.Ledger, Asked: asked, Epoch: m.Epoch}
	}
	return nil
}

// KeepLedger notes the ledger where meta doesn't say it yet. The first holds: read
// it again.
func (s *Store) KeepLedger(ctx context.Context, p int) error {
	if err := s.rdb.HSetNX(ctx, keyMeta(p), "ledger", s.Owner()).Err(); err != nil {
		return fmt.Errorf("note the ledger: %w", err)
	}
	return nil
}
