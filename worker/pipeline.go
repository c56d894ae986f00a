package worker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/metrics"
)

// process takes a task through all its steps. nil: it is finished, ack it.
func (e *engine) process(ctx context.Context, t *task) error {
	refreshed := false
	for range 10 {
		snap := e.snapshots.Current()
		parts, refunds, err := e.classify(ctx, t, snap)
		if err != nil {
			return err
		}
		if !refreshed && outdated(parts) {
			// Before a record is refused for what a newer snapshot may know. One that
			// another has read, while this couldn't ask, may not be the newest.
			err := e.refresh(ctx)
			refreshed = err == nil
			if e.snapshots.Current().Catalog > snap.Catalog {
				continue
			}
			if err != nil {
				if err := e.setDoubtfulAside(ctx, t, parts, err); err != nil {
					return err
				}
			}
		}
		if err := e.forwardRefunds(ctx, t, refunds); err != nil {
			return err
		}
		err = e.runBatches(ctx, t, snap, parts)
		if errors.Is(err, balance.ErrCatalog) {
			if _, err := e.snapshots.Refresh(ctx); err != nil {
				return err
			}
			continue
		}
		return err
	}
	return fmt.Errorf("task %s: the snapshot stays behind: %w", t.id, balance.ErrCatalog)
}

// outdated tells whether a refusal may be for an old snapshot.
func outdated(parts map[int]*partitionBatch) bool {
	for _, s := range parts {
		if slices.ContainsFunc(s.refused, refusal.mayBeOld) {
			return true
		}
	}
	return false
}

// refresh asks the ledger for a newer snapshot, unless it is known to be away. Where that
// takes long a chore does it.
func (e *engine) refresh(ctx context.Context) error {
	return e.ask(ctx, true, func(ctx context.Context) error {
		_, err := e.snapshots.Refresh(ctx)
		return err
	})
}

// forwardRefunds sends refunds on as a task of their own: they are applied when lower
// seqs have settled.
func (e *engine) forwardRefunds(ctx context.Context, t *task, lines []int) error {
	if len(lines) == 0 {
		return nil
	}
	payload, err := e.codec.EncodeHead(wire.RefundHeader{At: e.clock.Now().UnixMilli()}, pick(t.lines, lines))
	if err != nil {
		return fmt.Errorf("hand over %d refunds: %w", len(lines), err)
	}
	return e.enqueue(ctx, wire.TypeRefund, t.id+"~r", payload, refundDelay)
}

func pick(lines [][]byte, which []int) [][]byte {
	out := make([][]byte, len(which))
	for i, n := range which {
		out[i] = lines[n]
	}
	return out
}

func (e *engine) runBatches(ctx context.Context, t *task, snap *metering.Snapshot, parts map[int]*partitionBatch) error {
	order := slices.Sorted(maps.Keys(parts))
	if e.ledgerAway() {
		e.chargeAll(ctx, t, parts, order)
	}
	for i, p := range order {
		s := parts[p]
		if len(s.charged) == 0 && s.onlyCharges() {
			continue // all of it is another's
		}
		err := e.runBatch(ctx, t, snap, s)
		leave(parts, order[i+1:], s.refused, s.aside)
		if err != nil {
			if e.withoutLedger(err) {
				e.chargeAll(ctx, t, parts, order[i+1:])
			}
			return err
		}
	}
	return nil
}

// runBatch: charge, store, settle, judge, finish.
func (e *engine) runBatch(ctx context.Context, t *task, snap *metering.Snapshot, s *partitionBatch) error {
	if len(s.charged) == 0 {
		return e.resumeOrRefuse(ctx, t, snap, s)
	}
	e.crashPoint("decoded")
	reply, meta, err := e.charge(ctx, t, s)
	if err != nil {
		return err
	}
	if meta == nil { // everything turned out to be refused
		return e.resumeOrRefuse(ctx, t, snap, s)
	}
	e.crashPoint("charged")
	return e.completeFromAnswer(ctx, t, snap, s, reply, meta)
}

// resumeOrRefuse ends a batch of which nothing is charged now; an earlier attempt,
// with another snapshot, may have charged.
func (e *engine) resumeOrRefuse(ctx context.Context, t *task, snap *metering.Snapshot, s *partitionBatch) error {
	meta, err := e.meta(ctx, s.p)
	if err != nil {
		return err
	}
	s.asked = e.clock.Now()
	reply, _, err := e.store.FindAnswer(ctx, s.p, t.id)
	if err != nil {
		return err
	}
	if reply != nil {
		return e.completeFromAnswer(ctx, t, snap, s, reply, meta)
	}
	return e.refuseBatch(ctx, t, snap, s, meta)
}

// completeFromAnswer takes a batch from its answer to its end.
func (e *engine) completeFromAnswer(ctx context.Context, t *task, snap *metering.Snapshot, s *partitionBatch, reply *balance.Answer, meta *balance.Meta) error {
	switch reply.State {
	case balance.AnswerDone:
		return nil
	case balance.AnswerOpen:
		before := s.lines()
		if err := s.recall(t, snap, reply); err != nil {
			return fmt.Errorf("task %s: %w", t.id, err)
		}
		if err := e.handMoved(ctx, t, s, before, reply.Outcome); err != nil {
			return err
		}
	case balance.AnswerNew, balance.AnswerSettled:
	}
	outcome := reply.Outcome
	if reply.State != balance.AnswerSettled {
		if err := e.handAside(ctx, t, s.aside); err != nil {
			return err
		}
		reversed, err := e.storeBatch(ctx, t, snap, s, reply, meta)
		if err != nil {
			return err
		}
		e.crashPoint("stored")
		outcome, err = e.store.Settle(ctx, s.p, meta, t.id, reply.Seq, reversed, e.monthsOf(snap, reversed))
		if err != nil {
			return e.lacking(ctx, s.p, meta, err)
		}
		if outcome == "" {
			return nil // a copy of the task has finished it
		}
		e.crashPoint("settled")
	}
	finished, err := e.judge(ctx, t, s, meta, reply.Seq, outcome)
	if err != nil {
		return err
	}
	e.crashPoint("judged")
	return e.finish(ctx, t, s.p, meta, finished)
}

func (e *engine) finish(ctx context.Context, t *task, p int, meta *balance.Meta, f *balance.Finished) error {
	f.Run = t.run
	if parent, ok := judgedBy(t.id); ok {
		f.Parent = parent
	}
	if err := e.store.Finish(ctx, p, meta, t.id, f); err != nil {
		return e.forgetMetaIfOver(p, err)
	}
	e.metrics.Count(f.Counts)
	e.metrics.Count(f.Judged)
	e.crashPoint("finished")
	return nil
}

// refuseBatch ends a batch of which nothing is charged.
func (e *engine) refuseBatch(ctx context.Context, t *task, snap *metering.Snapshot, s *partitionBatch, meta *balance.Meta) error {
	entries := e.entries(t, s.refused)
	if _, err := e.write(ctx, key(t, s.p, "refused", entries), &ledger.Batch{Quarantine: entries, Waiting: e.waiters(t, s.waiting)}); err != nil {
		return err
	}
	if err := e.alertUnpriced(ctx, t, snap, s); err != nil {
		return err
	}
	if err := e.handAside(ctx, t, s.aside); err != nil {
		return err
	}
	reasons := map[metering.Reason]int64{}
	for _, r := range s.refused {
		reasons[r.reason]++
	}
	return e.finish(ctx, t, s.p, meta, &balance.Finished{Reasons: reasons, Counts: balance.Counts{
		Quarantined: int64(len(s.refused)), Waiting: int64(len(s.waiting)), Duplicates: int64(len(s.same)),
	}})
}

func (e *engine) entries(t *task, list []refusal) []ledger.Entry {
	out := make([]ledger.Entry, 0, len(list))
	for _, r := range list {
		out = append(out, e.entry(t, r.line, r.reason, r.detail))
	}
	return out
}

func (e *engine) waiters(t *task, lines []int) []ledger.Waiting {
	now := e.clock.Now().UTC()
	out := make([]ledger.Waiting, 0, len(lines))
	for _, i := range lines {
		r := &t.recs[i]
		out = append(out, ledger.Waiting{
			AccountID: r.AccountID, RefersTo: r.RefersTo, ID: fmt.Sprintf("%s %016x", r.ID, r.ContentHash()), Raw: t.lines[i], Run: t.run,
			Since: now, Version: uint64(now.UnixMicro()),
		})
	}
	return out
}

// forgetMetaIfOver forgets a partition's meta where a script says that it is over.
func (e *engine) forgetMetaIfOver(p int, err error) error {
	if balance.Over(err) {
		e.mu.Lock()
		delete(e.metas, p)
		e.mu.Unlock()
	}
	return err
}

// lacking is stale, and brings accounts to a partition that a script named as missing:
// those of a task that was charged or judged before were lost since. It comes again.
func (e *engine) lacking(ctx context.Context, p int, meta *balance.Meta, err error) error {
	if missing, ok := errors.AsType[*balance.MissingError](err); ok {
		return errors.Join(err, e.snapshots.PushMissing(ctx, p, meta, missing.Accounts))
	}
	return e.forgetMetaIfOver(p, err)
}

// chargeTries bounds the answers that make a charge call again.
const chargeTries = 12

// charge calls charge.lua until it has an answer. A nil meta: every line was
// refused on the way.
func (e *engine) charge(ctx context.Context, t *task, s *partitionBatch) (*balance.Answer, *balance.Meta, error) {
	started := e.clock.Now()
	var last error
	for tries := 0; tries < chargeTries; tries++ {
		if len(s.charged) == 0 {
			return nil, nil, nil
		}
		meta, err := e.metaOf(ctx, t, s.p)
		if err != nil {
			return nil, nil, err
		}
		call := e.call(t, s, meta)
		s.asked = e.clock.Now()
		var reply *balance.Answer
		if err = e.lookAhead(ctx, s, call, meta); err == nil {
			reply, err = e.store.Charge(ctx, s.p, s.catalog, call)
		}
		if err == nil {
			e.metrics.ChargeSeconds.Observe(metrics.Seconds(e.clock.Now().Sub(started)))
			return reply, meta, nil
		}
		if _, over := errors.AsType[*balance.OverflowError](err); over {
			tries-- // it leaves fewer lines each time
		}
		last = err
		if err := e.recoverCharge(ctx, t, s, meta, call, err); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("task %s: charge refused %d times: %w", t.id, chargeTries, last)
}

// metaOf the epoch in which a task is to charge. Where it has read what messages
// stand at, that is the epoch in which it did: in another one nobody knows what
// has changed since, so the task comes again and reads anew.
func (e *engine) metaOf(ctx context.Context, t *task, p int) (*balance.Meta, error) {
	meta, err := e.meta(ctx, p)
	at, read := t.stood[p]
	if err != nil || !read || at.epoch == meta.Epoch {
		return meta, err
	}
	if meta, err = e.renew(ctx, p); err == nil && at.epoch != meta.Epoch {
		err = errLater
	}
	return meta, err
}

// recoverCharge does what a refused charge asks for; nil means call again.
func (e *engine) recoverCharge(ctx context.Context, t *task, s *partitionBatch, meta *balance.Meta, call *balance.Call, err error) error {
	var missing *balance.MissingError
	var cold *balance.ColdError
	var over *balance.OverflowError
	switch {
	case errors.As(err, &missing):
		return e.forgetMetaIfOver(s.p, e.snapshots.PushMissing(ctx, s.p, meta, missing.Accounts))
	case errors.As(err, &cold):
		ask := s.toLookUp(call, meta, cold)
		others := t.separable() && len(ask) < len(s.charged)
		if err := e.ask(ctx, others, func(ctx context.Context) error { return e.lookUp(ctx, s, call, ask, cold.Settled) }); err != nil {
			return e.setColdAside(t, s, call, ask, err)
		}
		return nil
	case errors.As(err, &over):
		s.overflow(over.Groups)
		return nil
	case errors.Is(err, balance.ErrChanged):
		return errLater
	case errors.Is(err, balance.ErrStale):
		s.found = nil
		return nil
	case balance.Over(err):
		e.log.InfoContext(ctx, "charge refused", slog.String("task", t.id), slog.Any("error", err))
		_, err := e.renew(ctx, s.p)
		return err
	default:
		return err
	}
}

// overflowLarge: what is refused first when a sum leaves 64 bits.
const overflowLarge metering.Micros = 1_000_000 * 1_000_000

// overflow refuses what of some groups makes a sum too large: the large
// amounts, or all if there are none.
func (s *partitionBatch) overflow(groups []int) {
	large := func(c *candidate) bool { return c.amount > overflowLarge || c.amount < -overflowLarge }
	some := false
	for i := range s.charged {
		some = some || slices.Contains(groups, s.charged[i].group) && large(&s.charged[i])
	}
	kept := s.charged[:0]
	refused := map[int]metering.Micros{} // line → its amount
	refuse := func(c *candidate) {
		s.refused = append(s.refused, refusal{line: c.line, reason: metering.ReasonOverflow, detail: "amount: the account's sums would grow beyond what can be kept"})
		refused[c.line] = c.amount
	}
	for _, c := range s.charged {
		if slices.Contains(groups, c.group) && (!some || large(&c)) {
			refuse(&c)
			delete(s.first, c.rec.Identity())
			continue
		}
		kept = append(kept, c)
	}
	s.charged = kept
	// Copies of a refused line are judged by themselves: one of other content may
	// do. What is no smaller doesn't.
	copies := s.copies
	s.copies = nil
	for _, c := range copies {
		amount, ok := refused[c.first]
		switch {
		case !ok:
			s.copies = append(s.copies, c)
		case max(c.amount, -c.amount) >= max(amount, -amount):
			refuse(&c.candidate)
		default:
			s.add(c.candidate)
		}
	}
}

// storeBatch puts the new rows, and with them what was refused, on disk.
// Records that ClickHouse refuses for good are quarantined, to be reversed.
func (e *engine) storeBatch(ctx context.Context, t *task, snap *metering.Snapshot, s *partitionBatch, reply *balance.Answer, meta *balance.Meta) ([]balance.Reversal, error) {
	b := &ledger.Batch{Rows: s.rows(snap, reply, meta), Quarantine: e.entries(t, s.refused), Waiting: e.waiters(t, s.waiting), Charged: s.asked}
	b, err := e.write(ctx, key(t, s.p, fmt.Sprintf("rows:%d:%d", meta.Epoch, reply.Seq), nil), b)
	if err != nil {
		return nil, err
	}
	if err := e.alertUnpriced(ctx, t, snap, s); err != nil {
		return nil, err
	}
	if len(b.Refused) == 0 {
		return nil, nil
	}
	at := map[metering.Identity]*candidate{} // the batch may be an earlier attempt's
	for i := range s.charged {
		at[s.charged[i].rec.Identity()] = &s.charged[i]
	}
	var reversed []balance.Reversal
	var entries []ledger.Entry
	for _, i := range b.Refused {
		row := &b.Rows[i]
		c := at[row.Record.Identity()]
		entries = append(entries, e.entry(t, c.line, metering.ReasonMalformed, "the ledger refuses a value of this record; correct it and send it again"))
		reversed = append(reversed, balance.Reversal{
			Line: c.line, Account: c.account.ID, Parent: c.account.Parent(), PurseAccount: c.purseAccount, Booked: row.Booked, Amount: c.amount,
		})
	}
	_, err = e.write(ctx, key(t, s.p, "reversed", entries), &ledger.Batch{Quarantine: entries})
	return reversed, err
}

// key names what a task writes, so that a later attempt that writes the same
// finds it on its way.
func key(t *task, p int, what string, entries []ledger.Entry) string {
	h := fnv.New64a()
	for i := range entries {
		_, _ = h.Write([]byte(entries[i].ID + string(entries[i].Reason)))
	}
	return fmt.Sprintf("%s:%d:%s:%x", t.id, p, what, h.Sum64())
}

func (e *engine) monthsOf(snap *metering.Snapshot, list []balance.Reversal) map[string]balance.Months {
	out := map[string]balance.Months{}
	for _, r := range list {
		out[r.Parent] = e.snapshots.Months(snap.Accounts[r.Parent])
	}
	return out
}

// tally counts what an outcome settles by itself.
func tally(outcome string) balance.Counts {
	n := func(c byte) int64 { return int64(strings.Count(outcome, string(c))) }
	return balance.Counts{
		Stored:      n(balance.OutcomeNew),
		Quarantined: n(balance.OutcomeRefused) + n(balance.OutcomeReversed),
		Waiting:     n(balance.OutcomeWaiting),
		Duplicates:  n(balance.OutcomeSame),
	}
}

// reasons why an outcome quarantines lines, as far as this attempt knows them.
func (s *partitionBatch) reasons(outcome string) map[metering.Reason]int64 {
	out := map[metering.Reason]int64{}
	for _, r := range s.refused {
		if outcome[r.line] == balance.OutcomeRefused {
			out[r.reason]++
		}
	}
	if n := strings.Count(outcome, string(balance.OutcomeReversed)); n > 0 {
		out[metering.ReasonMalformed] += int64(n)
	}
	return out
}
