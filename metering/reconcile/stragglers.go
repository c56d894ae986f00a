package reconcile

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// A straggler is a row that lands in a month after it was closed: its insert
// took longer than any may (docs/protocol.md, Closing and rollups). No column tells it from
// the month's own rows, for it may be of the same epoch and seq as they are. So
// a closing keeps a hash of each of its lines, and what isn't among them is
// booked anew in the open month, by a row that replaces the straggler. The month
// has its own lines again, and the comparison of projection and ledger that
// follows adds the charge like any other that the projection lacks.
//
// The digest has the last word: unless the lines that are left give it, nothing
// is touched, and the finding says that the month has changed.

// stragglersMax bounds how many are dealt with at once; the next run goes on.
const stragglersMax = 100_000

// look is when a closed month was looked at, and how many rows it had.
type look struct {
	rows uint64
	at   time.Time
}

// lookAgain is when a month is looked at again though its number of rows, other
// than what was fixed, hasn't changed: one may have gone and another come.
const lookAgain = time.Hour

// closedMonths looks at the closed months that have another number of rows than
// their closings fixed, or than when they were last looked at. A month that was
// passed over, for it had no row when a later one was closed, is closed with none.
func (r *Reconciler) closedMonths(ctx context.Context, snap *metering.Snapshot, res *Result) error {
	list, err := r.ledger.Closings(ctx, "")
	if err != nil {
		return err
	}
	through, newest, closed := "", map[string]string{}, map[string]string{}
	for i := range list {
		c := &list[i]
		newest[c.ParentID] = max(newest[c.ParentID], c.Period)
		if c.State == ledger.ClosingDone {
			closed[c.ParentID] = max(closed[c.ParentID], c.Period)
			through = max(through, c.Period)
		}
	}
	if through == "" {
		return nil
	}
	rows, err := r.ledger.RowsThrough(ctx, through)
	if err != nil {
		return err
	}
	list = append(list, passedOver(list, rows, closed)...)
	for i := range list {
		c := &list[i]
		m := ledger.ParentMonth{ParentID: c.ParentID, Period: c.Period}
		n, a := rows[m], snap.Accounts[c.ParentID]
		if c.State != ledger.ClosingDone || a == nil || snap.Gone(c.Period) || n == c.Lines {
			continue
		}
		if last := r.looked[m]; n == last.rows && r.clock.Now().Sub(last.at) < lookAgain {
			continue // copies that ClickHouse hasn't merged yet
		}
		done, err := r.closedMonth(ctx, a, c, newest[a.ID], res)
		if err != nil {
			return err
		}
		if done {
			r.looked[m] = look{n, r.clock.Now()}
		}
	}
	return nil
}

// passedOver are the months with rows that have no closing though a later month
// is closed: each as a closing without a line.
func passedOver(list []ledger.Closing, rows map[ledger.ParentMonth]uint64, closed map[string]string) []ledger.Closing {
	known := map[ledger.ParentMonth]bool{}
	for i := range list {
		known[ledger.ParentMonth{ParentID: list[i].ParentID, Period: list[i].Period}] = true
	}
	var out []ledger.Closing
	for m := range rows {
		if !known[m] && m.Period < closed[m.ParentID] {
			out = append(out, ledger.Closing{
				ParentID: m.ParentID, Period: m.Period, State: ledger.ClosingDone, Digest: metering.NewBill(m.Period).Digest(),
			})
		}
	}
	slices.SortFunc(out, func(a, b ledger.Closing) int {
		return cmp.Or(strings.Compare(a.ParentID, b.ParentID), strings.Compare(a.Period, b.Period))
	})
	return out
}

// closedMonth looks at one, unless another process does.
func (r *Reconciler) closedMonth(ctx context.Context, a *metering.Account, c *ledger.Closing, newest string, res *Result) (bool, error) {
	p, name, token := r.store.PartitionOf(a.ID), balance.ClosingLease(a.ID), uuid.NewString()
	ok, err := r.store.Lease(ctx, p, name, token, balance.ClosingSilence)
	if err != nil || !ok {
		return false, err
	}
	return true, r.store.WhileHeld(ctx, p, name, token, balance.ClosingSilence, func(ctx context.Context) error {
		late, digest, err := r.split(ctx, c)
		if err != nil {
			return err
		}
		if digest != c.Digest {
			res.drifted(a.ID, c.Period, c.Digest, digest, false)
			r.log.ErrorContext(ctx, "the lines of a closed month have changed", slog.String("parent", a.ID), slog.String("period", c.Period))
			return r.ledger.InsertFindings(ctx, []ledger.Finding{{
				At: r.clock.Now().UTC(), Kind: ledger.FindingChanged, AccountID: a.ID, Field: c.Period, Expected: c.Digest, Actual: digest,
			}})
		}
		if len(late) == 0 {
			return nil
		}
		return r.rebook(ctx, p, a, c, newest, late, res)
	})
}

// split reads a closed month's rows: those that its closing doesn't know, and
// the digest of the others.
func (r *Reconciler) split(ctx context.Context, c *ledger.Closing) ([]metering.Identity, string, error) {
	var late []metering.Identity
	var kept map[uint64]bool
	m, account := ledger.ParentMonth{ParentID: c.ParentID, Period: c.Period}, ""
	bill := metering.NewBill(c.Period)
	err := r.ledger.BillLines(ctx, c.ParentID, c.Period, func(l *metering.BillLine) (err error) {
		if l.AccountID != account {
			account = l.AccountID
			if kept, err = r.ledger.ClosedLines(ctx, m, account); err != nil {
				return err
			}
		}
		if kept[l.Hash()] {
			return bill.Add(l)
		}
		if len(late) < stragglersMax {
			late = append(late, metering.Identity{AccountID: l.AccountID, Kind: l.Kind, ID: l.ID})
		}
		return nil
	})
	return late, bill.Digest(), err
}

// rebook books stragglers in the open month. The findings come first: cut off
// after them, the next run finds the rows again.
func (r *Reconciler) rebook(ctx context.Context, p int, a *metering.Account, c *ledger.Closing, newest string, late []metering.Identity, res *Result) error {
	meta, err := r.store.Meta(ctx, p)
	if err != nil {
		return err
	}
	open := a.Calendar.Of(r.clock.Now()).Name
	if open <= newest { // a clock that is behind
		last, err := a.Calendar.Named(newest)
		if err != nil {
			return err
		}
		open = a.Calendar.Of(last.End).Name
	}
	findings := make([]ledger.Finding, len(late))
	for i, id := range late {
		findings[i] = ledger.Finding{
			At: r.clock.Now().UTC(), Kind: ledger.FindingStraggler, AccountID: id.AccountID, Field: string(id.Kind) + " " + id.ID,
			Expected: open, Actual: c.Period, Healed: true,
		}
	}
	if err := r.ledger.InsertFindings(ctx, findings); err != nil {
		return err
	}
	if err := r.ledger.Rebook(ctx, ledger.ParentMonth{ParentID: a.ID, Period: c.Period}, open, meta.Epoch, late); err != nil {
		return err
	}
	for _, id := range late {
		res.drifted(id.AccountID, string(id.Kind)+" "+id.ID, c.Period, open, true)
	}
	r.log.ErrorContext(ctx, "rows landed in a closed month and were booked in the open one",
		slog.String("parent", a.ID), slog.String("period", c.Period), slog.Int("rows", len(late)))
	return nil
}
