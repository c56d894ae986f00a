package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/metrics"
)

// judgePatience is how long a task waits for older charges to settle before it
// hands its duplicates to a task of their own.
const judgePatience = 500 * time.Millisecond

// judgeDelay is when that task runs first.
const judgeDelay = 200 * time.Millisecond

// conflictDetail says how to mend a conflict.
const conflictDetail = "the id stands in the ledger with other content; send it under a new id if it is another message"

// refundDetail says it of a refund, which has no identity but its message's.
const refundDetail = "refers_to: the message was refunded with another amount, and is refunded once; discard this one, or book the difference by `meterd wallet adjust`"

// judge says of each duplicate whether its content is the stored one's
// (docs/protocol.md, The states of a task). If one can't be judged now, all go to a judge task:
// so a later attempt of this task hands over the same ones, or none.
func (pl *Pipeline) judge(ctx context.Context, try *attempt, outcome string) (*balance.Finished, error) {
	t, seq, epoch := try.t, try.answer.Seq, try.meta.Epoch
	f := &balance.Finished{Seq: seq, Counts: tally(outcome), Reasons: try.reasons(outcome)}
	open, conflicts, told := try.compare(outcome, &f.Counts)
	if err := pl.sendStatuses(ctx, told); err != nil {
		return nil, err
	}
	if n := int64(len(conflicts)); n > 0 {
		f.Counts.Quarantined += n
		f.Reasons[metering.ReasonConflict] += n
	}
	if len(open) > 0 {
		left, more, err := pl.compareWithLedger(ctx, t, try.p, stand{epoch: epoch, seq: seq}, open, &f.Judged)
		if err != nil {
			return nil, err
		}
		if f.HandedOver = len(left) > 0; f.HandedOver {
			// Else the next attempt finds its own rows too, and counts none of them
			// where the judge task has counted these.
			if err := pl.still(ctx, try.p, epoch); err != nil {
				return nil, err
			}
			payload, err := pl.codec.EncodeHead(wire.JudgeHeader{Epoch: epoch, Seq: seq, Corrections: t.corrections != nil}, pick(t.lines, open))
			if err != nil {
				return nil, fmt.Errorf("hand over %d duplicates: %w", len(open), err)
			}
			if err := pl.enqueue(ctx, wire.TypeJudge, wire.JudgeID(t.id, try.p), payload, judgeDelay); err != nil {
				return nil, err
			}
			f.Judged, more = balance.Counts{}, nil
		}
		f.Judged.Quarantined = int64(len(more))
		conflicts = append(conflicts, more...)
	}
	return f, pl.quarantineConflicts(ctx, t, try.p, conflicts)
}

// correctionDetail says it of a re-rating's correction.
const correctionDetail = "this re-rating has corrected the message before, with another amount; run `meterd rerate` under a new reference, which books what is missing, then discard this entry"

func (pl *Pipeline) quarantineConflicts(ctx context.Context, t *task, p int, lines []int) error {
	if len(lines) == 0 {
		return nil
	}
	entries := make([]ledger.Entry, 0, len(lines))
	for _, i := range lines {
		detail := conflictDetail
		switch t.recs[i].Kind {
		case metering.KindRefund:
			detail = refundDetail
		case metering.KindAdjustment:
			detail = correctionDetail
		case metering.KindUsage, metering.KindStatus:
		}
		entries = append(entries, pl.entry(t, i, metering.ReasonConflict, detail))
	}
	_, err := pl.write(ctx, key(t, p, "conflicts", entries), &ledger.Batch{Quarantine: entries})
	return err
}

// compare settles copies within the task in memory, where their first copy was
// charged; it returns the lines that the ledger must judge, conflicts, and what
// duplicates tell of their messages.
func (try *attempt) compare(outcome string, counts *balance.Counts) (open, conflicts []int, told []*metering.Record) {
	t := try.t
	first := map[metering.Identity]int{}
	if strings.IndexByte(outcome, balance.OutcomeCopy) >= 0 { // rarely
		for i := range t.lines {
			switch outcome[i] {
			case balance.OutcomeNew, balance.OutcomeDuplicate, balance.OutcomeReversed:
				first[t.recs[i].Identity()] = i
			}
		}
	}
	for i := range t.lines {
		switch outcome[i] {
		case balance.OutcomeDuplicate:
			open = append(open, i)
		case balance.OutcomeCopy:
			j, ok := first[t.recs[i].Identity()]
			switch {
			case !ok || outcome[j] != balance.OutcomeNew:
				open = append(open, i)
			case t.corrections != nil: // its message tells what it comes to
				open = append(open, i)
			case t.recs[i].ContentHash() == t.recs[j].ContentHash():
				counts.Duplicates++
				told = appendStatus(told, &t.recs[i], t.recs[j].OccurredAt, t.recs[j].Status)
			case t.recs[i].Kind == metering.KindRefund: // so does a refund's
				open = append(open, i)
			default:
				conflicts = append(conflicts, i)
			}
		}
	}
	return open, conflicts, told
}

// appendStatus appends what a copy tells of its message, if it is news.
func appendStatus(list []*metering.Record, r *metering.Record, at time.Time, status string) []*metering.Record {
	if told := metering.CopyStatus(r, at, status); told != nil {
		list = append(list, told)
	}
	return list
}

// sendStatuses hands over what duplicates have told of their messages, as status
// records, before the duplicates count as done.
func (pl *Pipeline) sendStatuses(ctx context.Context, told []*metering.Record) error {
	if len(told) == 0 {
		return nil
	}
	lines := make([][]byte, len(told))
	for i, r := range told {
		lines[i] = metering.AppendRecord(nil, r)
	}
	return pl.enqueue(ctx, wire.TypeIngest, idOf("told-", lines), pl.codec.Encode(lines), 0)
}

// compareWithLedger compares lines with the ledger's rows, once every older charge
// has settled. left: those that have no row, or that couldn't wait.
func (pl *Pipeline) compareWithLedger(ctx context.Context, t *task, p int, at stand, lines []int, counts *balance.Counts) (left, conflicts []int, err error) {
	ok, err := pl.waitSettled(ctx, p, at.seq-1, judgePatience)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return lines, nil, nil
	}
	rows, err := pl.lookupLines(ctx, t, lines)
	if err != nil {
		return nil, nil, err
	}
	var refunds, corrections []int
	var told []*metering.Record
	for _, i := range lines {
		r := &t.recs[i]
		stored, ok := rows[r.Identity()]
		switch {
		case !ok:
			left = append(left, i)
		case t.corrections != nil:
			corrections = append(corrections, i)
		case stored.Hash == r.ContentHash():
			counts.Duplicates++
			told = appendStatus(told, r, stored.At, stored.Status)
		case r.Kind == metering.KindRefund:
			refunds = append(refunds, i)
		default:
			conflicts = append(conflicts, i)
		}
	}
	if err := pl.sendStatuses(ctx, told); err != nil {
		return nil, nil, err
	}
	others, err := pl.otherRefunds(ctx, t, refunds)
	if err != nil {
		return nil, nil, err
	}
	unlike, err := pl.otherCorrections(ctx, t, corrections)
	if err != nil {
		return nil, nil, err
	}
	others = append(others, unlike...)
	counts.Duplicates += int64(len(refunds) + len(corrections) - len(others))
	conflicts = append(conflicts, others...)
	if len(conflicts) > 0 {
		err = pl.still(ctx, p, at.epoch)
	}
	return left, conflicts, err
}

// still asks whether an epoch has lasted until here. Else a row that was looked up
// may be one of before, whose place another takes that the new epoch has charged.
func (pl *Pipeline) still(ctx context.Context, p int, epoch int64) error {
	meta, err := pl.store.Meta(ctx, p)
	if err == nil && meta.Epoch != epoch {
		err = balance.ErrEpoch
	}
	return pl.projections.ForgetIfOver(p, err)
}

// otherRefunds are those of refunds that stand in the ledger with another amount.
// One that names no amount gives all back, as one does that names all.
func (pl *Pipeline) otherRefunds(ctx context.Context, t *task, lines []int) ([]int, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	keys := make([]ledger.MessageKey, len(lines))
	for n, i := range lines {
		keys[n] = ledger.MessageKey{AccountID: t.recs[i].AccountID, ID: t.recs[i].RefersTo}
	}
	messages, err := pl.ledger.Messages(ctx, keys)
	if err != nil {
		return nil, err
	}
	var others []int
	for n, i := range lines {
		m := messages[keys[n]]
		same := m.RefundedWhole
		if amount, ok := t.recs[i].Amount.Get(); ok {
			same = m.Refunded == amount
		}
		if !same {
			others = append(others, i)
		}
	}
	return others, nil
}

func (pl *Pipeline) lookupLines(ctx context.Context, t *task, lines []int) (map[metering.Identity]ledger.Stored, error) {
	ids := make([]metering.Identity, len(lines))
	for i, n := range lines {
		ids[i] = t.recs[n].Identity()
	}
	return pl.ledger.Lookup(ctx, ids)
}

// JudgeTask is the handler of a judge task: duplicates whose row wasn't found,
// or that couldn't wait for older charges.
func (pl *Pipeline) JudgeTask(ctx context.Context, id string, payload []byte) error {
	var j wire.JudgeHeader
	return pl.take(ctx, id, wire.TypeJudge, payload, &j, func(lines [][]byte) (*task, error) {
		if j.Corrections {
			return newCorrections(id, lines)
		}
		return newTask(id, lines, true), nil
	}, func(ctx context.Context, t *task) error { return pl.judgeAgain(ctx, t, &j) })
}

// judgeAgain goes on with what an earlier attempt has charged; else it looks at the
// duplicates once more, or takes them as new where the epoch is another.
func (pl *Pipeline) judgeAgain(ctx context.Context, t *task, j *wire.JudgeHeader) error {
	snap := pl.snapshots.Current()
	p := pl.partitionOf(t, snap)
	meta, err := pl.projections.Meta(ctx, p)
	if err != nil {
		return err
	}
	reply, _, err := pl.store.FindAnswer(ctx, p, t.id)
	if err != nil {
		return err
	}
	if reply != nil { // an earlier attempt charged
		if reply.State == balance.AnswerDone {
			return nil
		}
		return pl.process(ctx, t)
	}
	if meta.Epoch != j.Epoch {
		return pl.process(ctx, t) // another epoch: an ordinary task again
	}
	return pl.recheckDuplicates(ctx, t, snap, p, meta, j.Seq)
}

func (pl *Pipeline) partitionOf(t *task, snap *metering.Snapshot) int {
	for i := range t.recs {
		if t.bad[i] == nil {
			if a := snap.Accounts[t.recs[i].AccountID]; a != nil {
				return pl.store.PartitionOf(a.Parent())
			}
		}
	}
	return 0
}

// recheckDuplicates judges all lines of a judge task; those without a row are charged
// by force, under the task's own id.
func (pl *Pipeline) recheckDuplicates(ctx context.Context, t *task, snap *metering.Snapshot, p int, meta *balance.Meta, seq int64) error {
	var counts balance.Counts
	all := make([]int, len(t.lines))
	for i := range all {
		all[i] = i
	}
	ok, err := pl.waitSettled(ctx, p, seq-1, judgePatience)
	if err != nil {
		return err
	}
	if !ok {
		return ErrLater
	}
	left, conflicts, err := pl.compareWithLedger(ctx, t, p, stand{epoch: meta.Epoch, seq: seq}, all, &counts)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return pl.chargeMissing(ctx, t, snap, p, meta)
	}
	counts.Quarantined += int64(len(conflicts))
	if err := pl.quarantineConflicts(ctx, t, p, conflicts); err != nil {
		return err
	}
	return pl.finish(ctx, t, p, meta, &balance.Finished{Counts: counts, Reasons: map[metering.Reason]int64{metering.ReasonConflict: int64(len(conflicts))}})
}

// chargeMissing charges identities that stand in their set but have no row: a hash
// collision, a reversed charge, an answer that was given up. At S they stand in
// their set, so whatever was charged of them is ≤ S; once no open answer is, it
// looks again. Redis refuses the charge if another was forced since S, or if the
// set may have forgotten them.
func (pl *Pipeline) chargeMissing(ctx context.Context, t *task, snap *metering.Snapshot, p int, meta *balance.Meta) error {
	parts, _, err := pl.classify(ctx, t, snap)
	if err != nil {
		return err
	}
	try := parts[p]
	if try == nil || len(parts) != 1 || len(try.charged) == 0 {
		return pl.process(ctx, t)
	}
	try.meta = meta
	err = pl.chargeForced(ctx, try, balance.AskSeq)
	if again, ok := errors.AsType[*balance.AgainError](err); ok {
		if err := pl.keepRowless(ctx, try, again.Seq); err != nil {
			return err
		}
		if len(try.charged) == 0 {
			if len(try.refused) > 0 {
				return pl.process(ctx, t)
			}
			return ErrLater // rows have come: judge again
		}
		err = pl.chargeForced(ctx, try, again.Seq)
		if errors.As(err, &again) {
			return ErrLater
		}
	}
	switch {
	case errors.Is(err, balance.ErrRestart):
		return pl.process(ctx, t)
	case errors.Is(err, balance.ErrChanged):
		return ErrLater
	case err != nil:
		return pl.lacking(ctx, try, err)
	}
	if try.answer.State == balance.AnswerNew {
		pl.log.WarnContext(ctx, "identities without a row were charged", slog.String("task", t.id))
		pl.metrics.Forced.Add(metrics.Float(len(try.charged)))
	}
	return pl.complete(ctx, try)
}

func (pl *Pipeline) chargeForced(ctx context.Context, try *attempt, upTo int64) (err error) {
	call := pl.call(try)
	call.Force, call.JudgedSeq = true, upTo
	try.asked = pl.clock.Now()
	try.answer, err = pl.store.Charge(ctx, try.p, try.snap.Catalog, call)
	return err
}

// keepRowless leaves those lines to be charged that have no row once every
// charge up to a seq has settled. The others are copies of their row: judged
// once more after the charge.
func (pl *Pipeline) keepRowless(ctx context.Context, try *attempt, upTo int64) error {
	ok, err := pl.waitSettled(ctx, try.p, upTo, judgePatience)
	if err != nil {
		return err
	}
	if !ok {
		return ErrLater
	}
	lines := make([]int, len(try.charged))
	for i := range try.charged {
		lines[i] = try.charged[i].line
	}
	rows, err := pl.lookupLines(ctx, try.t, lines)
	if err != nil {
		return err
	}
	kept := try.charged[:0]
	for _, c := range try.charged {
		if _, ok := rows[c.rec.Identity()]; ok {
			try.copies = append(try.copies, copied{candidate: c, first: c.line})
			continue
		}
		kept = append(kept, c)
	}
	try.charged = kept
	return nil
}
