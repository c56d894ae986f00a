package metering

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FieldError says which field is wrong and what to do.
type FieldError struct{ Field, Detail string }

// Error implements error.
func (e *FieldError) Error() string { return e.Field + ": " + e.Detail }

// Bounds of a plan. An increment or a refund's delay longer than these is a
// mistake.
const (
	incrementMax   = 86_400 // seconds
	refundAfterMax = 90 * 24 * time.Hour
)

// Validate judges a plan by itself: every version's rules, and that versions
// rise. The error wraps a *FieldError and names version and rule.
func (p *Plan) Validate() error {
	switch {
	case !ValidID(p.ID):
		return &FieldError{"id", "give 1 to 64 of A-Z a-z 0-9 . _ -"}
	case !KnownCurrency(p.Currency):
		return &FieldError{"currency", "give an ISO 4217 code such as EUR"}
	case len(p.Versions) == 0:
		return &FieldError{"versions", "give at least one"}
	}
	for i := range p.Versions {
		v := &p.Versions[i]
		if i > 0 && !v.EffectiveFrom.After(p.Versions[i-1].EffectiveFrom) {
			return fmt.Errorf("version %d: %w", i+1, &FieldError{"effective_from", "must be after the version's before"})
		}
		if err := v.Validate(); err != nil {
			return fmt.Errorf("version %d: %w", i+1, err)
		}
	}
	return nil
}

// Validate judges a version by itself.
func (v *PlanVersion) Validate() error {
	switch {
	case v.EffectiveFrom.IsZero():
		return &FieldError{"effective_from", "give an RFC 3339 time with its offset"}
	case v.RefundAfter < 0 || v.RefundAfter > refundAfterMax:
		return &FieldError{"refund_after", "give a duration from 0s to 2160h, such as 10m"}
	case v.RefundAfter > 0 && len(v.RefundOn) == 0:
		return &FieldError{"refund_after", "has no effect without refund_on; name the statuses, or leave it out"}
	case len(v.Rules) == 0:
		return &FieldError{"rules", "give at least one"}
	}
	for _, s := range v.RefundOn {
		if !ValidWord(s) {
			return &FieldError{"refund_on", "give statuses such as failed, in lower case"}
		}
		if slices.Contains(FineStatuses(), s) {
			return &FieldError{"refund_on", "give statuses of messages that failed: " + s + " is none"}
		}
	}
	for i := range v.Rules {
		if err := v.Rules[i].Validate(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	if i, j, ok := AmbiguousPair(v.Rules); ok {
		return fmt.Errorf("rules %d and %d: %w", i+1, j+1,
			&FieldError{"rules", "equally specific for the same record; make one more specific or drop it"})
	}
	return nil
}

// Validate judges a rule by itself. The error is a *FieldError.
func (p *Rule) Validate() error {
	word := func(s string) bool { return s == "" || ValidWord(s) }
	timed := p.Unit == unitSecond || p.Unit == unitMinute
	switch {
	case !word(p.Channel):
		return &FieldError{"channel", "give a lower-case word such as sms"}
	case p.Direction != "" && p.Direction != Outbound && p.Direction != Inbound:
		return &FieldError{"direction", "give outbound or inbound, or leave it out"}
	case p.Country != "" && (len(p.Country) != 2 || !upperLetters(p.Country)):
		return &FieldError{"country", "give two upper-case letters (ISO 3166-1)"}
	case p.Network != "" && (len(p.Network) < 5 || len(p.Network) > 6 || !digits(p.Network)):
		return &FieldError{"network", "give MCC and MNC as 5 or 6 digits"}
	case len(p.Prefix) > prefixMax || !digits(p.Prefix):
		return &FieldError{"prefix", "give 1 to 15 digits of an E.164 number"}
	case !word(p.Category):
		return &FieldError{"category", "give a lower-case word such as marketing"}
	case !ValidWord(p.Unit):
		return &FieldError{"unit", "give segment, message, second, minute, recipient or another lower-case word"}
	case p.Price < 0:
		return &FieldError{"price", "give a decimal of 0 or more with at most eight decimals"}
	case p.Minimum < 0 || p.Minimum > MicrosMax:
		return &FieldError{"minimum", "give a decimal of 0 or more with at most six decimals"}
	case p.Fee < 0 || p.Fee > MicrosMax:
		return &FieldError{"fee", "give a decimal of 0 or more with at most six decimals"}
	case p.Increment == [2]int64{}:
		return nil
	case !timed:
		return &FieldError{"increment", "is for unit second or minute; leave it out"}
	case p.Increment[0] < 1 || p.Increment[0] > incrementMax || p.Increment[1] < 1 || p.Increment[1] > incrementMax:
		return &FieldError{"increment", "give first/next seconds from 1 to 86400, such as 60/60 or 30/6"}
	}
	return nil
}

// ParseIncrement reads first/next seconds such as 60/60. false if it is
// something else; Rule.Validate has the bounds.
func ParseIncrement(s string) ([2]int64, bool) {
	a, b, ok := strings.Cut(s, "/")
	if !ok || !digits(a) || !digits(b) {
		return [2]int64{}, false
	}
	first, err1 := strconv.ParseInt(a, 10, 32)
	next, err2 := strconv.ParseInt(b, 10, 32)
	if err1 != nil || err2 != nil || first == 0 {
		return [2]int64{}, false
	}
	return [2]int64{first, next}, true
}
