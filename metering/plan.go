package metering

import "time"

// Plan is a price plan: a list of versions, each effective from an instant
// (DOMAIN.md, Price plans).
type Plan struct {
	ID       string
	Currency string
	Versions []PlanVersion // by EffectiveFrom, numbered from 1 in that order
	Catalog  int64
}

// PlanVersion is immutable once in force.
type PlanVersion struct {
	EffectiveFrom time.Time
	RefundOn      []string      // statuses that are refunded automatically
	RefundAfter   time.Duration // after the failing status
	Rules         []Rule
}

// Rule prices the records that it selects. Empty selectors match everything.
type Rule struct {
	Channel   string
	Direction string
	Country   string
	Network   string
	Prefix    string
	Category  string

	Unit      string
	Price     int64    // 1e-8 of the currency per unit
	Increment [2]int64 // first/next seconds; zero: none
	Minimum   Micros
	Fee       Micros // per message, not refunded
}

// Charge is what a usage record costs, with what it takes to work it out again.
type Charge struct {
	Amount  Micros // with the fee
	Fee     Micros
	Units   Quantity // as reported, or the default of 1
	Unit    string   // of Units
	Billed  Quantity // after increments, in the rule's unit, rounded half to even
	Plan    string   // empty for a record that came with its amount
	Version int      // from 1
	Rule    int      // from 1, in the version's order
}
