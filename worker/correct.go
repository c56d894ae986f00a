package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
)

// correctTask books a re-rating's adjustments: each once for its reference and
// message, in the message's month or, where that is closed, in the current one.
func (e *engine) correctTask(ctx context.Context, id string, payload []byte) error {
	var head jobs.Correct
	lines, release, err := e.unpack(ctx, payload, &head)
	if errors.Is(err, jobs.ErrPayload) {
		return e.unreadable(ctx, id, jobs.TypeCorrect, payload, err)
	}
	if err != nil {
		return err
	}
	defer release()
	t, err := newCorrections(id, lines)
	if err != nil {
		return e.unreadable(ctx, id, jobs.TypeCorrect, payload, err)
	}
	return e.process(ctx, t)
}

// newCorrections makes records of kind adjustment of a task's lines.
func newCorrections(id string, lines [][]byte) (*task, error) {
	t := &task{
		id: id, run: jobs.RunOf(id), lines: lines, inline: true,
		recs: make([]metering.Record, len(lines)), bad: make([]*metering.Refusal, len(lines)), corrections: make([]jobs.Correction, len(lines)),
	}
	for i, line := range lines {
		c := &t.corrections[i]
		if err := json.Unmarshal(line, c); err != nil {
			return nil, fmt.Errorf("correction %d: %w", i+1, err)
		}
		t.recs[i] = metering.Record{
			ID: c.ID, Kind: metering.KindAdjustment, AccountID: c.AccountID, RefersTo: c.MessageID, OccurredAt: c.OccurredAt.UTC(),
			Channel: c.Channel, Direction: c.Direction, Country: c.Country, Network: c.Network, Category: c.Category,
			Amount: metering.Micros(c.Amount), HasAmount: true,
		}
	}
	return t, nil
}

// classifyCorrections makes a candidate of each: nothing is judged anew.
func (e *engine) classifyCorrections(t *task, snap *metering.Snapshot, at func(int) *slice) {
	for i := range t.corrections {
		x, r := &t.corrections[i], &t.recs[i]
		a := snap.Accounts[x.AccountID]
		if a == nil {
			at(0).refuse(i, metering.Admit(nil, r, e.clock.Now()))
			continue
		}
		c := candidate{rec: r, row: r, account: a, amount: r.Amount, period: a.Calendar.Of(r.OccurredAt).Name}
		c.line = i
		c.charge = metering.Charge{Amount: r.Amount, Fee: metering.Micros(x.Fee), Plan: x.Plan, Version: x.Version, Rule: x.Rule}
		c.purse, c.owner = purseNow(a, metering.Purse(x.Purse))
		at(e.store.PartitionOf(a.Parent())).add(c)
	}
}
