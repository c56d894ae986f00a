package reports

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

func (w *world) parentStatement(parent, period string) *ParentStatement {
	w.tb.Helper()
	st, _, err := w.reporter().Build(w.tb.Context(), Request{Parent: parent, Period: period})
	require.NoError(w.tb, err)
	p, ok := st.(*ParentStatement)
	require.True(w.tb, ok)
	return p
}

// TestTheBillBefore is what its own statement says, before that month is closed and
// after.
func TestTheBillBefore(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	december := time.Date(2026, 12, 4, 3, 0, 0, 0, time.UTC)
	w.clock.Set(december)
	w.row("acme-support", december.Add(-time.Hour), func(r *ledger.Row) { r.Booked, r.Period = "2026-12", "2026-12" })
	w.store(december)
	for _, parent := range w.snap.Parents {
		require.Nil(t, w.parentStatement(parent, "2026-10").Previous)
		now := w.parentStatement(parent, "2026-11")
		days := w.parentStatement(parent, "2026-11-01..2026-11-30")
		require.Nil(t, days.Previous, "days are no bill")
		require.Nil(t, days.Payable)
		require.Equal(t, w.snap.Accounts[parent].Mode == metering.Postpaid, now.Payable != nil)
		t1 := &now.Totals
		want := &PreviousMonth{
			Period: "2026-11", Records: t1.Booked, Amount: t1.Amount, Refunds: t1.Refunds,
			Late: t1.Late, Corrections: t1.Corrections, Adjustments: t1.Adjustments, Billable: t1.Billable,
			Change: t1.Billable.with(w.parentStatement(parent, "2026-12").Totals.Billable.Sum.Minus(t1.Billable.Sum)),
		}
		require.Equal(t, want, w.parentStatement(parent, "2026-12").Previous)

		month, err := w.snap.Accounts[parent].Calendar.Named("2026-11")
		require.NoError(t, err)
		require.NoError(t, w.ledger.FinishClosing(t.Context(), &ledger.Closing{
			ParentID: parent, Period: month.Name, Start: month.Start, End: month.End, AsOf: december, Catalog: w.snap.Catalog, Epoch: 1, Seq: w.seq,
			Records: t1.Booked, Amount: t1.Amount.Sum, Refunds: t1.Refunds.Sum, Adjustments: t1.Adjustments.Sum,
			Balances: map[string]metering.Micros{parent: 1},
		}))
		want.Closed = true
		require.Equal(t, want, w.parentStatement(parent, "2026-12").Previous)
	}
}

// TestPayable is the bill in the currency's own digits, half a digit away at most.
func TestPayable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		currency := rapid.SampledFrom([]string{"EUR", "JPY", "KWD", "CLF"}).Draw(r, "currency")
		bill := Money{metering.Micros(rapid.Int64Range(-1e12, 1e12).Draw(r, "bill")).Sum(), currency}
		got, err := payable(bill)
		require.NoError(r, err)
		digit := int64(1_000_000)
		for range metering.MinorDigits(currency) {
			digit /= 10
		}
		whole, off := int64(got.micros()), int64(got.micros())-int64(bill.micros())
		require.Zero(r, whole%digit)
		require.LessOrEqual(r, 2*max(off, -off), digit)
		if 2*max(off, -off) == digit {
			require.Equal(r, off > 0, whole > 0, "a half goes away from zero")
		}
	})
}
