package metering

// Standing is what a message was charged, net of what corrections did to it,
// and what of that was given back.
type Standing struct {
	Amount, Fee Micros // with the corrections booked so far
	Refunded    Micros
}

// Correction is what a re-rating books for one message: an adjustment (DOMAIN.md,
// Price plans).
type Correction struct {
	Amount Micros // signed, to be added to what the message is charged
	Fee    Micros // of it, that a refund doesn't give back
	Charge Charge // what the message comes to by the plan
}

// Rerate rates a stored message by another plan, at its own occurred_at. r's
// amount is left aside.
func Rerate(s *Snapshot, plan *Plan, r *Record, was Standing) (Correction, *Refusal) {
	c, ref := rateBy(s, plan, r)
	if ref != nil {
		return Correction{}, ref
	}
	return Correct(c, was), nil
}

// Correct is what makes a message that stands at was cost c. A message that was
// refunded whole stays so: what is left of it is the new fee. One that was
// refunded in part keeps that refund, as far as the new price reaches. No amount
// and no fee: nothing changes.
func Correct(c Charge, was Standing) Correction {
	net := was.Amount - was.Refunded
	want := c.Amount
	switch {
	case was.Refunded > 0 && net == was.Fee:
		want = c.Fee
	case was.Refunded > 0:
		want = c.Amount - min(was.Refunded, c.Amount-c.Fee)
	}
	return Correction{Amount: want - net, Fee: c.Fee - was.Fee, Charge: c}
}
