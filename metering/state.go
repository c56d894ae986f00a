package metering

// Flags are the reasons for which an account is suspended, as bits. They are
// live values in Redis; the Lua scripts use the same numbers.
type Flags uint16

// The flags. Manual ones are kept by who set them: a parent can't lift what
// the operator imposed.
const (
	FlagBudget         Flags = 1 << iota // budget_exhausted
	FlagWallet                           // wallet_exhausted
	FlagCeiling                          // credit_ceiling
	FlagMonthly                          // monthly_limit
	FlagManualOperator                   // manual
	FlagManualParent                     // manual
)

// FlagsMonthly are those that end with their period.
const FlagsMonthly = FlagCeiling | FlagMonthly

// Suspension reasons as they are shown.
const (
	ReasonBudgetExhausted = "budget_exhausted"
	ReasonWalletExhausted = "wallet_exhausted"
	ReasonCreditCeiling   = "credit_ceiling"
	ReasonMonthlyLimit    = "monthly_limit"
	ReasonManual          = "manual"
	// ReasonParentFunds is what an enterprise sub-account sees of its parent's
	// wallet or ceiling.
	ReasonParentFunds = "parent_funds"
)

// Automatic are those that a limit or a balance sets, and lifts by itself.
func (f Flags) Automatic() Flags { return f &^ (FlagManualOperator | FlagManualParent) }

// Each of the flags by itself, the lowest first.
func (f Flags) Each() []Flags {
	var out []Flags
	for bit := FlagBudget; bit <= FlagManualParent; bit <<= 1 {
		if f&bit != 0 {
			out = append(out, bit)
		}
	}
	return out
}

// Reasons in their fixed order.
func (f Flags) Reasons() []string {
	out := []string{}
	for _, r := range []struct {
		flags  Flags
		reason string
	}{
		{FlagBudget, ReasonBudgetExhausted},
		{FlagWallet, ReasonWalletExhausted},
		{FlagCeiling, ReasonCreditCeiling},
		{FlagMonthly, ReasonMonthlyLimit},
		{FlagManualOperator | FlagManualParent, ReasonManual},
	} {
		if f&r.flags != 0 {
			out = append(out, r.reason)
		}
	}
	return out
}

// Inherited is what of a parent's flags suspends a sub-account that draws on
// source (docs/domain.md, Funding).
func (f Flags) Inherited(source Source) Flags {
	f &= FlagWallet | FlagCeiling | FlagManualOperator | FlagManualParent
	if source != SourceShared {
		f &^= FlagWallet
	}
	return f
}

// State of an account as it is shown.
type State string

// The states.
const (
	StateActive    State = "active"
	StateSuspended State = "suspended"
	StateClosed    State = "closed"
)
