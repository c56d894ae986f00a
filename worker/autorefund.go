package worker

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// Bounds of a look at what automatic refunds are undecided.
const (
	// undecidedMax is a page of reasons to look, of all parents in turn.
	undecidedMax = 20_000
	// lookMax ends a look that still finds something due, as after an outage.
	lookMax = 30 * time.Second
	// A message that hasn't come is looked for again after awaitedLeast, and then
	// after half of what its status has waited so far, so that those that never
	// come cost little.
	awaitedLeast = 10 * time.Second
)

// arrivalSettle is how long nothing of a message must have come before it is
// decided, so that what was sent together is looked at together.
const arrivalSettle = 2 * time.Second

// A status that waits in a queue may prevent a refund: none is decided while
// records have been pending for longer than backlogAge, are to be tried again or
// are worked on since the look before, at most for backlogMax, for a single task
// that can't be brought to its end mustn't stop all refunds. Of each queue
// backlogTasks are remembered from look to look.
const (
	backlogAge   = 2 * time.Second
	backlogMax   = time.Hour
	backlogTasks = 1000
)

// autoRefunds refunds messages whose latest status is a failing one
// refund_after later, where the plan version that rated them says so
// (docs/domain.md, Statuses). The refund's id and time come from the message
// and its statuses alone, so that looking twice, or late, makes the same refund.
func (w *Worker) autoRefunds(ctx context.Context) error {
	started := w.deps.Clock.Now()
	if busy, err := w.backlogged(ctx, started); err != nil || busy {
		return err
	}
	for {
		snap := w.deps.Snapshots.Current()
		now := w.deps.Clock.Now()
		q := ledger.UndecidedQuery{At: now.Add(-refundsAfter(snap)), Arrived: now.Add(-arrivalSettle), Now: now, Limit: undecidedMax}
		page, err := w.deps.Ledger.Undecided(ctx, &q)
		if err != nil {
			return err
		}
		if err := w.decideRefunds(ctx, snap, page, now); err != nil {
			return err
		}
		if len(page) < undecidedMax || w.deps.Clock.Now().Sub(started) > lookMax {
			return nil
		}
	}
}

// backlogged tells whether records that were sent long ago may not be stored yet.
func (w *Worker) backlogged(ctx context.Context, now time.Time) (bool, error) {
	busy := false
	tasks := map[string][]any{}
	for _, q := range w.pipeline.IngestQueues() {
		waits, there, err := wire.Backlog(ctx, w.redis, q, backlogAge, backlogTasks, w.backlogTasks[q])
		if err != nil {
			return false, err
		}
		busy, tasks[q] = busy || waits, there
	}
	w.backlogTasks = tasks
	if !busy {
		w.backlogSince = time.Time{}
		return false, nil
	}
	if w.backlogSince.IsZero() {
		w.backlogSince = now
	}
	return now.Sub(w.backlogSince) < backlogMax, nil
}

// refundsAfter is the least refund_after of all plans: no message is refunded
// sooner after a status.
func refundsAfter(snap *metering.Snapshot) time.Duration {
	least := time.Duration(-1)
	for _, p := range snap.Plans {
		for i := range p.Versions {
			if v := &p.Versions[i]; len(v.RefundOn) > 0 && (least < 0 || v.RefundAfter < least) {
				least = v.RefundAfter
			}
		}
	}
	return max(least, 0)
}

// decideRefunds decides a page. What can't be decided by now is looked at again
// when it may be, each message once.
func (w *Worker) decideRefunds(ctx context.Context, snap *metering.Snapshot, page []ledger.Undecided, now time.Time) error {
	var looks []ledger.Undecided // one of each message, with what arrived last
	var keys []ledger.MessageKey
	of := map[ledger.MessageKey]int{}
	for _, u := range page {
		i, ok := of[u.MessageKey]
		switch {
		case !ok:
			of[u.MessageKey] = len(looks)
			looks, keys = append(looks, u), append(keys, u.MessageKey)
		default: // one look is for all
			looks[i].Look = max(looks[i].Look, u.Look)
			if u.Arrived.After(looks[i].Arrived) {
				looks[i].Arrived = u.Arrived
			}
		}
	}
	if len(looks) == 0 {
		return nil
	}
	traces, err := w.deps.Ledger.Traces(ctx, keys)
	if err != nil {
		return err
	}
	var due []refundToMake
	var again []ledger.Undecided
	for _, u := range looks {
		switch at, outcome := w.refundDue(snap, u.MessageKey, traces[u.MessageKey], u.Arrived, now); outcome {
		case refundOpen:
			u.Look, u.Due = ledger.LookAgain, at
			again = append(again, u)
		case refundMade:
			due = append(due, refundToMake{u, metering.AppendRecord(nil, &metering.Record{
				ID: metering.AutoRefundID(u.ID), Kind: metering.KindRefund, AccountID: u.AccountID, RefersTo: u.ID, OccurredAt: at.UTC(),
			})})
		case refundNone:
		}
	}
	made, err := w.sendRefunds(ctx, due, now)
	if err != nil {
		return err
	}
	return w.deps.Ledger.Looked(ctx, page, append(again, made...))
}

// refundToMake is an automatic refund that is due.
type refundToMake struct {
	ledger.Undecided

	line []byte
}

// madeLeast is when it is looked first whether a refund that was handed over stands.
const madeLeast = 10 * time.Minute

// sendRefunds hands refunds over, before their messages count as looked at. A queue may
// be lost with its Redis, and nobody sends such a refund once more: so each is looked at
// again, and handed over again, until it stands or is in quarantine. It returns those
// looks.
func (w *Worker) sendRefunds(ctx context.Context, due []refundToMake, now time.Time) ([]ledger.Undecided, error) {
	var asked []string
	entry := func(r *refundToMake) string { return ledger.EntryID(r.AccountID, metering.KindRefund, r.line) }
	for i := range due {
		if due[i].Look == ledger.LookMade {
			asked = append(asked, entry(&due[i]))
		}
	}
	refused, err := w.deps.Ledger.EntriesKnown(ctx, asked)
	if err != nil {
		return nil, err
	}
	send := map[string][][]byte{} // account → refund records
	var looks []ledger.Undecided
	for i := range due {
		u := due[i].Undecided
		if u.Look != ledger.LookMade {
			u.Look, u.Arrived = ledger.LookMade, now
		}
		waited := now.Sub(u.Arrived)
		if waited > w.opts.StatusWaitMax || refused[entry(&due[i])] {
			continue
		}
		u.Due = now.Add(max(madeLeast, waited))
		looks = append(looks, u)
		send[u.AccountID] = append(send[u.AccountID], due[i].line)
	}
	for _, account := range slices.Sorted(maps.Keys(send)) {
		if err := w.pipeline.SendRefunds(ctx, "auto-", send[account]); err != nil {
			return nil, fmt.Errorf("automatic refunds of %s: %w", account, err)
		}
	}
	return looks, nil
}

// refundOutcome is what is decided of a message.
type refundOutcome int

const (
	refundOpen refundOutcome = iota // looked at again, later
	refundNone
	refundMade
)

// refundDue decides whether a message is refunded, as of when, or when it is looked
// at again. arrived: when the last reason to look came.
func (w *Worker) refundDue(snap *metering.Snapshot, k ledger.MessageKey, t *ledger.Traces, arrived, now time.Time) (time.Time, refundOutcome) {
	if t != nil && (t.Refunded || t.Stored && t.PlanVersion < 1) {
		return time.Time{}, refundNone
	}
	v := ratedBy(snap, k, t)
	if v == nil {
		// A message that comes later still is a reason by itself: it is late.
		waited := now.Sub(arrived)
		if waited > w.opts.StatusWaitMax {
			return time.Time{}, refundNone
		}
		return now.Add(min(max(awaitedLeast, waited/2), w.opts.StatusWaitMax-waited+time.Millisecond)), refundOpen
	}
	at, due, later := v.RefundDue(t.Statuses, now)
	switch {
	case later:
		return at, refundOpen
	case due && now.Sub(t.Arrived) < arrivalSettle:
		return t.Arrived.Add(arrivalSettle), refundOpen
	case due:
		return at, refundMade
	}
	return time.Time{}, refundNone
}

// ratedBy is what rated a message; nil if it isn't stored, or this snapshot hasn't it: a
// worker with a newer one may have rated it.
func ratedBy(snap *metering.Snapshot, k ledger.MessageKey, t *ledger.Traces) *metering.PlanVersion {
	if t == nil || !t.Stored || snap.Accounts[k.AccountID] == nil {
		return nil
	}
	return snap.Plans[t.Plan].Version(t.PlanVersion)
}

// refundsSince is how far back refunds are compared with the statuses that came
// since.
const refundsSince = 31 * 24 * time.Hour

// lateStatuses: a refund that was booked stands (docs/domain.md, Statuses). That its
// message was delivered, or that a status which came too late would have prevented
// it, is a finding, once for each message.
func (w *Worker) lateStatuses(ctx context.Context) error {
	now := w.deps.Clock.Now().UTC()
	var failing []string
	for _, p := range w.deps.Snapshots.Current().Plans {
		for i := range p.Versions {
			failing = append(failing, p.Versions[i].RefundOn...)
		}
	}
	if len(failing) == 0 {
		return nil // nothing was ever refunded automatically
	}
	slices.Sort(failing)
	list, err := w.deps.Ledger.LateStatuses(ctx, now.Add(-refundsSince), slices.Compact(failing))
	if err != nil {
		return err
	}
	findings := make([]ledger.Finding, 0, len(list))
	for k, delivered := range list {
		kind := ledger.FindingNotDue
		if delivered {
			kind = ledger.FindingDelivered
		}
		findings = append(findings, ledger.Finding{At: now, Kind: kind, AccountID: k.AccountID, Field: k.ID})
	}
	return w.deps.Ledger.InsertFindings(ctx, findings)
}
