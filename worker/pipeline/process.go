package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// IngestTask is the handler of usage:ingest.
func (pl *Pipeline) IngestTask(ctx context.Context, id string, payload []byte) error {
	defer pl.taken.Add(1)
	return pl.take(ctx, id, wire.TypeIngest, payload, nil, func(lines [][]byte) (*task, error) {
		if len(lines) == 0 {
			return nil, wire.ErrPayload
		}
		t := newTask(id, lines, false)
		pl.metrics.CountUnknown(t.recs)
		return t, nil
	}, pl.process)
}

// process takes a task through all its steps. nil: it is finished, ack it.
func (pl *Pipeline) process(ctx context.Context, t *task) error {
	refreshed := false
	for range 10 {
		snap := pl.snapshots.Current()
		parts, refunds, err := pl.classify(ctx, t, snap)
		if err != nil {
			return err
		}
		if !refreshed && outdated(parts) {
			// Before a record is refused for what a newer snapshot may know. One that
			// another has read, while this couldn't ask, may not be the newest.
			err := pl.refresh(ctx)
			refreshed = err == nil
			if pl.snapshots.Current().Catalog > snap.Catalog {
				continue
			}
			if err != nil {
				if err := pl.setDoubtfulAside(ctx, t, parts, err); err != nil {
					return err
				}
			}
		}
		if err := pl.forwardRefunds(ctx, t, refunds); err != nil {
			return err
		}
		err = pl.runBatches(ctx, parts)
		if errors.Is(err, balance.ErrCatalog) {
			if _, err := pl.snapshots.Refresh(ctx); err != nil {
				return err
			}
			continue
		}
		return err
	}
	return fmt.Errorf("task %s: the snapshot stays behind: %w", t.id, balance.ErrCatalog)
}

// outdated tells whether a refusal may be for an old snapshot.
func outdated(parts map[int]*attempt) bool {
	for _, try := range parts {
		if slices.ContainsFunc(try.refused, refusal.mayBeOld) {
			return true
		}
	}
	return false
}

// refresh asks the ledger for a newer snapshot, unless it is known to be away. Where that
// takes long a chore does it.
func (pl *Pipeline) refresh(ctx context.Context) error {
	return pl.ask(ctx, true, func(ctx context.Context) error {
		_, err := pl.snapshots.Refresh(ctx)
		return err
	})
}

// forwardRefunds sends refunds on as a task of their own: they are applied when lower
// seqs have settled.
func (pl *Pipeline) forwardRefunds(ctx context.Context, t *task, lines []int) error {
	if len(lines) == 0 {
		return nil
	}
	payload, err := pl.codec.EncodeHead(wire.RefundHeader{At: pl.clock.Now().UnixMilli()}, pick(t.lines, lines))
	if err != nil {
		return fmt.Errorf("hand over %d refunds: %w", len(lines), err)
	}
	return pl.enqueue(ctx, wire.TypeRefund, t.id+"~r", payload, refundDelay)
}

func pick(lines [][]byte, which []int) [][]byte {
	out := make([][]byte, len(which))
	for i, n := range which {
		out[i] = lines[n]
	}
	return out
}

func (pl *Pipeline) runBatches(ctx context.Context, parts map[int]*attempt) error {
	order := slices.Sorted(maps.Keys(parts))
	if pl.ledgerAway() {
		pl.chargeAll(ctx, parts, order)
	}
	for i, p := range order {
		try := parts[p]
		if len(try.charged) == 0 && try.onlyCharges() {
			continue // all of it is another's
		}
		err := pl.runBatch(ctx, try)
		leave(parts, order[i+1:], try.refused, try.aside)
		if err != nil {
			if pl.withoutLedger(err) {
				pl.chargeAll(ctx, parts, order[i+1:])
			}
			return err
		}
	}
	return nil
}

// runBatch: charge, store, settle, judge, finish.
func (pl *Pipeline) runBatch(ctx context.Context, try *attempt) error {
	if len(try.charged) > 0 {
		pl.crashPoint("decoded")
		if err := pl.charge(ctx, try); err != nil {
			return err
		}
	}
	if try.answer == nil { // there was nothing to charge, or all of it turned out to be refused
		return pl.resumeOrRefuse(ctx, try)
	}
	pl.crashPoint("charged")
	return pl.complete(ctx, try)
}

// resumeOrRefuse ends a batch of which nothing is charged now; an earlier attempt,
// with another snapshot, may have charged.
func (pl *Pipeline) resumeOrRefuse(ctx context.Context, try *attempt) (err error) {
	if try.meta, err = pl.projections.Meta(ctx, try.p); err != nil {
		return err
	}
	try.asked = pl.clock.Now()
	if try.answer, _, err = pl.store.FindAnswer(ctx, try.p, try.t.id); err != nil {
		return err
	}
	if try.answer != nil {
		return pl.complete(ctx, try)
	}
	return pl.refuseBatch(ctx, try)
}

// complete takes a batch from its answer to its end.
func (pl *Pipeline) complete(ctx context.Context, try *attempt) error {
	switch try.answer.State {
	case balance.AnswerDone:
		return nil
	case balance.AnswerOpen:
		before := try.lines()
		if err := try.recall(); err != nil {
			return fmt.Errorf("task %s: %w", try.t.id, err)
		}
		if err := pl.handMoved(ctx, try, before); err != nil {
			return err
		}
	case balance.AnswerNew, balance.AnswerSettled:
	}
	outcome := try.answer.Outcome
	if try.answer.State != balance.AnswerSettled {
		var err error
		if outcome, err = pl.settle(ctx, try); err != nil || outcome == "" {
			return err
		}
	}
	finished, err := pl.judge(ctx, try, outcome)
	if err != nil {
		return err
	}
	pl.crashPoint("judged")
	return pl.finish(ctx, try.t, try.p, try.meta, finished)
}

// settle stores what is charged, then makes its answer a marker. It returns the outcome
// that is left; "": a copy of the task has finished it.
func (pl *Pipeline) settle(ctx context.Context, try *attempt) (outcome string, err error) {
	if err := pl.handAside(ctx, try.t, try.aside); err != nil {
		return "", err
	}
	reversed, err := pl.storeBatch(ctx, try)
	if err != nil {
		return "", err
	}
	pl.crashPoint("stored")
	outcome, err = pl.store.Settle(ctx, try.p, try.meta, try.t.id, try.answer.Seq, reversed, pl.monthsOf(try.snap, reversed))
	if err != nil {
		return "", pl.lacking(ctx, try, err)
	}
	if outcome != "" {
		pl.crashPoint("settled")
	}
	return outcome, nil
}

func (pl *Pipeline) finish(ctx context.Context, t *task, p int, meta *balance.Meta, f *balance.Finished) error {
	f.Run = t.run
	if parent, ok := wire.JudgedBy(t.id); ok {
		f.Parent = parent
	}
	if err := pl.store.Finish(ctx, p, meta, t.id, f); err != nil {
		return pl.projections.ForgetIfOver(p, err)
	}
	pl.metrics.Count(f.Counts)
	pl.metrics.Count(f.Judged)
	pl.crashPoint("finished")
	return nil
}

// refuseBatch ends a batch of which nothing is charged.
func (pl *Pipeline) refuseBatch(ctx context.Context, try *attempt) error {
	t := try.t
	entries := pl.entries(t, try.refused)
	if _, err := pl.write(ctx, key(t, try.p, "refused", entries), &ledger.Batch{Quarantine: entries, Waiting: pl.waiters(t, try.waiting)}); err != nil {
		return err
	}
	if err := pl.alertUnpriced(ctx, try); err != nil {
		return err
	}
	if err := pl.handAside(ctx, t, try.aside); err != nil {
		return err
	}
	reasons := map[metering.Reason]int64{}
	for _, r := range try.refused {
		reasons[r.reason]++
	}
	return pl.finish(ctx, t, try.p, try.meta, &balance.Finished{Reasons: reasons, Counts: balance.Counts{
		Quarantined: int64(len(try.refused)), Waiting: int64(len(try.waiting)), Duplicates: int64(len(try.same)),
	}})
}

func (pl *Pipeline) entries(t *task, list []refusal) []ledger.Entry {
	out := make([]ledger.Entry, 0, len(list))
	for _, r := range list {
		out = append(out, pl.entry(t, r.line, r.reason, r.detail))
	}
	return out
}

func (pl *Pipeline) waiters(t *task, lines []int) []ledger.Waiting {
	now := pl.clock.Now().UTC()
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

// storeBatch puts the new rows, and with them what was refused, on disk.
// Records that ClickHouse refuses for good are quarantined, to be reversed.
func (pl *Pipeline) storeBatch(ctx context.Context, try *attempt) ([]balance.Reversal, error) {
	t := try.t
	b := &ledger.Batch{Rows: try.rows(), Quarantine: pl.entries(t, try.refused), Waiting: pl.waiters(t, try.waiting), Charged: try.asked}
	b, err := pl.write(ctx, key(t, try.p, fmt.Sprintf("rows:%d:%d", try.meta.Epoch, try.answer.Seq), nil), b)
	if err != nil {
		return nil, err
	}
	if err := pl.alertUnpriced(ctx, try); err != nil {
		return nil, err
	}
	if len(b.Refused) == 0 {
		return nil, nil
	}
	at := map[metering.Identity]*candidate{} // the batch may be an earlier attempt's
	for i := range try.charged {
		at[try.charged[i].rec.Identity()] = &try.charged[i]
	}
	var reversed []balance.Reversal
	var entries []ledger.Entry
	for _, i := range b.Refused {
		row := &b.Rows[i]
		c := at[row.Record.Identity()]
		entries = append(entries, pl.entry(t, c.line, metering.ReasonMalformed, "the ledger refuses a value of this record; correct it and send it again"))
		reversed = append(reversed, balance.Reversal{
			Line: c.line, Account: c.account.ID, Parent: c.account.Parent(), PurseAccount: c.purseAccount, Booked: row.Booked, Amount: c.amount,
		})
	}
	_, err = pl.write(ctx, key(t, try.p, "reversed", entries), &ledger.Batch{Quarantine: entries})
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

func (pl *Pipeline) monthsOf(snap *metering.Snapshot, list []balance.Reversal) map[string]balance.Months {
	out := map[string]balance.Months{}
	for _, r := range list {
		out[r.Parent] = pl.snapshots.Months(snap.Accounts[r.Parent])
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
func (try *attempt) reasons(outcome string) map[metering.Reason]int64 {
	out := map[metering.Reason]int64{}
	for _, r := range try.refused {
		if outcome[r.line] == balance.OutcomeRefused {
			out[r.reason]++
		}
	}
	if n := strings.Count(outcome, string(balance.OutcomeReversed)); n > 0 {
		out[metering.ReasonMalformed] += int64(n)
	}
	return out
}
