package pipeline

import (
	"context"
	"sync"

	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/reconcile"
)

// Projections are what a worker last saw of each partition's projection.
type Projections struct {
	projector *reconcile.Projector
	snapshots *admin.Snapshots
	bound     Bound

	partitions int

	mu    sync.Mutex
	metas map[int]*balance.Meta
}

// Bound sets the breaker's bound of a partition's new projection.
type Bound func(ctx context.Context, p int, meta *balance.Meta) error

// NewProjections returns those of so many partitions that the projector makes.
func NewProjections(partitions int, p *reconcile.Projector, s *admin.Snapshots, bound Bound) *Projections {
	return &Projections{partitions: partitions, projector: p, snapshots: s, bound: bound, metas: map[int]*balance.Meta{}}
}

// Meta of a partition, as last seen; the scripts refuse one that is over.
func (ps *Projections) Meta(ctx context.Context, p int) (*balance.Meta, error) {
	ps.mu.Lock()
	m := ps.metas[p]
	ps.mu.Unlock()
	if m != nil {
		return m, nil
	}
	return ps.Renew(ctx, p)
}

// Renew makes sure that the partition has a projection and reads its meta. Nobody
// charges in a new one before its breaker has a bound.
func (ps *Projections) Renew(ctx context.Context, p int) (*balance.Meta, error) {
	m, err := ps.projector.Ensure(ctx, p)
	if err != nil {
		return nil, err
	}
	if !m.Bounded && ps.snapshots.Current().Catalog > 0 { // else it charges nobody yet
		if err := ps.bound(ctx, p, m); err != nil {
			return nil, err
		}
	}
	ps.mu.Lock()
	ps.metas[p] = m
	ps.mu.Unlock()
	return m, nil
}

// SetBounds keeps every partition's bound.
func (ps *Projections) SetBounds(ctx context.Context) error {
	for p := range ps.partitions {
		meta, err := ps.Meta(ctx, p)
		if err != nil {
			return err
		}
		if err := ps.bound(ctx, p, meta); err != nil {
			return ps.ForgetIfOver(p, err)
		}
	}
	return nil
}

// Current notices a Redis that was restarted or emptied, and accounts that
// another process has changed, while nobody charged.
func (ps *Projections) Current(ctx context.Context, p int) error {
	meta, err := ps.Renew(ctx, p)
	if err != nil {
		return err
	}
	if meta.Catalog > ps.snapshots.Current().Catalog {
		_, err = ps.snapshots.Refresh(ctx)
	}
	return err
}

// NewestEpoch of the projections as they were last looked at.
func (ps *Projections) NewestEpoch() int64 {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	n := int64(0)
	for _, m := range ps.metas {
		n = max(n, m.Epoch)
	}
	return n
}

// charged is how much was charged by any worker, as far as they were last looked at.
func (ps *Projections) charged() int64 {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	n := int64(0)
	for _, m := range ps.metas {
		n += m.Seq
	}
	return n
}

// ForgetIfOver forgets a partition's meta where a script says that it is over.
func (ps *Projections) ForgetIfOver(p int, err error) error {
	if balance.Over(err) {
		ps.mu.Lock()
		delete(ps.metas, p)
		ps.mu.Unlock()
	}
	return err
}
