package worker

import (
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
)

// statusGone: a status, or what follows of one, may have gone with the queue.
func (w *world) statusGone() bool { return w.lost || len(w.vanished) > 0 }

// statuses in the ledger, by account and message.
func (w *world) statuses() map[string][]metering.MessageStatus {
	out := map[string][]metering.MessageStatus{}
	add := func(r ledgertest.Row, message, id string) {
		if at, ok := r["occurred_at"].(time.Time); ok && text(r, "status") != "" {
			k := text(r, "account_id") + " " + message
			out[k] = append(out[k], metering.MessageStatus{At: at, Status: text(r, "status"), ID: id})
		}
	}
	for _, r := range w.server.Rows("records") {
		switch metering.Kind(text(r, "kind")) {
		case metering.KindUsage:
			add(r, text(r, "id"), "")
		case metering.KindStatus:
			add(r, text(r, "refers_to"), text(r, "id"))
		case metering.KindRefund, metering.KindAdjustment:
		}
	}
	return out
}

// knows tells whether a message has the status that a copy of it came with, as of then.
func knows(of []metering.MessageStatus, r *metering.Record) bool {
	return r.Kind != metering.KindUsage || r.Status == "" || slices.ContainsFunc(of, func(s metering.MessageStatus) bool { return s.Status == r.Status && s.At.Equal(r.OccurredAt) })
}

// checkRefunds: each message that its statuses have refunded is refunded, and none that
// they never had: with those that had arrived by some instant it was due. A status whose
// task went with the queue may speak against a refund, though its row never came: it is
// written before.
func (w *world) checkRefunds() {
	if !w.plan.refunds {
		return
	}
	statuses, arrived, rows := w.statuses(), w.arrivals(), w.server.Rows("records")
	refunded := map[string]bool{}
	for _, r := range rows {
		if text(r, "kind") == string(metering.KindRefund) {
			refunded[text(r, "account_id")+" "+text(r, "id")] = strings.HasPrefix(text(r, "source_id"), "auto:")
		}
	}
	plans := w.working()[0].worker.deps.Snapshots.Current().Plans
	for _, r := range rows {
		version, _ := r["plan_version"].(uint64)
		p, k := plans[text(r, "plan")], text(r, "account_id")+" "+text(r, "id")
		if text(r, "kind") != "usage" || p == nil || version < 1 {
			continue
		}
		v := p.Versions[version-1]
		automatic, is := refunded[k]
		at, due, _ := v.RefundDue(statuses[k], w.now().Add(-time.Minute))
		if due && !is && w.statusGone() {
			_, due, _ = v.RefundDue(known(arrived[k]), w.now().Add(-time.Minute))
		}
		if due && !is {
			w.bad("%s isn't refunded as of %v: %v", k, at, statuses[k])
		}
		if automatic && !everDue(&v, arrived[k], w.now()) {
			w.bad("%s is refunded, which it never was to be: %v", k, arrived[k])
		}
	}
}

// arrival of a status.
type arrival struct {
	metering.MessageStatus

	at time.Time
}

// arrivals are all statuses that ever stood in the ledger, by account and message, as
// they came, a message's own first.
func (w *world) arrivals() map[string][]arrival {
	out := map[string][]arrival{}
	for _, r := range w.server.Rows("statuses") {
		at, _ := r["occurred_at"].(time.Time)
		stored, _ := r["stored_at"].(time.Time)
		k := text(r, "account_id") + " " + text(r, "message_id")
		out[k] = append(out[k], arrival{metering.MessageStatus{At: at, Status: text(r, "status"), ID: text(r, "id")}, stored})
	}
	for _, r := range w.server.Rows("records") {
		if text(r, "kind") == string(metering.KindUsage) && text(r, "status") != "" {
			// No refund is decided before its message's row has come, whose time may be
			// that of a second insert, by another clock.
			k := text(r, "account_id") + " " + text(r, "id")
			at, _ := r["occurred_at"].(time.Time)
			out[k] = append(out[k], arrival{metering.MessageStatus{At: at, Status: text(r, "status")}, time.Time{}})
		}
	}
	return out
}

// known are statuses without when they came.
func known(list []arrival) []metering.MessageStatus {
	out := make([]metering.MessageStatus, 0, len(list))
	for _, a := range list {
		out = append(out, a.MessageStatus)
	}
	return out
}

func everDue(v *metering.PlanVersion, list []arrival, now time.Time) bool {
	slices.SortStableFunc(list, func(a, b arrival) int { return a.at.Compare(b.at) })
	for n := range list {
		if _, due, _ := v.RefundDue(known(list[:n+1]), now); due {
			return true
		}
	}
	return false
}
