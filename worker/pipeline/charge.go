package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/metrics"
)

// lacking is stale, and brings accounts to a partition that a script named as missing:
// those of a task that was charged or judged before were lost since. It comes again.
func (pl *Pipeline) lacking(ctx context.Context, try *attempt, err error) error {
	if missing, ok := errors.AsType[*balance.MissingError](err); ok {
		return errors.Join(err, pl.snapshots.PushMissing(ctx, try.p, try.meta, missing.Accounts))
	}
	return pl.projections.ForgetIfOver(try.p, err)
}

// chargeTries bounds the answers that make a charge call again.
const chargeTries = 12

// charge calls charge.lua until it has an answer; without one every line was refused on
// the way.
func (pl *Pipeline) charge(ctx context.Context, try *attempt) error {
	started := pl.clock.Now()
	var last error
	for tries := 0; tries < chargeTries; tries++ {
		if len(try.charged) == 0 {
			return nil
		}
		meta, err := pl.metaOf(ctx, try)
		if err != nil {
			return err
		}
		try.meta = meta
		call := pl.call(try)
		try.asked = pl.clock.Now()
		if err = pl.lookAhead(ctx, try, call); err == nil {
			try.answer, err = pl.store.Charge(ctx, try.p, try.snap.Catalog, call)
		}
		if err == nil {
			pl.metrics.ChargeSeconds.Observe(metrics.Seconds(pl.clock.Now().Sub(started)))
			return nil
		}
		if _, over := errors.AsType[*balance.OverflowError](err); over {
			tries-- // it leaves fewer lines each time
		}
		last = err
		if err := pl.recoverCharge(ctx, try, call, err); err != nil {
			return err
		}
	}
	return fmt.Errorf("task %s: charge refused %d times: %w", try.t.id, chargeTries, last)
}

// metaOf the epoch in which a task is to charge. Where it has read what messages
// stand at, that is the epoch in which it did: in another one nobody knows what
// has changed since, so the task comes again and reads anew.
func (pl *Pipeline) metaOf(ctx context.Context, try *attempt) (*balance.Meta, error) {
	meta, err := pl.projections.Meta(ctx, try.p)
	at, read := try.t.stood[try.p]
	if err != nil || !read || at.epoch == meta.Epoch {
		return meta, err
	}
	if meta, err = pl.projections.Renew(ctx, try.p); err == nil && at.epoch != meta.Epoch {
		err = ErrLater
	}
	return meta, err
}

// recoverCharge does what a refused charge asks for; nil means call again.
func (pl *Pipeline) recoverCharge(ctx context.Context, try *attempt, call *balance.Call, err error) error {
	var missing *balance.MissingError
	var cold *balance.ColdError
	var over *balance.OverflowError
	switch {
	case errors.As(err, &missing):
		return pl.projections.ForgetIfOver(try.p, pl.snapshots.PushMissing(ctx, try.p, try.meta, missing.Accounts))
	case errors.As(err, &cold):
		ask := try.toLookUp(call, cold)
		others := try.t.separable() && len(ask) < len(try.charged)
		if err := pl.ask(ctx, others, func(ctx context.Context) error { return pl.lookUp(ctx, try, call, ask, cold.Settled) }); err != nil {
			return pl.setColdAside(try, call, ask, err)
		}
		return nil
	case errors.As(err, &over):
		try.overflow(over.Groups)
		return nil
	case errors.Is(err, balance.ErrChanged):
		return ErrLater
	case errors.Is(err, balance.ErrStale):
		try.found = nil
		return nil
	case balance.Over(err):
		pl.log.InfoContext(ctx, "charge refused", slog.String("task", try.t.id), slog.Any("error", err))
		_, err := pl.projections.Renew(ctx, try.p)
		return err
	default:
		return err
	}
}

// overflowLarge: what is refused first when a sum leaves 64 bits.
const overflowLarge metering.Micros = 1_000_000 * 1_000_000

// overflow refuses what of some groups makes a sum too large: the large
// amounts, or all if there are none.
func (try *attempt) overflow(groups []int) {
	large := func(c *candidate) bool { return c.amount > overflowLarge || c.amount < -overflowLarge }
	some := false
	for i := range try.charged {
		some = some || slices.Contains(groups, try.charged[i].group) && large(&try.charged[i])
	}
	kept := try.charged[:0]
	refused := map[int]metering.Micros{} // line → its amount
	refuse := func(c *candidate) {
		try.refused = append(try.refused, refusal{line: c.line, reason: metering.ReasonOverflow, detail: "amount: the account'try sums would grow beyond what can be kept"})
		refused[c.line] = c.amount
	}
	for _, c := range try.charged {
		if slices.Contains(groups, c.group) && (!some || large(&c)) {
			refuse(&c)
			delete(try.first, c.rec.Identity())
			continue
		}
		kept = append(kept, c)
	}
	try.charged = kept
	// Copies of a refused line are judged by themselves: one of other content may
	// do. What is no smaller doesn't.
	copies := try.copies
	try.copies = nil
	for _, c := range copies {
		amount, ok := refused[c.first]
		switch {
		case !ok:
			try.copies = append(try.copies, c)
		case max(c.amount, -c.amount) >= max(amount, -amount):
			refuse(&c.candidate)
		default:
			try.add(c.candidate)
		}
	}
}
