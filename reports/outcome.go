package reports

import (
	"slices"
	"strings"
)

// Outcomes that aren't a status.
const (
	OutcomeUnknown    = "unknown"     // no status was reported
	OutcomeNotAllowed = "not_allowed" // a status that tells of credit
	OutcomeOther      = "other"
)

// knownOutcomes may be told to anyone, in the order in which they are shown.
var knownOutcomes = []string{ //nolint:gochecknoglobals // a constant table
	"delivered", "read", "received", "sent", "queued", "accepted", "undelivered", "failed",
	"canceled", "expired", "rejected", "scheduled", "sending", "buffered", "deleted", "answered", "completed", "busy", "no_answer",
}

// creditWords tell of money in a status or an error code.
var creditWords = []string{ //nolint:gochecknoglobals // a constant table
	"credit", "balance", "fund", "budget", "limit", "quota", "wallet", "ceiling", "price", "rate", "cost", "fee",
	"bill", "charge", "pay", "paid", "money", "amount", "not_allowed", "notallowed", "suspend",
}

// Outcome is what a reader without sight of money is told of a status: one of
// an allow-list, not_allowed for what tells of credit, other for the rest.
// Platforms put rates and reasons into their statuses.
func Outcome(status string) string {
	s := strings.ReplaceAll(strings.ToLower(status), "-", "_")
	if s == "" {
		return OutcomeUnknown
	}
	for _, k := range knownOutcomes {
		if s == k {
			return k
		}
	}
	if tellsOfCredit(s) {
		return OutcomeNotAllowed
	}
	return OutcomeOther
}

// knownErrors are codes of errors that tell how a delivery failed and nothing
// else: names as platforms write them, and the numbers of Twilio's for the same.
var knownErrors = []string{ //nolint:gochecknoglobals // a constant table
	"absent_sub", "absent_subscriber", "unknown_subscriber", "inv_number", "invalid_number", "landline", "opt_out", "dnd", "dnd_numb",
	"net_err", "network_error", "handset_error", "handset_unreachable", "unreachable", "memory_full", "spam", "blocked", "barred",
	"blacklisted", "expired", "timeout", "undeliverable", "unroutable", "rejected", "busy", "no_answer", "template_mismatch",
	"carrier_violation", "bounced", "mailbox_full",
	"30003", "30004", "30005", "30006", "30007", "30008",
}

// ErrorWord is what a reader without sight of money is told of an error's code:
// one of an allow-list, not_allowed for what tells of credit, other for the rest.
func ErrorWord(code string) string {
	s := strings.ReplaceAll(strings.ToLower(code), "-", "_")
	switch {
	case s == "":
		return ""
	case slices.Contains(knownErrors, s):
		return s
	case tellsOfCredit(s):
		return OutcomeNotAllowed
	}
	return OutcomeOther
}

func tellsOfCredit(s string) bool {
	return slices.ContainsFunc(creditWords, func(w string) bool { return strings.Contains(s, w) })
}

// outcomeRank orders outcomes as they are shown.
func outcomeRank(o string) int {
	for i, k := range knownOutcomes {
		if o == k {
			return i
		}
	}
	return len(knownOutcomes)
}
