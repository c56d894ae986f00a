package reports

import "strings"

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
	for _, w := range creditWords {
		if strings.Contains(s, w) {
			return OutcomeNotAllowed
		}
	}
	return OutcomeOther
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
