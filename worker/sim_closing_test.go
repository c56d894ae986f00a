package worker

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
)

// In schedules that close a month, accounts were applied in October, half of the
// identities are of October, and now it is November: October closes at any time.
// Where older ones are of September too, that closes by hand, or with October if
// its charges were on their way.

// simClosing is the month that closes.
const simClosing = "2026-10"

// simApplied is when accounts were applied and money moved first.
var simApplied = time.Date(2026, 10, 20, 12, 0, 0, 0, time.UTC)

// inClosing is when the identity of a number occurred in the month that closes.
func inClosing(n int) time.Time {
	return time.Date(2026, 10, 31, 12, 0, 0, 0, time.UTC).Add(-time.Duration(n) * time.Hour)
}

// books is the ledger, asked without a process.
func (w *world) books() *ledger.Ledger { return ledger.NewWithServer(w.server) }

// closings of that month that are done, by parent.
func (w *world) closings() map[string]ledger.Closing {
	list, err := w.books().Closings(w.ctx, "")
	if err != nil {
		w.bad("closings: %v", err)
	}
	out := map[string]ledger.Closing{}
	for _, c := range list {
		if c.State == ledger.ClosingDone && c.Period == simClosing {
			out[c.ParentID] = c
		}
	}
	return out
}

// watchClosings wants each closed month as it was when it was first seen. Rows
// that landed in it after its closing may stand until a reconcile.
func (w *world) watchClosings(stragglers bool) {
	closed := w.closings()
	for _, parent := range slices.Sorted(maps.Keys(closed)) {
		c := closed[parent]
		if w.digests[parent] == "" {
			w.note("%s of %s is closed with %d lines", c.Period, parent, c.Lines)
			w.digests[parent] = c.Digest
			w.notBefore(c.Period)
		}
		bill := metering.NewBill(c.Period)
		if err := w.books().BillLines(w.ctx, parent, c.Period, bill.Add); err != nil {
			w.bad("lines of %s: %v", parent, err)
		}
		switch {
		case w.digests[parent] != c.Digest:
			w.bad("the closed %s of %s has another digest", c.Period, parent)
		case !stragglers && (bill.Digest() != c.Digest || bill.Lines != int64(c.Lines)):
			w.bad("the closed %s of %s has %d lines, %d were fixed", c.Period, parent, bill.Lines, c.Lines)
		}
	}
}

// finishClosing brings the month to its end: for a rebuilt projection that takes
// ten minutes.
func (w *world) finishClosing() {
	for range 4 {
		if w.plan.older {
			w.alone("close older")
		}
		w.alone("close")
		if len(w.closings()) == 2 || w.wrong() {
			return
		}
		w.sleep(6 * time.Minute)
		w.alone("give up")
	}
	w.bad("the months of %v are closed, no others", slices.Sorted(maps.Keys(w.closings())))
}

// checkClosings: what the purses held at the month's end is what its rows say.
func (w *world) checkClosings() {
	w.watchClosings(false)
	sums := w.sumsThrough(simClosing)
	for parent, c := range w.closings() {
		for id, n := range c.Balances {
			if int64(n) != sums[id]["bal"] {
				w.bad("%s's purse ended %s with %d, its rows say %d", id, c.Period, n, sums[id]["bal"])
			}
		}
		for _, id := range simAccountIDs {
			if _, ok := c.Balances[id]; !ok && strings.HasPrefix(id, parent) && sums[id]["bal"] != 0 {
				w.bad("%s's purse isn't in the closing of %s", id, c.Period)
			}
		}
	}
}

// strand lets a process die whose rows are on their way, while the tasks that
// they are of are lost, with Redis or alone. The rows land within the time that
// an insert may take, or, as stragglers, when the month may be closed.
func (w *world) strand() bool {
	if !w.plan.straggle {
		return false
	}
	for _, s := range w.open() {
		if s.kind != toInsert || !strings.Contains(s.key, " records ") {
			continue
		}
		w.plan.straggle = false
		w.stranded = w.plan.long
		w.excused = "rows land long after their time"
		var held []*simTask
		for _, t := range w.tasks() {
			if t.holders[s.proc] {
				held = append(held, t)
			}
		}
		w.kill(s.proc)
		for _, t := range held {
			if t.typ == wire.TypeIngest {
				w.note("%s vanishes", t.id)
				delete(w.queue, t.id)
				w.vanished[sender(t.id)] = true
			}
		}
		if w.plan.loss != "" {
			w.note("REDIS emptied")
			w.redis.Empty()
			w.lost = true
			w.plan.loss = ""
		}
		return true
	}
	return false
}

func (w *world) closeChore(p *process) func(err error) {
	return func(err error) {
		p.chores--
		w.watchClosings(w.stranded)
	}
}

// begun tells whether the closing of a parent's simClosing has.
func (w *world) begun(parent string) bool {
	return slices.ContainsFunc(w.server.Rows("closings"), func(r ledgertest.Row) bool {
		return text(r, "parent_id") == parent && text(r, "period") == simClosing
	})
}

// closeOlder closes by hand what holds the closing of simClosing up.
func (w *world) closeOlder(ctx context.Context, p *process) error {
	for _, parent := range []string{"acme", "globex"} {
		open, err := p.worker.deps.Ledger.OpenMonths(ctx, parent, simClosing)
		if err != nil {
			return err
		}
		if w.begun(parent) {
			continue // no month before it may be left open then
		}
		for _, name := range open {
			if err := closeNow(ctx, p, parent, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeNow is a closing by hand of an operator who doesn't wait for long.
func closeNow(ctx context.Context, p *process, parent, month string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := p.worker.closer.CloseMonth(ctx, parent, month, func(time.Time) { cancel() })
	return err
}

// straggleMax is how late a straggler lands.
const straggleMax = 90 * time.Minute

func (w *world) sumsThrough(period string) map[string]map[string]int64 {
	return w.sumsOf(func(booked string) bool { return booked <= period })
}

// closed tells whether a field of the projection is of a closed month, which
// nothing compares with any more.
func (w *world) closed(account, field string) bool {
	parent, _, _ := strings.Cut(account, "-")
	_, ok := w.digests[parent]
	return ok && strings.HasPrefix(field, "u:") && field <= "u:"+simClosing
}
