package metering

import (
	"errors"
	"fmt"
	"time"
)

// TransferKind is what a transfer is for.
type TransferKind string

// The kinds. Sweep and close are meterd's own: what is left in the budget of a
// sub-account that leaves allocated, or closes, goes to its parent.
const (
	TransferTopup    TransferKind = "topup"
	TransferAllocate TransferKind = "allocate"
	TransferReclaim  TransferKind = "reclaim"
	TransferAdjust   TransferKind = "adjust"
	TransferSweep    TransferKind = "sweep"
	TransferClose    TransferKind = "close"
)

// Bounds of a transfer's text, in bytes.
const (
	refMax    = 128
	reasonMax = 1024
)

// Transfer is one movement of money (docs/domain.md, Funding), once per Ref.
type Transfer struct {
	Ref       string       `json:"ref"` // idempotency reference, 1–128 printable ASCII bytes
	Kind      TransferKind `json:"kind"`
	ParentID  string       `json:"parent_id"`
	AccountID string       `json:"account_id"`    // the parent for a top-up, else whose purse it is about
	Amount    Micros       `json:"amount_micros"` // not 0; below 0 only to adjust, sweep and close
	Currency  string       `json:"currency"`
	Reason    string       `json:"reason"`             // required to adjust
	Actor     string       `json:"actor"`              // operator, or the parent's id
	Invoiced  bool         `json:"invoiced,omitempty"` // an adjustment's: it is on an invoice; what is paid in always is
	At        time.Time    `json:"at"`
}

// TransferLine is one side of a transfer. External has no account.
type TransferLine struct {
	AccountID string `json:"account_id"`
	Purse     Purse  `json:"purse"`
	Amount    Micros `json:"amount_micros"`
}

// Errors of a transfer that is wrong in itself.
var (
	ErrTransferRef      = errors.New("reference: give 1 to 128 printable ASCII characters")
	ErrTransferAmount   = errors.New("amount: give a decimal above 0 with at most six decimals")
	ErrTransferZero     = errors.New("amount: 0 moves nothing; give another")
	ErrTransferAccount  = errors.New("account: a top-up goes to a parent; an allocation, a reclaim, a sweep and a closing are of a sub-account")
	ErrTransferCurrency = errors.New("currency: not an ISO 4217 code")
	ErrTransferReason   = errors.New("reason: give one, of at most 1024 bytes, with an adjustment")
	ErrTransferInvoiced = errors.New("invoiced: only an adjustment may say so; a top-up always is, and nothing else concerns an invoice")
	ErrTransferActor    = errors.New("actor: say who acts, operator or the parent's id")
)

// Validate judges the transfer by itself, not against any account. The errors
// are the ones above, ErrOverflow for an amount that is too large.
func (t *Transfer) Validate() error {
	signed := false
	ofSub := t.AccountID != t.ParentID
	wrong := false
	switch t.Kind {
	case TransferTopup:
		wrong = ofSub
	case TransferAllocate, TransferReclaim:
		wrong = !ofSub
	case TransferSweep, TransferClose:
		wrong, signed = !ofSub, true
	case TransferAdjust:
		signed = true
	default:
		return fmt.Errorf("kind: %q isn't a kind of transfer", t.Kind)
	}
	switch {
	case !printable(t.Ref, refMax):
		return ErrTransferRef
	case wrong || !ValidID(t.AccountID) || !ValidID(t.ParentID):
		return ErrTransferAccount
	case t.Amount == 0:
		return ErrTransferZero
	case t.Amount < 0 && !signed:
		return ErrTransferAmount
	case t.Amount > MicrosMax || t.Amount < -MicrosMax:
		return ErrOverflow
	case !KnownCurrency(t.Currency):
		return ErrTransferCurrency
	case len(t.Reason) > reasonMax || t.Kind == TransferAdjust && t.Reason == "":
		return ErrTransferReason
	case t.Invoiced && t.Kind != TransferAdjust:
		return ErrTransferInvoiced
	case t.Actor == "":
		return ErrTransferActor
	}
	return nil
}

// printable tells whether s is 1 to limit bytes of printable ASCII.
func printable(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// ContentHash tells whether a reference comes again with the same content:
// kind, account, amount, currency, reason and whether it is invoiced; not who acts
// and when.
func (t *Transfer) ContentHash() uint64 {
	b := append(make([]byte, 0, 256), 1) // version of this form
	b = appendPart(b, string(t.Kind))
	b = appendPart(b, t.AccountID)
	b = appendOptional(b, Some(t.Amount))
	b = appendPart(b, t.Currency)
	b = appendPart(b, t.Reason)
	if t.Invoiced { // nothing else, so that others have the hash that they always had
		b = append(b, 1)
	}
	return digest(b)
}

// Lines are the two sides of the transfer; they sum to zero. An adjustment is
// of a parent's wallet or a sub-account's budget: only accounts that have one
// can be adjusted, which is for the caller to check.
func (t *Transfer) Lines() []TransferLine {
	wallet, budget := TransferLine{t.ParentID, PurseWallet, t.Amount}, TransferLine{t.AccountID, PurseBudget, t.Amount}
	external := TransferLine{"", PurseExternal, -t.Amount}
	switch t.Kind {
	case TransferTopup:
		return []TransferLine{external, wallet}
	case TransferAllocate:
		wallet.Amount = -t.Amount
		return []TransferLine{wallet, budget}
	case TransferReclaim, TransferSweep, TransferClose:
		budget.Amount = -t.Amount
		return []TransferLine{budget, wallet}
	case TransferAdjust:
		if t.AccountID != t.ParentID {
			return []TransferLine{external, budget}
		}
		return []TransferLine{external, wallet}
	}
	return nil
}
