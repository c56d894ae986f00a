package metering

import (
	"slices"
	"time"
)

// Plan is a price plan: a list of versions, each effective from an instant
// (docs/domain.md, Price plans). Its JSON form is what the ledger keeps: lossless.
type Plan struct {
	ID       string        `json:"id"`
	Currency string        `json:"currency"`
	Versions []PlanVersion `json:"versions"` // by EffectiveFrom, numbered from 1 in that order
	Catalog  int64         `json:"catalog"`
}

// PlanVersion is immutable once in force.
type PlanVersion struct {
	EffectiveFrom time.Time     `json:"effective_from"`
	RefundOn      []string      `json:"refund_on"`       // statuses that are refunded automatically
	RefundAfter   time.Duration `json:"refund_after_ns"` // after the failing status
	Rules         []Rule        `json:"rules"`
}

// Version of a number, from 1; nil if this plan has none, or p is nil.
func (p *Plan) Version(n int) *PlanVersion {
	if p == nil || n < 1 || n > len(p.Versions) {
		return nil
	}
	return &p.Versions[n-1]
}

// Rule of a version, both from 1; nil if this plan has none, or p is nil: what came rated
// has neither.
func (p *Plan) Rule(version, rule int) *Rule {
	v := p.Version(version)
	if v == nil || rule < 1 || rule > len(v.Rules) {
		return nil
	}
	return &v.Rules[rule-1]
}

// Rule prices the records that it selects. Empty selectors match everything.
type Rule struct {
	Channel   string `json:"channel,omitempty"`
	Direction string `json:"direction,omitempty"`
	Country   string `json:"country,omitempty"`
	Network   string `json:"network,omitempty"` // MCC-MNC digits
	Prefix    string `json:"prefix,omitempty"`  // E.164 digits without the plus
	Category  string `json:"category,omitempty"`

	Unit      string   `json:"unit"`
	Price     int64    `json:"price_e8"`          // 1e-8 of the currency per unit
	Increment [2]int64 `json:"increment_seconds"` // first/next; zero: none
	Minimum   Micros   `json:"minimum_micros"`
	Fee       Micros   `json:"fee_micros"` // per message, not refunded
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

// channels that some version has a rule for, sorted; nil: all.
func (p *Plan) channels() []string {
	out := []string{}
	for i := range p.Versions {
		for j := range p.Versions[i].Rules {
			c := p.Versions[i].Rules[j].Channel
			if c == "" {
				return nil
			}
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// prefixed tells whether a rule selects by the number's leading digits.
func (p *Plan) prefixed() bool {
	return slices.ContainsFunc(p.Versions, func(v PlanVersion) bool {
		return slices.ContainsFunc(v.Rules, func(r Rule) bool { return r.Prefix != "" })
	})
}
