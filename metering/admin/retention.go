package admin

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// Retention says how long rows and phone numbers are kept. Zero: for good.
type Retention struct {
	Rows    time.Duration // of records, whole months: of their bills, or of UTC if that is later
	Numbers time.Duration // senders, receivers, and bytes of settled quarantine entries
}

// Retain removes what is past its retention. Rows go only once every bill that
// they are in is closed, whose closing balances carry the wallets on, and after
// every charge refuses records of their time as too_old, so that none is charged
// again. It may be cut off and run again anywhere.
func (s *Service) Retain(ctx context.Context, r Retention, log *slog.Logger) error {
	now := s.clock.Now().UTC()
	if r.Numbers > 0 {
		if err := s.ledger.ForgetNumbers(ctx, now.Add(-r.Numbers)); err != nil {
			return err
		}
	}
	if r.Rows <= 0 {
		return nil
	}
	months, err := s.goingMonths(ctx, now.Add(-r.Rows))
	if err != nil || len(months) == 0 {
		return err
	}
	if err := s.ensureAll(ctx); err != nil {
		return err
	}
	for i := range months {
		m := &months[i]
		ok, err := s.mayDrop(ctx, m)
		if err != nil {
			return err
		}
		if !ok {
			return nil // and none after it
		}
		if err := s.drop(ctx, m); err != nil {
			return err
		}
		log.InfoContext(ctx, "rows past their retention are gone", slog.Int("month", m.Month))
	}
	return nil
}

// goingMonths are those whose rows are past their retention, the oldest first, and one
// whose rows were going when whoever did it was cut off, though none may be left.
func (s *Service) goingMonths(ctx context.Context, before time.Time) ([]ledger.StoredMonth, error) {
	if _, err := s.snapshots.Refresh(ctx); err != nil {
		return nil, err
	}
	snap := s.snapshots.Current()
	months, err := s.ledger.StoredMonths(ctx, snap.RowsGone, before)
	if err != nil || !snap.RowsGone.Before(snap.RowsFrom) {
		return months, err
	}
	going := ledger.StoredMonth{Month: ledger.MonthBefore(snap.RowsFrom)}
	at, found := slices.BinarySearchFunc(months, going, func(a, b ledger.StoredMonth) int { return cmp.Compare(a.Month, b.Month) })
	if !found {
		months = slices.Insert(months, at, going)
	}
	return months, nil
}

// mayDrop tells whether nothing but closed bills needs a month's rows, and their
// rollups are up to date.
func (s *Service) mayDrop(ctx context.Context, m *ledger.StoredMonth) (bool, error) {
	for parents := range slices.Chunk(slices.Sorted(maps.Keys(m.Booked)), ledger.ParentsMax) {
		bases, err := s.ledger.Bases(ctx, parents)
		if err != nil {
			return false, err
		}
		for _, parent := range parents {
			if m.Booked[parent] > bases[parent].Through {
				return false, nil
			}
		}
	}
	due, err := s.ledger.DueHoursBefore(ctx, m.End())
	return due == 0, err
}

// drop a month's rows: first every snapshot refuses records of its time; then
// charges that were made before are awaited; then the rows go.
func (s *Service) drop(ctx context.Context, m *ledger.StoredMonth) error {
	if s.snapshots.Current().RowsFrom.Before(m.End()) {
		if err := s.saveRows(ctx, m.End(), s.snapshots.Current().RowsGone); err != nil {
			return err
		}
	}
	for p := range s.store.Partitions() {
		if err := s.settle(ctx, p); err != nil {
			return err
		}
	}
	// A charge of before may have been booked in an open month meanwhile.
	again, err := s.ledger.StoredMonths(ctx, s.snapshots.Current().RowsGone, m.End())
	if err != nil {
		return err
	}
	for i := range again {
		if again[i].Month == m.Month {
			ok, err := s.mayDrop(ctx, &again[i])
			if err != nil || !ok {
				return err
			}
		}
	}
	if err := s.ledger.DropMonth(ctx, m); err != nil {
		return err
	}
	return s.saveRows(ctx, s.snapshots.Current().RowsFrom, m.End())
}

// settle waits until no charge of before is on its way to the ledger; ErrEpoch if the
// projection was made anew meanwhile, whose open answers say nothing of those.
func (s *Service) settle(ctx context.Context, p int) error {
	meta, err := s.meta(ctx, p)
	if err != nil {
		return err
	}
	if err := requireOldEpochsLanded(meta, s.clock.Now()); err != nil {
		return err
	}
	ok, err := s.store.WaitSettled(ctx, p, meta.Seq, settleMax)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: charges are still on their way to the ledger", ErrBusy)
	}
	now, err := s.meta(ctx, p)
	if err == nil && now.Epoch != meta.Epoch {
		err = fmt.Errorf("wait for charges on their way: %w", balance.ErrEpoch)
	}
	return err
}

// saveRows tells every snapshot from when on rows are there.
func (s *Service) saveRows(ctx context.Context, from, gone time.Time) error {
	return s.locked(ctx, func(ctx context.Context) error {
		return s.underNext(ctx, func(number int64) error {
			return s.ledger.SaveRowsFrom(ctx, number, from, gone, s.clock.Now().UTC())
		})
	})
}
