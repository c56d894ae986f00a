package metering

import "slices"

// ChargedSoFar is what a message was charged, net of what corrections did to it,
// and what of that was given back.
type ChargedSoFar struct {
	Amount, Fee Micros // with the corrections booked so far
	Refunded    Micros
	// RefundedWhole: that was all that it came to then, however little.
	RefundedWhole bool
	// Blanked: its numbers are past their retention, so no rule with a prefix
	// finds it any more.
	Blanked bool
}

// Correction is what a re-rating books for one message: an adjustment
// (docs/domain.md, Price plans).
type Correction struct {
	Amount Micros // signed, to be added to what the message is charged
	Fee    Micros // of it, that a refund doesn't give back
	Charge Charge // what the message comes to by the plan
}

// Rerate rates a stored message by another plan, at its own occurred_at. r's
// amount is left aside. ErrNumbersBlanked where the plan can't be followed: it
// would silently give the price of another rule.
func Rerate(s *Snapshot, plan *Plan, r *Record, was ChargedSoFar) (Correction, *Refusal, error) {
	if v := plan.versionAt(r.OccurredAt); was.Blanked && v >= 0 && s.index(plan, v).needsNumber(r) {
		return Correction{}, nil, ErrNumbersBlanked
	}
	c, ref := rateBy(s, plan, r)
	if ref != nil {
		return Correction{}, ref, nil
	}
	return Correct(c, was), nil, nil
}

// HasPrefix tells whether a rule of a version selects by number.
func (p *Plan) HasPrefix() bool {
	for i := range p.Versions {
		if slices.ContainsFunc(p.Versions[i].Rules, func(r Rule) bool { return r.Prefix != "" }) {
			return true
		}
	}
	return false
}

// Numberless tells whether a stored message that has no numbers came without
// any, by the hash of its content: with what a row doesn't tell from what was
// left out, tried each way.
func Numberless(r *Record, hash uint64) bool {
	for way := range 1 << 4 {
		x := *r
		x.To, x.From = "", ""
		x.Derived = way&1 != 0
		if way&2 != 0 {
			x.Units = Optional[Quantity]{}
		}
		if way&4 != 0 {
			x.Unit = ""
		}
		if way&8 != 0 {
			x.Currency = ""
		}
		if x.ContentHash() == hash {
			return true
		}
	}
	return false
}

// Correct is what makes a message that stands at was cost c. A message that was
// refunded whole stays so: what is left of it is the new fee. One that was
// refunded in part keeps that refund, as far as the new price reaches. No amount
// and no fee: nothing changes. Which of both it was can't be told from the sums: a
// part may be all of a lower price, and all of a price of 0 is nothing.
func Correct(c Charge, was ChargedSoFar) Correction {
	net := was.Amount - was.Refunded
	want := c.Amount
	switch {
	case was.RefundedWhole:
		want = c.Fee
	case was.Refunded > 0:
		want = c.Amount - min(was.Refunded, c.Amount-c.Fee)
	}
	return Correction{Amount: want - net, Fee: c.Fee - was.Fee, Charge: c}
}
