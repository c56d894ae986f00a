package metering

import (
	"math/bits"
	"time"
)

// The unit of a record that came with its amount but without units.
const (
	unitMessage = "message"
	unitSecond  = "second"
	unitMinute  = "minute"
)

const secondsPerMinute = 60

// Admit judges what can be judged of any record without its price: the account
// is known, not closed at occurred_at (an automatic refund is made all the same: its
// message occurred before), the time isn't ahead of now, for usage the channel is
// enabled, and a currency that is named is the account's. a is the account of
// r.AccountID, nil when there is none. nil means admitted.
func Admit(a *Account, r *Record, now time.Time) *Refusal {
	switch {
	case a == nil:
		return refuse(ReasonUnknownAccount, "account_id: no such account; apply it, then replay")
	case a.ClosedAt != nil && !r.OccurredAt.Before(*a.ClosedAt) && !r.automatic():
		if r.Kind != KindUsage {
			return refuse(ReasonAccountClosed, "occurred_at: the account was closed by then; what is about a message from before takes a time before the closing; or discard it")
		}
		return refuse(ReasonAccountClosed, "occurred_at: the account was closed by then; send it under another account, or discard it")
	case r.OccurredAt.After(now.Add(FutureMax)):
		return refuse(ReasonFromFuture, "occurred_at: more than 5 minutes ahead; set the sender's clock, then send it again or replay once it is past")
	case r.Kind == KindUsage && !a.ChannelEnabled(r.Channel, r.OccurredAt):
		return refuse(ReasonChannelNotEnabled, "channel: not enabled for the account at that time, and enabling it counts from then on; send it under another account, or discard it")
	case r.Currency != "" && r.Currency != a.Currency:
		return refuse(ReasonCurrencyMismatch, "currency: not the account's; send it in the account's currency")
	}
	return nil
}

// Rate turns a usage record into its charge: Admit, then the price by the plan
// in use at occurred_at, or the record's own amount. a is the account of
// r.AccountID in s, nil when there is none. r.Country and, where s.Prefixes,
// r.International are taken as they are: derive them before. It is a pure function,
// and the same for every worker that has s.
func Rate(s *Snapshot, a *Account, r *Record, now time.Time) (Charge, *Refusal) {
	if ref := Admit(a, r, now); ref != nil {
		return Charge{}, ref
	}
	if r.Amount.Is() {
		return preRated(r), nil
	}
	plan := s.Plans[a.PlanAt(r.OccurredAt)]
	if plan == nil {
		return Charge{}, refuse(ReasonNoPrice, "the account has no price plan at that time; give it one, then replay")
	}
	return rateBy(s, plan, r)
}

// rateBy prices a record by a plan's version at its occurred_at.
func rateBy(s *Snapshot, plan *Plan, r *Record) (Charge, *Refusal) {
	v := plan.versionAt(r.OccurredAt)
	if v < 0 {
		return Charge{}, refuse(ReasonNoPrice, "occurred_at: before the first version of the account's plan, and a new version can't start in the past; send this one with its amount and currency, or discard it")
	}
	index := s.index(plan, v)
	i := index.match(r)
	if i < 0 {
		return Charge{}, refuse(ReasonNoPrice, "no rule of the account's plan matches at that time; a new version prices what occurs after it starts; send this one with its amount and currency, or discard it")
	}
	c := Charge{Plan: plan.ID, Version: v + 1, Rule: i + 1}
	if ref := index.rules[i].price(r, &c); ref != nil {
		return Charge{}, ref
	}
	return c, nil
}

// preRated is the charge of a record that came with its amount.
func preRated(r *Record) Charge {
	c := Charge{Amount: r.Amount.Or(0), Units: r.Units.Or(scale), Unit: r.Unit}
	if c.Unit == "" {
		c.Unit = unitMessage
	}
	c.Billed = c.Units
	return c
}

// versionAt is the index of the version in force at t, -1 before the first.
func (p *Plan) versionAt(t time.Time) int {
	i := len(p.Versions) - 1
	for i >= 0 && p.Versions[i].EffectiveFrom.After(t) {
		i--
	}
	return i
}

// price fills c with what r costs by the rule.
func (p *Rule) price(r *Record, c *Charge) *Refusal {
	c.Units, c.Unit = r.Units.Or(scale), r.Unit
	if c.Unit == "" {
		c.Unit = p.Unit
	}
	billed, den, ref := p.billable(c.Units, c.Unit)
	if ref != nil {
		return ref
	}
	if billed == 0 {
		return nil // 0 units cost nothing
	}
	c.Billed = Quantity(roundHalfEven(billed/den, billed%den, den))
	amount, ok := p.amount(billed, den)
	if !ok {
		return refuse(ReasonOverflow, "the price of so many units is too large; correct the units at their source")
	}
	c.Amount, c.Fee = amount, p.Fee
	return nil
}

// billable is the quantity to be priced in millionths of the rule's unit, as
// the exact fraction num/den: seconds and minutes converted, increments
// rounded up.
func (p *Rule) billable(units Quantity, unit string) (num, den uint64, ref *Refusal) {
	num, den = uint64(units), 1
	timed := unit == unitSecond || unit == unitMinute
	switch {
	case unit == p.Unit && (!timed || p.Increment == [2]int64{}):
		return num, den, nil
	case !timed || p.Unit != unitSecond && p.Unit != unitMinute:
		return 0, 0, refuse(ReasonUnitMismatch, "unit: not the unit that the plan's rule prices; send that unit")
	}
	if unit == unitMinute {
		if units > QuantityMax/secondsPerMinute {
			return 0, 0, refuse(ReasonOverflow, "units: too many to be priced; correct them at their source")
		}
		num *= secondsPerMinute
	}
	num = increment(num, p.Increment)
	if num > uint64(QuantityMax) {
		return 0, 0, refuse(ReasonOverflow, "units: too many to be priced; correct them at their source")
	}
	if p.Unit == unitMinute {
		den = secondsPerMinute
	}
	return num, den, nil
}

// increment rounds micro-seconds up to the first increment, and past it to
// whole next ones. 0 stays 0.
func increment(num uint64, inc [2]int64) uint64 {
	if num == 0 || inc == [2]int64{} {
		return num
	}
	first, next := uint64(inc[0])*scale, uint64(inc[1])*scale
	if num <= first || next == 0 {
		return max(num, first)
	}
	return first + (num-first+next-1)/next*next
}

// priceScale is what a product of millionths of a unit and 1e-8 of the
// currency is of a micro-unit.
const priceScale = 100_000_000

// amount is max(num/den × price, minimum) + fee, exact and then rounded once,
// half to even. false if it doesn't fit.
func (p *Rule) amount(num, den uint64) (Micros, bool) {
	den *= priceScale
	hi, lo := bits.Mul64(num, uint64(p.Price))
	if hi >= den {
		return 0, false
	}
	q, rem := bits.Div64(hi, lo, den)
	if q > uint64(MicrosMax) {
		return 0, false
	}
	if q < uint64(p.Minimum) {
		q, rem = uint64(p.Minimum), 0
	}
	q += uint64(p.Fee)
	q = roundHalfEven(q, rem, den)
	return Micros(q), q <= uint64(MicrosMax)
}

// roundHalfEven rounds q + rem/den to an integer; rem is below den.
func roundHalfEven(q, rem, den uint64) uint64 {
	if half := den - rem; rem > half || rem == half && q&1 == 1 {
		return q + 1
	}
	return q
}
