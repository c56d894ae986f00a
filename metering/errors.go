package metering

import "errors"

// Errors that callers branch on.
var (
	// ErrAmount: not a plain decimal with at most six decimals.
	ErrAmount = errors.New("not a decimal amount with at most six decimals after a point, such as 10.50")
	// ErrOverflow: the amount or a sum with it is too large to be kept.
	ErrOverflow = errors.New("amount too large")
	// ErrUnknownAccount: the id isn't an account that the asker may see. A
	// sibling's, a parent's and a non-existent id all give this.
	ErrUnknownAccount = errors.New("unknown account")
	// ErrNumbersBlanked: a stored message can't be rated anew by its number.
	ErrNumbersBlanked = errors.New("the plan prices by number prefix, and numbers of that time are blanked, being past their retention; " +
		"rate by a plan without prefixes for these channels, or messages whose numbers are kept")
	// ErrNotVisible: the account exists for the asker, the question isn't for it.
	ErrNotVisible = errors.New("not available to this account")
)

// Reason says why a record was quarantined (docs/domain.md, Quarantine), in the
// order in which they are judged.
type Reason string

// The quarantine reasons.
const (
	ReasonMalformed         Reason = "malformed"
	ReasonUnknownAccount    Reason = "unknown_account"
	ReasonAccountClosed     Reason = "account_closed"
	ReasonFromFuture        Reason = "from_future"
	ReasonChannelNotEnabled Reason = "channel_not_enabled"
	ReasonCurrencyMismatch  Reason = "currency_mismatch"
	ReasonNoPrice           Reason = "no_price"
	ReasonUnitMismatch      Reason = "unit_mismatch"
	ReasonConflict          Reason = "conflict"
	ReasonUnknownMessage    Reason = "unknown_message"
	ReasonOverRefund        Reason = "over_refund"
	ReasonOverflow          Reason = "overflow"
	ReasonTooOld            Reason = "too_old"
)

// Reasons are all of them.
func Reasons() []Reason {
	return []Reason{
		ReasonMalformed, ReasonUnknownAccount, ReasonAccountClosed, ReasonFromFuture, ReasonChannelNotEnabled, ReasonCurrencyMismatch, ReasonNoPrice,
		ReasonUnitMismatch, ReasonConflict, ReasonUnknownMessage, ReasonOverRefund, ReasonOverflow, ReasonTooOld,
	}
}

// Refusal is why a record can't be charged, and how to mend it. It is the
// error of DecodeRecord and Rate. Detail never holds amounts, numbers or text
// of the record.
type Refusal struct { //nolint:errname // it is an answer first, and an error only where one is asked for
	Reason Reason
	Detail string
}

// Error implements error.
func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

func refuse(reason Reason, detail string) *Refusal { return &Refusal{Reason: reason, Detail: detail} }
