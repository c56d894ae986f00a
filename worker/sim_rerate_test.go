package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
)

// Re-ratings run side by side, over the same messages, while refunds and late
// records come. Whatever the order, a message comes to the price of one plan.

// rerateRun begins the names of their runs. Rerate's are random; a schedule's
// are the same in its replay.
const rerateRun = "rerate-"

// rerateWait is how long somebody waits for a re-rating before he gives the same
// reference again: a loss of Redis takes the counts that it waits for.
const rerateWait = 30 * time.Second

// simPrices of a unit and a message's fee, by plan.
var simPrices = map[string][2]int64{"flat": {10_000, 1000}, "dear": {20_000, 3000}, "cheap": {5000, 2000}}

// drawRerate makes a re-rating; of two most concern the same messages.
func (w *world) drawRerate() admin.RerateRequest {
	q := admin.RerateRequest{
		Parent: "acme", Period: w.base.Format("2006-01"), Plan: []string{"dear", "cheap"}[w.rng.IntN(2)], Apply: true,
		Ref: fmt.Sprintf("r%d", w.plan.rerates), Reason: "x", Actor: "operator",
	}
	if w.rng.IntN(4) == 0 {
		q.Parent = "globex"
	}
	if w.plan.closing && w.rng.IntN(2) == 0 {
		q.Period = simClosing
	}
	return q
}

// rerate is admin.Rerate under a run of the schedule's own, and again until it is done.
func (w *world) rerate(p *process, q admin.RerateRequest) {
	w.rated[q.Ref]++
	run := fmt.Sprintf("%s%s-%d", rerateRun, q.Ref, w.rated[q.Ref])
	w.note("%s: %s of %s's %s by %s", p.name, run, q.Parent, q.Period, q.Plan)
	p.run(run, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, rerateWait)
		defer cancel()
		d := p.worker.deps
		q.Run = run
		_, err := admin.Rerate(ctx, admin.RerateDeps{Ledger: d.Ledger, Store: d.Store, Snapshot: d.Snapshots.Current(), Queue: simQueue{p}, Clock: d.Clock}, q)
		return err
	}, func(err error) {
		// What is in quarantine stays: another has corrected the message since.
		if err != nil && !errors.Is(err, admin.ErrRerateBusy) {
			w.rerates = append(w.rerates, q)
		}
	})
}

// finishRerates looks at what they came to, then makes one more when all is quiet,
// which would hide what was wrong: every message comes to its price.
func (w *world) finishRerates() {
	if len(w.rated) == 0 || w.wrong() {
		return
	}
	w.checkStandings(false)
	w.plan.rerates = 0
	w.rerate(w.working()[0], admin.RerateRequest{Parent: "acme", Period: w.base.Format("2006-01"), Plan: "cheap", Apply: true, Ref: rerateLast, Reason: "x", Actor: "operator"})
	w.calm()
}

// rerateLast is its reference.
const rerateLast = "last"

// checkStandings: each message is charged by one plan, that of its fee; one that
// was refunded is left with that fee. The last re-rating, if it was made, decided
// for its own.
func (w *world) checkStandings(made bool) {
	if len(w.rated) == 0 {
		return
	}
	type standing struct{ amount, fee, refunded int64 }
	rows, at := w.server.Rows("records"), map[string]*standing{}
	of := func(account, message string) *standing {
		k := account + " " + message
		if at[k] == nil {
			at[k] = &standing{}
		}
		return at[k]
	}
	for _, r := range rows {
		amount, fee := micros6(r["amount"]), micros6(r["fee"])
		switch metering.Kind(text(r, "kind")) {
		case metering.KindUsage:
			s := of(text(r, "account_id"), text(r, "id"))
			s.amount, s.fee = s.amount+amount, s.fee+fee
		case metering.KindAdjustment:
			s := of(text(r, "account_id"), text(r, "refers_to"))
			s.amount, s.fee = s.amount+amount, s.fee+fee
		case metering.KindRefund:
			of(text(r, "account_id"), text(r, "id")).refunded += amount
		case metering.KindStatus:
		}
	}
	for _, r := range rows {
		if text(r, "kind") != "usage" {
			continue
		}
		account, id := text(r, "account_id"), text(r, "id")
		s, fits := of(account, id), false
		for plan, price := range simPrices {
			whole := price[0]*micros6(r["billed_units"])/1_000_000 + price[1]
			last := !made || plan == "cheap" || text(r, "parent_id") != "acme" || text(r, "period") != w.base.Format("2006-01")
			fits = fits || last && s.fee == price[1] && (s.refunded == 0 && s.amount == whole || s.refunded > 0 && s.amount-s.refunded == s.fee)
		}
		if !fits {
			w.bad("%s %s stands at %+v, which is no plan's price", account, id, *s)
		}
	}
}
