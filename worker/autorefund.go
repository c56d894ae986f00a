package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// failingMax bounds the messages of one look. The next look goes on behind
// them: those that aren't due yet, or whose message never comes, hold up none.
const failingMax = 5000

// autoRefunds refunds messages whose latest status is a failing one
// refund_after later, where the plan version that rated them says so
// (DOMAIN.md, Usage records). The refund's id and time come from the message
// alone, so that looking twice, or late, makes the same refund.
func (w *Worker) autoRefunds(ctx context.Context) error {
	e := w.engine
	snap := e.snapshots.Current()
	now := e.clock.Now()
	due := map[string][][]byte{} // account → refund records
	var done []ledger.Failing
	looked := 0
	var last ledger.MessageKey
	if err := e.ledger.Failings(ctx, w.failing, failingMax, func(f *ledger.Failing) error {
		looked++
		last = ledger.MessageKey{AccountID: f.AccountID, ID: f.MessageID}
		line, over := refundDue(snap, f, now)
		if line != nil {
			due[f.AccountID] = append(due[f.AccountID], line)
		}
		if over {
			done = append(done, *f)
		}
		return nil
	}); err != nil {
		return err
	}
	for account, lines := range due {
		h := sha256.New()
		for _, l := range lines {
			_, _ = h.Write(append(l, '\n'))
		}
		payload, err := e.codec.EncodeHead(jobs.Refund{}, lines)
		if err != nil {
			return fmt.Errorf("automatic refunds of %s: %w", account, err)
		}
		if err := e.enqueue(ctx, jobs.TypeRefund, "auto-"+hex.EncodeToString(h.Sum(nil)[:16]), payload, 0); err != nil {
			return err
		}
	}
	if err := e.ledger.FailingDone(ctx, done); err != nil {
		return err
	}
	if looked < failingMax {
		last = ledger.MessageKey{}
	}
	w.failing = last
	return nil
}

// forgetAfter: a status whose message hasn't come by then is left alone.
const forgetAfter = 48 * time.Hour

// refundDue is the refund record that a message is due, and whether the message
// needs no further look.
func refundDue(snap *metering.Snapshot, f *ledger.Failing, now time.Time) (line []byte, over bool) {
	a := snap.Accounts[f.AccountID]
	if !f.Stored {
		return nil, a == nil || (!f.StatusAt.IsZero() && now.Sub(f.StatusAt) > forgetAfter)
	}
	p := snap.Plans[f.Plan]
	if a == nil || f.Refunded || f.Refundable <= 0 || p == nil || f.PlanVersion < 1 || f.PlanVersion > len(p.Versions) {
		return nil, true
	}
	v := &p.Versions[f.PlanVersion-1]
	if !slices.Contains(v.RefundOn, f.Status) {
		return nil, true
	}
	at := f.StatusAt.Add(v.RefundAfter)
	if at.After(now) {
		return nil, false
	}
	return metering.AppendRecord(nil, &metering.Record{
		ID: "auto:" + f.MessageID, Kind: metering.KindRefund, AccountID: f.AccountID, RefersTo: f.MessageID, OccurredAt: at.UTC(),
	}), true
}

// deliveredSince is how far back delivered messages are looked for.
const deliveredSince = 31 * 24 * time.Hour

// findingDelivered is a message that was refunded automatically and then
// delivered: the refund stands (DOMAIN.md, Usage records).
const findingDelivered = "delivered_after_refund"

// deliveredRefunds records such messages, once each.
func (w *Worker) deliveredRefunds(ctx context.Context) error {
	e := w.engine
	now := e.clock.Now().UTC()
	list, err := e.ledger.DeliveredRefunds(ctx, now.Add(-deliveredSince))
	if err != nil {
		return err
	}
	findings := make([]ledger.Finding, 0, len(list))
	for _, k := range list {
		findings = append(findings, ledger.Finding{At: now, Kind: findingDelivered, AccountID: k.AccountID, Field: k.ID})
	}
	return e.ledger.InsertFindings(ctx, findings)
}
