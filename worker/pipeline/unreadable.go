package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// unreadable quarantines a payload whole and finishes its task.
func (pl *Pipeline) unreadable(ctx context.Context, id, typ string, payload []byte, cause error) error {
	now := pl.clock.Now().UTC()
	kind, lines := pl.linesOf(typ, payload)
	raw := bytes.Join(lines, []byte{'\n'}) // as a replay sends them again
	detail := "the task's payload can't be processed; see `meterd quarantine show`, correct it and enqueue it again"
	switch {
	case errors.Is(cause, wire.ErrLines):
		detail = fmt.Sprintf("the task has more than %d lines; take it apart and enqueue what is in it again", wire.LinesMax)
	case kind == metering.KindAdjustment:
		detail = "a re-rating's corrections can't be processed; run `meterd rerate` again with its reference, which books what is left, then discard this entry"
	}
	en := ledger.Entry{
		ID: ledger.EntryID("", kind, raw), Reason: metering.ReasonMalformed, Kind: kind, Raw: raw, Detail: detail, QuarantinedAt: now,
		State: ledger.QuarantineOpen, Version: uint64(now.UnixMicro()),
	}
	pl.log.ErrorContext(ctx, "task quarantined whole", slog.String("task", id), slog.Any("error", cause))
	if _, err := pl.write(ctx, id+":unreadable", &ledger.Batch{Quarantine: []ledger.Entry{en}}); err != nil {
		return err
	}
	return pl.abandon(ctx, &task{id: id, run: wire.RunOf(id)}, balance.Counts{Quarantined: int64(len(lines))})
}

// linesOf a task that is quarantined whole, without their head, and of what kind
// they are: "" for records, for each names its own. What isn't of records has its
// task's type: a replay must not take it for one.
func (pl *Pipeline) linesOf(typ string, payload []byte) (metering.Kind, [][]byte) {
	whole := [][]byte{payload}
	lines, err := pl.codec.Decode(payload)
	if err != nil || len(lines) == 0 {
		lines = whole
	}
	var refund wire.RefundHeader
	var judge wire.JudgeHeader
	var correct wire.CorrectionHeader
	heads := map[string]any{wire.TypeRefund: &refund, wire.TypeJudge: &judge, wire.TypeCorrect: &correct}
	if head := heads[typ]; head != nil {
		if rest, err := pl.codec.DecodeHead(payload, head); err == nil && len(rest) > 0 {
			lines = rest
		}
	}
	switch {
	case typ == wire.TypeCorrect, judge.Corrections:
		return metering.KindAdjustment, lines
	case typ == wire.TypeRefund:
		return metering.KindRefund, lines
	case typ == wire.TypeIngest, typ == wire.TypeJudge:
		return "", lines
	}
	return metering.Kind(typ), whole
}

// abandon ends a task that is quarantined whole. An answer that it holds is
// given up: what it charged is healed by reconcile, and is charged again when
// the entry is replayed. Rows that are in the ledger stay there.
func (pl *Pipeline) abandon(ctx context.Context, t *task, counts balance.Counts) error {
	for p := range pl.store.Partitions() {
		meta, err := pl.projections.Meta(ctx, p)
		if err != nil {
			return err
		}
		reply, _, err := pl.store.FindAnswer(ctx, p, t.id)
		if err != nil {
			return err
		}
		if reply == nil && p > 0 {
			continue
		}
		seq := int64(0)
		if reply != nil {
			seq = reply.Seq
			if reply.State == balance.AnswerOpen {
				if err := pl.giveUpOne(ctx, p, meta, balance.OpenAnswer{Task: t.id, Seq: seq}, 0); err != nil {
					return err
				}
			}
		}
		f := &balance.Finished{Seq: seq, Counts: counts, Reasons: map[metering.Reason]int64{metering.ReasonMalformed: counts.Quarantined}}
		if err := pl.finish(ctx, t, p, meta, f); err != nil {
			return err
		}
		counts = balance.Counts{}
	}
	return nil
}
