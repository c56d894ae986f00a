package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// While the ledger is away limits go on working: what can be charged without it is, in
// every partition. Lines of a task that need it first, because a newer snapshot may
// know their account or price, or because their identity is cold, leave as a task of
// their own, so that one of them doesn't hold up the others. The answer to the charge
// of the others keeps which those are: that attempt and all that follow hand the same
// ones over, and charge none of them.

// ledgerAway tells whether it is known to be, or takes no writes.
func (pl *Pipeline) ledgerAway() bool {
	return pl.outage.away.Load() || pl.outage.stands(pl.clock.Now())
}

// withoutLedger tells whether an error says that the ledger can't be asked or written
// to now.
func (pl *Pipeline) withoutLedger(err error) bool {
	return errors.Is(err, ledger.ErrAway) || errors.Is(err, errUnstored) || errors.Is(err, errSlow) ||
		errors.Is(err, ErrLater) && pl.ledgerAway() // what waits for others' rows
}

// askPatience is how long lines of a task wait for what the ledger is asked about others
// of it; then it is suspected to be away.
const askPatience = 2 * time.Second

// errSlow says that the ledger didn't answer within askPatience.
var errSlow = fmt.Errorf("ClickHouse doesn't answer within %s", askPatience)

// ask asks the ledger, until it is known to be away; in a hurry, for askPatience.
func (pl *Pipeline) ask(ctx context.Context, hurry bool, f func(ctx context.Context) error) error {
	asking, cancel, done := pl.outage.waitsFor(ctx)
	defer done()
	if pl.outage.away.Load() {
		return ledger.ErrAway
	}
	suspect := time.AfterFunc(askPatience, func() {
		pl.outage.suspected.Store(true)
		if hurry {
			cancel(errSlow)
		}
	})
	defer suspect.Stop()
	err := f(asking)
	if cause := context.Cause(asking); err != nil && ctx.Err() == nil && cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// chargeAll charges batches whose rows can't be stored by now. Who comes again for them
// finds their answers; what fails here fails again there.
func (pl *Pipeline) chargeAll(ctx context.Context, parts map[int]*attempt, order []int) {
	for i, p := range order {
		try := parts[p]
		if len(try.charged) == 0 {
			continue
		}
		err := pl.charge(ctx, try)
		answer := try.answer
		// Whoever comes for it asks again.
		try.answer = nil
		if err != nil || answer == nil || answer.State != balance.AnswerOpen { // nil: all of it is refused
			continue
		}
		if r, err := decodeRated(answer.Rated); err == nil {
			leave(parts, order[i+1:], r.refused, r.aside)
		}
	}
}

// leave takes lines out of batches that the answer to another one's charge has refused or
// set aside. It is the first partition's: their account wasn't known then.
func leave(parts map[int]*attempt, order []int, refused []refusal, aside []int) {
	if len(order) == 0 || len(refused)+len(aside) == 0 {
		return
	}
	gone := map[int]bool{}
	for _, r := range refused {
		gone[r.line] = true
	}
	for _, line := range aside {
		gone[line] = true
	}
	for _, p := range order {
		parts[p].drop(gone)
	}
}

// drop takes lines out.
func (try *attempt) drop(gone map[int]bool) {
	try.charged = slices.DeleteFunc(try.charged, func(c candidate) bool { return gone[c.line] })
	try.copies = slices.DeleteFunc(try.copies, func(c copied) bool { return gone[c.line] })
	try.refused = slices.DeleteFunc(try.refused, func(r refusal) bool { return gone[r.line] })
}

// behind adds to lines those behind them of the same identities: the first of them stands
// (docs/domain.md, Identity), so none may be charged before it.
func (try *attempt) behind(lines []int) map[int]bool {
	first := map[metering.Identity]int{}
	out := make(map[int]bool, len(lines))
	for _, line := range lines {
		id := try.t.recs[line].Identity()
		if at, ok := first[id]; !ok || line < at {
			first[id] = line
		}
		out[line] = true
	}
	for _, line := range try.lines() {
		if try.t.bad[line] != nil {
			continue // no identity: it stays
		}
		if at, ok := first[try.t.recs[line].Identity()]; ok && line > at {
			out[line] = true
		}
	}
	return out
}

// setAside takes lines out, to be handed over.
func (try *attempt) setAside(gone map[int]bool) {
	try.drop(gone)
	try.aside = append(try.aside, slices.Sorted(maps.Keys(gone))...)
}

// separable: its lines may be charged apart. Refunds and corrections read the ledger
// in any case.
func (t *task) separable() bool { return t.corrections == nil && !t.inline }

// setDoubtfulAside sets lines aside that a newer snapshot may know, after the ledger
// couldn't be asked for one (cause). Those in whose batch nothing is charged, so that no
// answer can keep them, bring the task back, once the other batches are charged.
func (pl *Pipeline) setDoubtfulAside(ctx context.Context, t *task, parts map[int]*attempt, cause error) error {
	if !t.separable() || !pl.withoutLedger(cause) {
		return cause
	}
	stay := false
	for _, try := range parts {
		var doubtful []int
		for _, r := range try.refused {
			if r.mayBeOld() {
				doubtful = append(doubtful, r.line)
			}
		}
		if gone := try.behind(doubtful); try.charges(gone) {
			try.setAside(gone)
		} else {
			stay = stay || len(doubtful) > 0
		}
	}
	if stay {
		pl.chargeAll(ctx, parts, slices.Sorted(maps.Keys(parts)))
		return cause
	}
	return nil
}

// setColdAside sets the identities of a batch aside that the ledger couldn't be asked
// for (cause), if others are left.
func (pl *Pipeline) setColdAside(try *attempt, call *balance.Call, ask []int, cause error) error {
	if !try.t.separable() || !pl.withoutLedger(cause) || len(ask) == len(try.charged) {
		return cause
	}
	cold := make([]int, len(ask))
	for i, n := range ask {
		cold[i] = call.Items[n].Line
	}
	try.setAside(try.behind(cold))
	return nil
}

// charges tells whether anything is charged without some lines.
func (try *attempt) charges(without map[int]bool) bool {
	return slices.ContainsFunc(try.charged, func(c candidate) bool { return !without[c.line] })
}

// handAside hands lines over as a task of their own, which is named by them: handed
// over again it is the same.
func (pl *Pipeline) handAside(ctx context.Context, t *task, which []int) error {
	if len(which) == 0 {
		return nil
	}
	lines := pick(t.lines, slices.Sorted(slices.Values(which)))
	return pl.enqueue(ctx, wire.TypeIngest, idOf(t.id+"~a", lines), pl.codec.Encode(lines), retryFirst)
}

// handMoved hands lines over that a newer snapshot has brought into a batch whose answer
// was made without them: their account wasn't known then, and the first partition,
// which refuses such, hasn't.
func (pl *Pipeline) handMoved(ctx context.Context, try *attempt, before []int) error {
	t, outcome := try.t, try.answer.Outcome
	moved := slices.DeleteFunc(before, func(line int) bool {
		return outcome[line] != balance.OutcomeNone || slices.Contains(try.aside, line)
	})
	if len(moved) == 0 || t.corrections != nil { // an account with messages to correct was known
		return nil
	}
	refused, _, err := pl.store.FindAnswer(ctx, 0, t.id)
	if err != nil || refused != nil {
		return err
	}
	return pl.handAside(ctx, t, moved)
}

// lines of a batch, as this attempt has decided.
func (try *attempt) lines() []int {
	var out []int
	for i := range try.charged {
		out = append(out, try.charged[i].line)
	}
	for i := range try.copies {
		out = append(out, try.copies[i].line)
	}
	for _, r := range try.refused {
		out = append(out, r.line)
	}
	return append(out, try.waiting...)
}
