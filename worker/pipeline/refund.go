package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// refundDelay lets messages that were sent with their refund be stored first.
const refundDelay = 200 * time.Millisecond

// queuePatience is how long a refund without a message waits while the message
// may still be in the queue; then it is kept as waiting, and looked at again.
const queuePatience = 30 * time.Second

// RefundTask applies refunds: each gives back what its message was charged,
// once (docs/domain.md, Refunds).
func (pl *Pipeline) RefundTask(ctx context.Context, id string, payload []byte) error {
	var head wire.RefundHeader
	return pl.take(ctx, id, wire.TypeRefund, payload, &head, func(lines [][]byte) (*task, error) {
		t := newTask(id, lines, true)
		t.since = time.UnixMilli(head.At)
		return t, nil
	}, pl.process)
}

// queued tells whether a message that a refund lacks may still be in a queue.
func (pl *Pipeline) queued(ctx context.Context, t *task) (bool, error) {
	if pl.clock.Now().Sub(t.since) > queuePatience {
		return false, nil
	}
	var n int64
	for _, q := range pl.IngestQueues() {
		for _, list := range []string{wire.PendingKey(q), wire.ActiveKey(q)} {
			l, err := pl.store.Redis().LLen(ctx, list).Result()
			if err != nil {
				return false, fmt.Errorf("ask for the queue's length: %w", err)
			}
			n += l
		}
	}
	return n > 0, nil
}

// classifyRefunds decides refunds by the rows of their messages, once every
// charge so far has settled.
func (pl *Pipeline) classifyRefunds(ctx context.Context, t *task, snap *metering.Snapshot, lines []int, at func(int) *attempt) error {
	now := pl.clock.Now()
	keys := make([]ledger.MessageKey, 0, len(lines))
	var admitted []int
	for _, i := range lines {
		r := &t.recs[i]
		a := snap.Accounts[r.AccountID]
		if ref := metering.Admit(a, r, now); ref != nil {
			p := 0
			if a != nil {
				p = pl.store.PartitionOf(a.Parent())
			}
			at(p).refuse(i, ref)
			continue
		}
		admitted = append(admitted, i)
		keys = append(keys, ledger.MessageKey{AccountID: r.AccountID, ID: r.RefersTo})
	}
	if len(admitted) == 0 {
		return nil
	}
	if err := pl.waitForOlderCharges(ctx, t, snap, admitted); err != nil {
		return err
	}
	messages, err := pl.ledger.Messages(ctx, keys)
	if err != nil {
		return err
	}
	if err := pl.refundsLanding(ctx, t, messages); err != nil {
		return err
	}
	if pl.lacks(t, snap, messages, keys) {
		busy, err := pl.queued(ctx, t)
		if err != nil {
			return err
		}
		if busy {
			return ErrLater
		}
	}
	for n, i := range admitted {
		r := &t.recs[i]
		a := snap.Accounts[r.AccountID]
		try := at(pl.store.PartitionOf(a.Parent()))
		m, ok := messages[keys[n]]
		if !ok {
			try.waiting = append(try.waiting, i)
			continue
		}
		c, ref := refund(a, r, &m)
		if ref == nil {
			ref = snap.TooOld(r)
		}
		if ref != nil {
			try.refuse(i, ref)
			continue
		}
		c.line = i
		try.add(c)
	}
	return nil
}

// lacks tells whether refunds lack a message: those of whom nothing is decided yet. Where
// an answer is held its task must end, for messages in the queue may wait for that.
func (pl *Pipeline) lacks(t *task, snap *metering.Snapshot, messages map[ledger.MessageKey]ledger.Message, keys []ledger.MessageKey) bool {
	return slices.ContainsFunc(keys, func(k ledger.MessageKey) bool {
		_, ok := messages[k]
		return !ok && !t.stood[pl.store.PartitionOf(snap.Accounts[k.AccountID].Parent())].held
	})
}

// refundsLanding puts a task back while one of its messages may lack a correction
// that an older epoch has charged: of a parent whose re-rating hasn't ended.
func (pl *Pipeline) refundsLanding(ctx context.Context, t *task, messages map[ledger.MessageKey]ledger.Message) error {
	parents := pl.landing(t, messages)
	if len(parents) == 0 {
		return nil
	}
	rerating, err := pl.ledger.Rerating(ctx, parents)
	if err == nil && len(rerating) > 0 {
		err = errLanding
	}
	return err
}

// landing are the parents of messages about which rows of an older epoch may still
// land, when the ledger was asked what they stand at. A message that the present
// epoch has charged has none: who refunds or corrects waits until it is stored.
func (pl *Pipeline) landing(t *task, messages map[ledger.MessageKey]ledger.Message) []string {
	snap := pl.snapshots.Current()
	parents := map[string]bool{}
	for k := range messages {
		parent := snap.Accounts[k.AccountID].Parent()
		if at := t.stood[pl.store.PartitionOf(parent)]; at.landing && messages[k].Epoch < at.epoch {
			parents[parent] = true
		}
	}
	return slices.Sorted(maps.Keys(parents))
}

// waitForOlderCharges waits until every charge made so far in the lines' partitions is in
// the ledger.
func (pl *Pipeline) waitForOlderCharges(ctx context.Context, t *task, snap *metering.Snapshot, lines []int) error {
	seen := map[int]bool{}
	for _, i := range lines {
		p := pl.store.PartitionOf(snap.Accounts[t.recs[i].AccountID].Parent())
		if seen[p] {
			continue
		}
		seen[p] = true
		// Asked before the meta: whatever is charged after that is charged later.
		reply, now, err := pl.store.FindAnswer(ctx, p, t.id)
		if err != nil {
			return err
		}
		meta, err := pl.store.Meta(ctx, p)
		if err != nil {
			return pl.projections.ForgetIfOver(p, err)
		}
		if t.stood == nil {
			t.stood = map[int]stand{}
		}
		if reply != nil { // an earlier attempt waited, and this epoch has its answer
			t.stood[p] = stand{epoch: meta.Epoch, held: true}
			continue
		}
		ok, err := pl.waitSettled(ctx, p, meta.Seq, settlePatience)
		if err != nil {
			return err
		}
		if !ok {
			return ErrLater
		}
		landing, err := pl.store.Landing(ctx, p, meta)
		if err != nil {
			return err
		}
		t.stood[p] = stand{epoch: meta.Epoch, seq: meta.Seq, asked: now, landing: landing}
	}
	return nil
}

// refund makes a candidate that gives back the message's charge less its fee,
// or the smaller amount that the refund names, to the purse that the message
// drew on.
func refund(a *metering.Account, r *metering.Record, m *ledger.Message) (candidate, *metering.Refusal) {
	amount := m.Amount - m.Fee
	if named, ok := r.Amount.Get(); ok {
		if named > amount {
			return candidate{}, &metering.Refusal{
				Reason: metering.ReasonOverRefund,
				Detail: "amount: more than the message's charge less its non-refundable fee; send a smaller amount under a new record",
			}
		}
		amount = named
	}
	row := *r
	row.Channel, row.Direction, row.Country, row.Network, row.Category = m.Channel, m.Direction, m.Country, m.Network, m.Category
	row.Tags = tagsOf(r, m)
	c := candidate{rec: r, row: &row, account: a, amount: -amount, period: a.Calendar.Of(r.OccurredAt).Name}
	c.charge = metering.Charge{Amount: amount, Plan: m.Plan, Version: m.Version, Rule: m.Rule}
	c.purse, c.purseAccount = refundPurse(a, m.Purse)
	return c, nil
}

// tagsOf a refund's or correction's row: its message's, so that sums by tag have both, and its
// own under other keys. Its content, and so its hash, is the record's alone.
func tagsOf(r *metering.Record, m *ledger.Message) []metering.Tag {
	if len(m.Tags) == 0 {
		return r.Tags
	}
	out := make([]metering.Tag, 0, len(m.Tags)+len(r.Tags))
	for key, value := range m.Tags {
		out = append(out, metering.Tag{Key: key, Value: value})
	}
	for _, t := range r.Tags {
		if _, ok := m.Tags[t.Key]; !ok {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b metering.Tag) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// refundPurse is where money of a purse that a message drew on is now, and whose
// balance that is. A budget that its sub-account has left follows to the parent.
func refundPurse(a *metering.Account, drew metering.Purse) (purse metering.Purse, owner string) {
	switch drew {
	case metering.PurseWallet:
		return drew, a.Parent()
	case metering.PurseBudget:
		if a.Source != metering.SourceAllocated || a.ClosedAt != nil {
			return metering.PurseWallet, a.Parent()
		}
		return drew, a.ID
	case metering.PurseCredit, metering.PurseExternal:
	}
	return drew, ""
}
