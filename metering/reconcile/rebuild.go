package reconcile

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// RebuildAll makes the projection anew in all partitions, whatever ledger it was
// of. There may have been another number of them before: what is left of those that
// are no more is removed.
func (r *Projector) RebuildAll(ctx context.Context, reason string) error {
	for p := range r.store.Partitions() {
		if err := r.outdo(ctx, p); err != nil {
			return err
		}
		if err := r.Rebuild(ctx, p, reason); err != nil {
			return err
		}
		if p > 0 {
			continue
		}
		// Partition 0 now refuses whoever works with the old number. What is dropped
		// before it does would be made again.
		if err := r.store.DropOthers(ctx); err != nil {
			return err
		}
	}
	return nil
}

// outdo notes the epoch of another ledger's projection, so that the next one of
// this ledger is higher: it fences who still works with that other.
func (r *Projector) outdo(ctx context.Context, p int) error {
	_, err := r.store.Meta(ctx, p)
	other, ok := errors.AsType[*balance.LedgerError](err)
	if !ok {
		return nil // a rebuild finds out what is wrong
	}
	return r.ledger.InsertEpoch(ctx, p, r.store.Partitions(), other.Epoch, "of ledger "+other.Made, r.clock.Now())
}

// Rebuild makes a partition's projection anew from the ledger, under a new
// epoch. One process does it at a time; the others wait for it.
func (r *Projector) Rebuild(ctx context.Context, p int, reason string) error {
	return r.lead(ctx, p, reason, func(context.Context, int) (bool, error) { return false, nil })
}

// Replace is Rebuild, unless a later epoch than the one that was found wrong stands.
func (r *Projector) Replace(ctx context.Context, p int, epoch int64, reason string) error {
	return r.lead(ctx, p, reason, func(ctx context.Context, p int) (bool, error) {
		meta, err := r.store.Meta(ctx, p)
		return err == nil && meta.Epoch > epoch, nil
	})
}

// lead rebuilds once it holds the lease, unless that was needless: another has.
func (r *Projector) lead(ctx context.Context, p int, reason string, needless func(ctx context.Context, p int) (bool, error)) error {
	token := uuid.NewString()
	// One lease for all partitions: epochs rise over the whole installation.
	for wait := leaseLook; ; wait = min(2*wait, leaseLookMax) {
		ok, err := r.store.Lease(ctx, p, balance.RebuildLease, token, leaseTime)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		if ok, _ := r.stands(ctx, p); ok {
			return nil // another made it
		}
	}
	return r.store.WhileHeld(ctx, p, balance.RebuildLease, token, leaseTime, func(ctx context.Context) error {
		if ok, err := needless(ctx, p); ok || err != nil {
			return err
		}
		return r.rebuild(ctx, p, r.store.Rebuilding(p, token), reason)
	})
}

func (r *Projector) rebuild(ctx context.Context, p int, to *balance.Rebuilding, reason string) error {
	started := r.clock.Now()
	snap, err := r.ledger.Snapshot(ctx)
	if err != nil {
		return err
	}
	last, err := r.ledger.MaxEpoch(ctx)
	if err != nil {
		return err
	}
	older, renumbered, err := r.ledger.OlderEpoch(ctx, p, r.store.Partitions())
	if err != nil {
		return err
	}
	epoch := last + 1
	if err := r.ledger.InsertEpoch(ctx, p, r.store.Partitions(), epoch, reason, started); err != nil {
		return err
	}
	settled, err := to.Clear(ctx)
	if err != nil {
		return err
	}
	breaker, err := r.breaker(ctx, p, renumbered)
	if err != nil {
		return err
	}
	done := 0
	for _, parents := range batches(r.store, snap)[p] {
		r.Progress.tell(done, len(snap.Parents))
		if err := r.load(ctx, to, snap, parents, epoch, breaker); err != nil {
			return fmt.Errorf("rebuild %s to %s: %w", parents[0], parents[len(parents)-1], err)
		}
		done += len(parents)
	}
	if err := to.Flush(ctx); err != nil {
		return err
	}
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	broken := time.Time{}
	if breaker.Open {
		broken = breaker.At
	}
	var floor, landing time.Duration
	if older > 0 { // until nothing of it can land all older records are cold (docs/protocol.md, Identity and deduplication)
		floor = metering.LandMax
		if !settled {
			landing = metering.LandMax
		}
	}
	if err := to.Install(ctx, balance.NewProjection{
		Epoch: epoch, Catalog: snap.Catalog, Window: r.opts.Window, Buckets: r.opts.Buckets,
		Key: hex.EncodeToString(key), Floor: floor, Landing: landing, BreakerOpenSince: broken,
	}); err != nil {
		return err
	}
	meta, err := r.store.Meta(ctx, p)
	if err != nil {
		return err
	}
	if err := r.push(ctx, p, meta, snap); err != nil {
		return err
	}
	r.log.InfoContext(ctx, "projection rebuilt", slog.Int("partition", p), slog.String("reason", reason),
		slog.Int64("epoch", epoch), slog.Duration("took", r.clock.Now().Sub(started)))
	return nil
}

// push judges the states of all accounts in a new projection, and brings those that
// were applied while it was made: there was none then that they could be pushed to.
func (r *Projector) push(ctx context.Context, p int, meta *balance.Meta, snap *metering.Snapshot) error {
	if err := r.store.PushSnapshot(ctx, p, meta, snap, -1, r.clock.Now()); err != nil {
		return err
	}
	number, err := r.ledger.CatalogNumber(ctx)
	if err != nil {
		return err
	}
	if number > snap.Catalog {
		next, err := r.ledger.Snapshot(ctx)
		if err != nil {
			return err
		}
		if err := r.store.PushSnapshot(ctx, p, meta, next, snap.Catalog, r.clock.Now()); err != nil {
			return err
		}
	}
	return r.store.Pushed(ctx, p, meta)
}

// pushLeft does what a rebuild that was cut off after its install has left, unless
// another is at it. Charges needn't wait for it, and it is tried again.
func (r *Projector) pushLeft(ctx context.Context, p int, meta *balance.Meta) {
	token := uuid.NewString()
	ok, err := r.store.Lease(ctx, p, balance.RebuildLease, token, leaseTime)
	if ok {
		err = r.store.WhileHeld(ctx, p, balance.RebuildLease, token, leaseTime, func(ctx context.Context) error {
			snap, err := r.ledger.Snapshot(ctx)
			if err != nil {
				return err
			}
			return r.push(ctx, p, meta, snap)
		})
	}
	if err != nil && ctx.Err() == nil {
		r.log.WarnContext(ctx, "the states in a new projection aren't all judged yet, it is tried again", slog.Int("partition", p), slog.Any("error", err))
	}
}

// breaker is how a partition's begins. Where there was another number of partitions it
// is open if any was: whose suspensions that one held back isn't known.
func (r *Projector) breaker(ctx context.Context, p int, renumbered bool) (*ledger.Breaker, error) {
	b, err := r.ledger.Breaker(ctx, p)
	if err != nil || b.Open || !renumbered {
		return b, err
	}
	open, err := r.ledger.OpenBreakers(ctx)
	if err != nil || len(open) == 0 {
		return b, err
	}
	b = &ledger.Breaker{Partition: p, Open: true, AccountID: open[0].AccountID, At: open[0].At}
	return b, r.ledger.InsertBreaker(ctx, b)
}

// load writes what the ledger holds of some parents' accounts. While the breaker is
// open only who was suspended before stays so.
func (r *Projector) load(ctx context.Context, to *balance.Rebuilding, snap *metering.Snapshot, parents []string, epoch int64, breaker *ledger.Breaker) error {
	bases, err := r.ledger.Bases(ctx, parents)
	if err != nil {
		return err
	}
	of := make([]ledger.SumsOf, len(parents))
	for i, parent := range parents {
		of[i] = ledger.SumsOf{Parent: parent, Base: bases[parent]}
	}
	all, err := r.ledger.Sums(ctx, epoch, of)
	if err != nil {
		return err
	}
	flags, err := r.ledger.LatestFlags(ctx, parents)
	if err != nil {
		return err
	}
	marks, err := r.ledger.AlertMarks(ctx, parents)
	if err != nil {
		return err
	}
	suspended, err := r.ledger.ToldSuspended(ctx, parents)
	if err != nil {
		return err
	}
	if breaker.Open {
		if err := r.lifted(ctx, to, parents, flags, breaker.At); err != nil {
			return err
		}
	}
	for _, parent := range parents {
		sums := all[parent]
		for _, id := range snap.Family(parent) {
			l := balance.AccountSeed{
				Account: snap.Accounts[id], Balance: sums.Balance[id], Used: sums.Used[id],
				Flags: flags[id].Flags,
			}
			if !breaker.Open {
				l.Flags &^= l.Flags.Automatic()
			}
			_, moved := sums.Balance[id]
			// Its resumption may have been lost with Redis, or the job that tells of it.
			l.Behind = flags[id].Flags != 0 || suspended[id]
			l.SilentFromBirth = !moved && len(sums.Used[id]) == 0 && flags[id].Epoch == 0
			alerted(&l, marks[id])
			if id == parent {
				l.ClosedThrough = bases[parent].Closed
			}
			if err := to.SeedAccount(ctx, &l); err != nil {
				return err
			}
		}
	}
	return r.ledger.Refs(ctx, parents, r.clock.Now().Add(-metering.RefKept), func(x *ledger.Ref) error {
		return to.SeedRef(ctx, x.Ref, map[string]string{
			"hash": strconv.FormatUint(x.Hash, 10), "seq": strconv.FormatInt(x.Seq, 10), "booked": x.Booked,
			"at": strconv.FormatInt(x.At.UnixMilli(), 10), "amount": strconv.FormatInt(int64(x.Amount), 10),
			"epoch": strconv.FormatInt(x.Epoch, 10), "base": strconv.FormatInt(int64(x.Base), 10),
		})
	})
}

// lifted notes whom a limit had suspended when the breaker opened, and whom none
// suspends now: their limits go on to bite.
func (r *Projector) lifted(ctx context.Context, to *balance.Rebuilding, parents []string, flags map[string]ledger.StateRow, opened time.Time) error {
	suspended, err := r.ledger.SuspendedSince(ctx, parents, opened)
	if err != nil {
		return err
	}
	for id := range suspended {
		if flags[id].Flags.Automatic() != 0 {
			continue
		}
		if err := to.SeedLifted(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// alerted sets how far an account's alerts have come, so that none comes again.
func alerted(l *balance.AccountSeed, marks []ledger.AlertMark) {
	for _, m := range marks {
		told := m.Mark + ":" + strconv.Itoa(m.Share)
		switch m.Limit {
		case ledger.MarkPurse:
			l.Topups, l.Base = m.Mark, m.Base
			if m.Share > 0 {
				l.Alerted.Purse = told
			}
		case ledger.MarkCredit:
			l.Alerted.Credit = told
		case ledger.MarkMonthly:
			l.Alerted.Monthly = told
		}
	}
}
