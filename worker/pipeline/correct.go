package pipeline

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// CorrectTask books a re-rating's adjustments: each once for its reference and
// message, in the message's month or, where that is closed, in the current one.
func (pl *Pipeline) CorrectTask(ctx context.Context, id string, payload []byte) error {
	var head wire.CorrectionHeader
	return pl.take(ctx, id, wire.TypeCorrect, payload, &head, func(lines [][]byte) (*task, error) {
		return newCorrections(id, lines)
	}, pl.process)
}

// newCorrections makes records of kind adjustment of a task's lines.
func newCorrections(id string, lines [][]byte) (*task, error) {
	t := &task{
		id: id, run: wire.RunOf(id), lines: lines, inline: true,
		recs: make([]metering.Record, len(lines)), bad: make([]*metering.Refusal, len(lines)), corrections: make([]wire.Correction, len(lines)),
	}
	for i, line := range lines {
		c := &t.corrections[i]
		if err := json.Unmarshal(line, c); err != nil {
			return nil, fmt.Errorf("correction %d: %w", i+1, err)
		}
		t.recs[i] = metering.Record{
			ID: c.ID, Kind: metering.KindAdjustment, AccountID: c.AccountID, RefersTo: c.MessageID, OccurredAt: c.OccurredAt.UTC(),
			Channel: c.Channel, Direction: c.Direction, Country: c.Country, Network: c.Network, Category: c.Category,
			Amount: metering.Some(metering.Micros(c.Amount)),
		}
	}
	return t, nil
}

// classifyCorrections makes a candidate of each, by what its message stands at
// once every charge so far has settled; a charge refuses it if that changes
// meanwhile. One that changes nothing is settled already.
func (pl *Pipeline) classifyCorrections(ctx context.Context, t *task, snap *metering.Snapshot, at func(int) *attempt) error {
	var known []int
	for i := range t.corrections {
		if snap.Accounts[t.recs[i].AccountID] == nil {
			at(0).refuse(i, metering.Admit(nil, &t.recs[i], pl.clock.Now()))
			continue
		}
		known = append(known, i)
	}
	if err := pl.waitForOlderCharges(ctx, t, snap, known); err != nil {
		return err
	}
	charges, err := pl.corrections(ctx, t, known)
	if err != nil {
		return err
	}
	for n, i := range known {
		x, r := &t.corrections[i], &t.recs[i]
		a := snap.Accounts[x.AccountID]
		try := at(pl.store.PartitionOf(a.Parent()))
		switch c := charges[n]; {
		case c == nil:
			try.refuse(i, &metering.Refusal{Reason: metering.ReasonUnknownMessage, Detail: "the message isn't in the ledger any more; discard this entry"})
		case c.replaced:
			try.refuse(i, &metering.Refusal{
				Reason: metering.ReasonConflict,
				Detail: "the message isn't the one that was rated: after a loss of Redis another of its id took its place; repeat the re-rating, then discard this entry",
			})
		case c.Amount == 0 && c.Fee == 0:
			try.same = append(try.same, i)
		default:
			row := *r
			row.Tags = tagsOf(r, &c.of)
			d := candidate{rec: r, row: &row, account: a, amount: c.Amount, period: a.Calendar.Of(r.OccurredAt).Name}
			d.line, d.charge = i, c.Charge
			d.purse, d.purseAccount = refundPurse(a, metering.Purse(x.Purse))
			try.add(d)
		}
	}
	return nil
}

// correction is what a line would book by now, and its message.
type correction struct {
	metering.Charge

	of       ledger.Message
	replaced bool // by one of another content, since it was rated
}

// corrections of lines of a task, one for each; nil where the message is gone.
func (pl *Pipeline) corrections(ctx context.Context, t *task, lines []int) ([]*correction, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	keys := make([]ledger.MessageKey, len(lines))
	for n, i := range lines {
		keys[n] = ledger.MessageKey{AccountID: t.corrections[i].AccountID, ID: t.corrections[i].MessageID}
	}
	messages, err := pl.ledger.Messages(ctx, keys)
	if err != nil {
		return nil, err
	}
	if len(pl.landing(t, messages)) > 0 {
		return nil, errLanding
	}
	out := make([]*correction, len(lines))
	for n, i := range lines {
		x := &t.corrections[i]
		m, ok := messages[keys[n]]
		if !ok {
			continue
		}
		c, replaced := metering.Correction{Amount: metering.Micros(x.Amount), Fee: metering.Micros(x.Fee)}, false
		if x.Rated != nil {
			replaced = x.Rated.Hash != 0 && x.Rated.Hash != m.Hash
			c = metering.Correct(metering.Charge{Amount: metering.Micros(x.Rated.Amount), Fee: metering.Micros(x.Rated.Fee)}, m.ChargedSoFar)
		}
		out[n] = &correction{metering.Charge{Amount: c.Amount, Fee: c.Fee, Plan: x.Plan, Version: x.Version, Rule: x.Rule}, m, replaced}
	}
	return out, nil
}

// otherCorrections are those of corrections that stand in the ledger and haven't
// brought their message to what they say.
func (pl *Pipeline) otherCorrections(ctx context.Context, t *task, lines []int) ([]int, error) {
	charges, err := pl.corrections(ctx, t, lines)
	if err != nil {
		return nil, err
	}
	var others []int
	for n, i := range lines {
		if c := charges[n]; c != nil && t.corrections[i].Rated != nil && (c.Amount != 0 || c.Fee != 0) {
			others = append(others, i)
		}
	}
	return others, nil
}
