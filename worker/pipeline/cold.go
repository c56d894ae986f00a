package pipeline

import (
	"context"
	"slices"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
)

// settlePatience is how long a handler keeps its slot while older answers are
// open; then the task goes back, so that nothing blocks.
const settlePatience = time.Second

// lookUp asks the ledger for items of a call: the cold ones, and those that turn cold
// while the answer is believed, or the edge, which moves with time, could pass another
// one at each call.
//
// What was charged since this generation of the sets began needs no answer: it stands
// in them, the charge asks them first, and they keep it for a generation more. What was
// charged before has settled by then (settled is the last such seq), so that its row
// is there.
//
// What was found before stands beside it, so that each call asks for less. It
// holds as well as it did: whoever has charged an identity since it was asked for
// has put it into the sets, wherever the edge is. So all is as old as the oldest
// answer, and another projection, which has other sets, begins anew.
func (pl *Pipeline) lookUp(ctx context.Context, try *attempt, call *balance.Call, ask []int, settled int64) error {
	ok, err := pl.waitSettled(ctx, try.p, settled, settlePatience)
	if err != nil {
		return err
	}
	if !ok {
		return ErrLater
	}
	ids := make([]metering.Identity, len(ask))
	for i, n := range ask {
		ids[i] = call.Items[n].Identity
	}
	rows, err := pl.ledger.Lookup(ctx, ids)
	if err != nil {
		return err
	}
	for i, n := range ask {
		_, has := rows[ids[i]]
		try.found[call.Items[n].Line] = has
	}
	return nil
}

// lookAhead tells what of a call may be cold before it is charged in vain, which costs as
// much as a charge: once, of a call with records that are that old by this clock.
func (pl *Pipeline) lookAhead(ctx context.Context, try *attempt, call *balance.Call) error {
	edge := pl.clock.Now().Add(metering.LookedMax - try.meta.Window).UnixMilli()
	old := func(it balance.Item) bool { return it.OccurredAt < edge }
	if try.ahead || !slices.ContainsFunc(call.Items, old) {
		return nil
	}
	try.ahead = true
	return pl.store.Edge(ctx, try.p, call)
}

// toLookUp are the cold items of a call, and those that turn cold while the answer
// is believed and aren't known yet. It forgets what was found for another projection.
func (try *attempt) toLookUp(call *balance.Call, cold *balance.ColdError) []int {
	if try.found == nil || try.epoch != try.meta.Epoch {
		try.found, try.looked, try.epoch = map[int]bool{}, cold.Now, try.meta.Epoch
	}
	ask := slices.Clone(cold.Items)
	edge := cold.Now - try.meta.Window.Milliseconds()
	for i := range call.Items {
		it := &call.Items[i]
		if it.OccurredAt < edge || it.OccurredAt >= edge+metering.LookedMax.Milliseconds() {
			continue
		}
		_, known := try.found[it.Line]
		if _, asked := slices.BinarySearch(cold.Items, i); !known && !asked {
			ask = append(ask, i)
		}
	}
	return ask
}
