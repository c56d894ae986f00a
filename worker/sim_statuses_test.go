package worker

import (
	"slices"
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

// checkRefunds: each message that its statuses have refunded is refunded.
func (w *world) checkRefunds() {
	if !w.plan.refunds || w.statusGone() {
		return // with its refund
	}
	statuses, rows := w.statuses(), w.server.Rows("records")
	refunded := map[string]bool{}
	for _, r := range rows {
		if text(r, "kind") == string(metering.KindRefund) {
			refunded[text(r, "account_id")+" "+text(r, "id")] = true
		}
	}
	plans := w.working()[0].engine.snapshots.Current().Plans
	for _, r := range rows {
		version, _ := r["plan_version"].(uint64)
		p, k := plans[text(r, "plan")], text(r, "account_id")+" "+text(r, "id")
		if text(r, "kind") != "usage" || p == nil || version < 1 {
			continue
		}
		if at, due, _ := p.Versions[version-1].RefundDue(statuses[k], w.now().Add(-time.Minute)); due && !refunded[k] {
			w.bad("%s isn't refunded as of %v: %v", k, at, statuses[k])
		}
	}
}
