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
func (pl *Pipeline) lacking(ctx context.Context, p int, meta *balance.Meta, err error) error {
	if missing, ok := errors.AsType[*balance.MissingError](err); ok {
		return errors.Join(err, pl.snapshots.PushMissing(ctx, p, meta, missing.Accounts))
	}
	return pl.projections.ForgetIfOver(p, err)
}

// chargeTries bounds the answers that make a charge call again.
const chargeTries = 12

// charge calls charge.lua until it has an answer. A nil meta: every line was
// refused on the way.
func (pl *Pipeline) charge(ctx context.Context, t *task, s *partitionBatch) (*balance.Answer, *balance.Meta, error) {
	started := pl.clock.Now()
	var last error
	for tries := 0; tries < chargeTries; tries++ {
		if len(s.charged) == 0 {
			return nil, nil, nil
		}
		meta, err := pl.metaOf(ctx, t, s.p)
		if err != nil {
			return nil, nil, err
		}
		call := pl.call(t, s, meta)
		s.asked = pl.clock.Now()
		var reply *balance.Answer
		if err = pl.lookAhead(ctx, s, call, meta); err == nil {
			reply, err = pl.store.Charge(ctx, s.p, s.catalog, call)
		}
		if err == nil {
			pl.metrics.ChargeSeconds.Observe(metrics.Seconds(pl.clock.Now().Sub(started)))
			return reply, meta, nil
		}
		if _, over := errors.AsType[*balance.OverflowError](err); over {
			tries-- // it leaves fewer lines each time
		}
		last = err
		if err := pl.recoverCharge(ctx, t, s, meta, call, err); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("task %s: charge refused %d times: %w", t.id, chargeTries, last)
}

// metaOf the epoch in which a task is to charge. Where it has read what messages
// stand at, that is the epoch in which it did: in another one nobody knows what
// has changed since, so the task comes again and reads anew.
func (pl *Pipeline) metaOf(ctx context.Context, t *task, p int) (*balance.Meta, error) {
	meta, err := pl.projections.Meta(ctx, p)
	at, read := t.stood[p]
	if err != nil || !read || at.epoch == meta.Epoch {
		return meta, err
	}
	if meta, err = pl.projections.Renew(ctx, p); err == nil && at.epoch != meta.Epoch {
		err = ErrLater
	}
	return meta, err
}

// recoverCharge does what a refused charge asks for; nil means call again.
func (pl *Pipeline) recoverCharge(ctx context.Context, t *task, s *partitionBatch, meta *balance.Meta, call *balance.Call, err error) error {
	var missing *balance.MissingError
	var cold *balance.ColdError
	var over *balance.OverflowError
	switch {
	case errors.As(err, &missing):
		return pl.projections.ForgetIfOver(s.p, pl.snapshots.PushMissing(ctx, s.p, meta, missing.Accounts))
	case errors.As(err, &cold):
		ask := s.toLookUp(call, meta, cold)
		others := t.separable() && len(ask) < len(s.charged)
		if err := pl.ask(ctx, others, func(ctx context.Context) error { return pl.lookUp(ctx, s, call, ask, cold.Settled) }); err != nil {
			return pl.setColdAside(t, s, call, ask, err)
		}
		return nil
	case errors.As(err, &over):
		s.overflow(over.Groups)
		return nil
	case errors.Is(err, balance.ErrChanged):
		return ErrLater
	case errors.Is(err, balance.ErrStale):
		s.found = nil
		return nil
	case balance.Over(err):
		pl.log.InfoContext(ctx, "charge refused", slog.String("task", t.id), slog.Any("error", err))
		_, err := pl.projections.Renew(ctx, s.p)
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
