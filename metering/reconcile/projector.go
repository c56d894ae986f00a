package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// Options of a Projector.
type Options struct {
	// Window is how long an identity stays hot in Redis. Longer: more memory,
	// fewer lookups in ClickHouse. Default 24 h.
	Window time.Duration
	// Buckets is the number of dedup sets of a generation; each should hold no
	// more members than Redis's set-max-intset-entries. Fixed when a projection
	// is made. Default 1024.
	Buckets int
	// Durable says that a restart of Redis can't lose an answered write: no
	// replica takes over, appendfsync is always. Then a restarted Redis is
	// adopted; else every restart begins a new epoch.
	Durable bool
}

// Projector makes sure that a partition's projection may be used.
type Projector struct {
	// Progress, if set, is told how many parents Rebuild is through with.
	Progress Progress

	store  *balance.Store
	ledger *ledger.Ledger
	clock  clock.Clock
	log    *slog.Logger
	opts   Options
}

// New returns a Projector.
func New(s *balance.Store, l *ledger.Ledger, c clock.Clock, log *slog.Logger, o Options) *Projector {
	if o.Window == 0 {
		o.Window = 24 * time.Hour
	}
	if o.Buckets == 0 {
		o.Buckets = 1024
	}
	return &Projector{store: s, ledger: l, clock: c, log: log, opts: o}
}

// Window is how long an identity stays hot in Redis.
func (r *Projector) Window() time.Duration { return r.opts.Window }

// Identify tells the store which ledger's projection it works with, once the
// ledger has been migrated.
func (r *Projector) Identify(ctx context.Context) error {
	id, err := r.ledger.Identity(ctx)
	if err != nil {
		return err
	}
	r.store.OfLedger(id)
	return nil
}

// leaseTime is how long a rebuild may be silent before another takes it over.
const leaseTime = 30 * time.Second

// leaseLook is when a process that waits for another's rebuild looks again: soon
// at first, then more seldom.
const (
	leaseLook    = 50 * time.Millisecond
	leaseLookMax = 800 * time.Millisecond
)

// Ensure returns the partition's meta once its projection may be used: as it
// stands, adopted after a restart, or rebuilt. *balance.LedgerError,
// *balance.PartitionsError: it is another ledger's, or another number of partitions
// is in use, see RebuildAll.
func (r *Projector) Ensure(ctx context.Context, p int) (*balance.Meta, error) {
	for {
		// First the id, then meta: once Redis is known to have restarted, nobody
		// charges until it is adopted, so that meta's seq is the last one.
		replid, err := r.store.Replid(ctx, p)
		if err != nil {
			return nil, err
		}
		meta, err := r.store.Meta(ctx, p)
		if err != nil && !errors.Is(err, balance.ErrEmpty) {
			return nil, err
		}
		if errors.Is(err, balance.ErrEmpty) {
			if p > 0 { // partition 0 tells the number: one that is no more mustn't come back
				if err := r.store.Fits(ctx); err != nil {
					return nil, err
				}
			}
			if err := r.lead(ctx, p, "no projection", r.stands); err != nil && !errors.Is(err, balance.ErrMoved) {
				return nil, err
			}
			continue
		}
		if meta.Parts == 0 {
			if err := r.store.KeepNumber(ctx, p); err != nil {
				return nil, err
			}
			continue
		}
		if meta.Ledger == "" && r.store.Owner() != "" {
			if err := r.store.KeepLedger(ctx, p); err != nil {
				return nil, err
			}
			continue
		}
		if meta.Lost != "" {
			if err := r.lead(ctx, p, "it has lost an account", r.noteLost); err != nil && !errors.Is(err, balance.ErrMoved) {
				return nil, err
			}
			continue
		}
		if replid == meta.Replid {
			if !meta.Pushed {
				r.pushLeft(ctx, p, meta)
			}
			return meta, nil
		}
		if err := r.renew(ctx, p, meta, replid); err != nil && !errors.Is(err, balance.ErrMoved) {
			return nil, err
		}
	}
}

// renew adopts a Redis that can't have lost an answered write, else rebuilds.
func (r *Projector) renew(ctx context.Context, p int, meta *balance.Meta, replid string) error {
	if r.opts.Durable {
		stored, err := r.ledger.MaxSeq(ctx, meta.Epoch)
		if err != nil {
			return err
		}
		if stored <= meta.Seq {
			r.log.InfoContext(ctx, "redis restarted, its projection is adopted", slog.Int("partition", p))
			if err := r.store.Adopt(ctx, p, meta, replid); err != nil && !errors.Is(err, balance.ErrMoved) {
				return err
			}
			return nil
		}
	}
	// Another may have adopted or rebuilt it since meta was read.
	now, err := r.store.Meta(ctx, p)
	if errors.Is(err, balance.ErrEmpty) || err == nil && now.Replid != meta.Replid {
		return nil // look again
	}
	if err != nil {
		return err
	}
	return r.lead(ctx, p, "redis restarted or failed over", r.stands)
}

// stands tells whether the partition's projection may be used as it is. An error:
// another made it meanwhile for another ledger or number of partitions, and it isn't
// ours to replace.
func (r *Projector) stands(ctx context.Context, p int) (bool, error) {
	meta, err := r.store.Meta(ctx, p)
	if balance.NotOurs(err) {
		return false, err
	}
	replid := ""
	if err == nil {
		replid, err = r.store.Replid(ctx, p)
	}
	return err == nil && replid == meta.Replid && meta.Lost == "", nil
}

// noteLost is stands, and keeps as findings what a projection that doesn't has lost.
func (r *Projector) noteLost(ctx context.Context, p int) (bool, error) {
	if ok, err := r.stands(ctx, p); ok || err != nil {
		return ok, err
	}
	meta, err := r.store.Meta(ctx, p)
	if err != nil || meta.Lost == "" {
		return false, nil //nolint:nilerr // a rebuild finds out what is wrong
	}
	snap, err := r.ledger.Snapshot(ctx)
	if err != nil {
		return false, err
	}
	lost, err := r.store.LostAccounts(ctx, p, meta, snap)
	if err != nil {
		return false, err
	}
	if len(lost) == 0 {
		lost = []string{meta.Lost} // it has come back since
	}
	r.log.ErrorContext(ctx, "the projection has lost accounts, it is made anew: look for who removes keys of Redis",
		slog.Int("partition", p), slog.Int("accounts", len(lost)), slog.String("first", lost[0]))
	var list []ledger.Finding
	for _, id := range lost[:min(len(lost), driftsMax)] {
		list = append(list, ledger.Finding{
			At: r.clock.Now().UTC(), Kind: ledger.FindingDrift, AccountID: id, Field: fieldAccount, Expected: accountHeld, Actual: accountLost, Healed: true,
		})
	}
	return false, r.ledger.InsertFindings(ctx, list)
}

// What a finding says of an account that the projection has lost.
const fieldAccount, accountHeld, accountLost = "account", "held", "lost"
