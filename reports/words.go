package reports

import (
	"strings"

	"github.com/meterd/meterd/metering"
)

// Words for people where programs have code words: a report's page, sheet and mail say
// these, its JSON and CSV the code.

// kindWord names a kind of transfer, or what isn't one in a wallet's statement.
func kindWord(kind string, invoiced bool) string {
	switch metering.TransferKind(kind) {
	case metering.TransferTopup:
		return "Paid in"
	case metering.TransferAllocate:
		return "Allocated"
	case metering.TransferReclaim:
		return "Taken back"
	case metering.TransferAdjust:
		if invoiced {
			return "Adjusted, invoiced"
		}
		return "Adjusted"
	case metering.TransferSweep:
		return "Left over, taken back"
	case metering.TransferClose:
		return "Account closed, taken back"
	}
	switch kind {
	case lineCharges:
		return "Charges"
	case lineAdjustments:
		return "Late and corrections"
	}
	return kind
}

// otherWord names the other side of a movement, seen from a purse.
func otherWord(purse, other string) string {
	switch {
	case other == "":
		return ""
	case purse == string(metering.PurseWallet):
		return "budget of " + other
	}
	return "wallet of " + other
}

// reasonWords are why an account is suspended.
func reasonWords(reasons []string) string {
	words := make([]string, len(reasons))
	for i, r := range reasons {
		switch r {
		case metering.ReasonBudgetExhausted:
			words[i] = "budget used up"
		case metering.ReasonWalletExhausted:
			words[i] = "wallet used up"
		case metering.ReasonCreditCeiling:
			words[i] = "credit limit reached"
		case metering.ReasonMonthlyLimit:
			words[i] = "monthly limit reached"
		case metering.ReasonManual:
			words[i] = "by hand"
		case metering.ReasonParentFunds:
			words[i] = "funds of the parent"
		default:
			words[i] = spaced(r)
		}
	}
	return strings.Join(words, ", ")
}

// limitWord names what an alert is of.
func limitWord(limit string) string {
	if limit == string(metering.PurseCredit) {
		return "credit limit"
	}
	return spaced(limit)
}

// refusalWord is why a record isn't charged.
func refusalWord(reason string) string {
	switch metering.Reason(reason) {
	case metering.ReasonNoPrice:
		return "no price"
	case metering.ReasonFromFuture:
		return "dated in the future"
	case metering.ReasonConflict:
		return "an id with other content"
	case metering.ReasonUnknownMessage:
		return "refund of an unknown message"
	case metering.ReasonOverRefund:
		return "refund above the charge"
	case metering.ReasonOverflow:
		return "too large"
	case metering.ReasonMalformed, metering.ReasonUnknownAccount, metering.ReasonAccountClosed, metering.ReasonChannelNotEnabled,
		metering.ReasonCurrencyMismatch, metering.ReasonUnitMismatch, metering.ReasonTooOld:
	}
	return spaced(reason)
}

func spaced(code string) string { return strings.ReplaceAll(code, "_", " ") }
