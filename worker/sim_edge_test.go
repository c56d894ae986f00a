package worker

import (
	"context"
	"time"

	"github.com/meterd/meterd/metering"
)

// A month ends, or its grace does, while the clocks of Redis, of the ledger and of
// the workers are apart: some are past it, others aren't.

// edge is the instant that the clocks pass.
type edge string

const (
	edgeMonth edge = "month"
	edgeGrace edge = "grace" // of the month that closes
)

// simGrace is that of schedules in which it ends.
const simGrace = 72 * time.Hour

// simSkew is between any two clocks, at most.
const simSkew = 2 * time.Minute

// at is when it comes.
func (e edge) at() time.Time {
	month := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if e == edgeGrace {
		return month.Add(simGrace)
	}
	return month
}

// base is when a schedule begins: before it by every clock.
func (e edge) base() time.Time {
	if e == "" {
		return simBase
	}
	return e.at().Add(-simSkew)
}

// grace of a month.
func (e edge) grace() time.Duration {
	if e == edgeGrace {
		return simGrace
	}
	return 0
}

// toEdge makes a schedule one that passes it.
func (p *plan) toEdge(e edge) {
	p.edge, p.crossings, p.large = e, 2, true
	p.skew, p.clockSteps, p.window, p.restamp = simSkew, 0, false, false
	p.closing, p.straggle, p.long, p.older = e == edgeGrace, false, false, false
	if e == edgeMonth {
		p.cold = false
	}
	p.chores = max(p.chores, 4)
}

// cross brings the edge near by one of the clocks.
func (w *world) cross() {
	w.plan.crossings--
	clocks := []time.Time{w.redisNow()}
	for _, p := range w.working() {
		clocks = append(clocks, simClock{p}.Now())
	}
	d := w.plan.edge.at().Sub(one(w, clocks)) - time.Duration(w.rng.IntN(400))*time.Millisecond
	if d > 0 {
		w.note("the edge comes")
		w.sleep(d)
	}
}

// nearEdge is when the identity of a number occurred: in the old month or in the
// new one.
func (w *world) nearEdge(n int) time.Time {
	d := 10 * time.Second
	if (uint64(n)+w.plan.seed)%2 == 0 {
		d = -d
	}
	return w.plan.edge.at().Add(d)
}

// rollMonths lifts limits of a month that is over. Without the rule the worker's
// clock alone says which that is.
func (w *world) rollMonths(ctx context.Context, p *process) error {
	err := p.worker.rollMonths(ctx)
	if w.plan.without == withoutRollClock && err == nil {
		for id := range p.worker.months {
			p.worker.months[id] = p.worker.deps.Snapshots.Current().Accounts[id].Calendar.Of(simClock{p}.Now()).Name
		}
	}
	return err
}

// notBefore wants no month closed before its grace was over, as far as clocks may
// be apart.
func (w *world) notBefore(period string) {
	if w.plan.edge == edgeGrace && w.now().Before(w.plan.edge.at().Add(-simSkew)) {
		w.bad("%s is closed, and its grace isn't over by any clock", period)
	}
}

// checkBooked: a message counts in the month in which it occurred, or, where that
// had closed, in a later one.
func (w *world) checkBooked() {
	for _, r := range w.server.Rows("records") {
		at, _ := r["occurred_at"].(time.Time)
		month, booked := at.UTC().Format("2006-01"), text(r, "booked")
		if booked < month || booked > month && len(w.server.Rows("closings")) == 0 || text(r, "period") != month && metering.Kind(text(r, "kind")) != metering.KindAdjustment {
			w.bad("%s %s of %s is booked in %s, its period is %s", text(r, "account_id"), text(r, "id"), month, booked, text(r, "period"))
		}
	}
}
