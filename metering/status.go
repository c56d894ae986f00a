package metering

import (
	"slices"
	"strings"
)

// knownStatus is a delivery status that meterd knows. Channels may use others:
// those rank below all, count as failing, and aren't told to everyone.
type knownStatus struct {
	word string
	rank int  // among statuses of one instant the higher is the later; 0: below all
	fine bool // never a reason for a refund
}

// knownStatuses is the one list of them, in the order in which they are shown.
// Each may be told to anyone.
var knownStatuses = []knownStatus{ //nolint:gochecknoglobals // a constant table
	{"delivered", 6, true},
	{"read", 7, true},
	{"opened", 0, false},
	{"received", 0, true},
	{"sent", 3, true},
	{"queued", 2, true},
	{"accepted", 1, true},
	{"undelivered", 4, false},
	{"failed", 5, false},
	{"bounced", 0, false},
	{"canceled", 0, false},
	{"expired", 0, false},
	{"rejected", 0, false},
	{"scheduled", 0, false},
	{"sending", 0, false},
	{"buffered", 0, false},
	{"deleted", 0, false},
	{"answered", 0, false},
	{"completed", 0, false},
	{"busy", 0, false},
	{"no_answer", 0, false},
}

// RankedStatuses are the statuses that have a rank, the lowest first: a status's
// place among them, from 1, is its rank, 0 that of any other.
func RankedStatuses() []string {
	var out []string
	for _, s := range knownStatuses {
		if s.rank > 0 {
			out = append(out, s.word)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return StatusRank(a) - StatusRank(b) })
	return out
}

// StatusRank orders a message's statuses of one instant.
func StatusRank(status string) int {
	if i := StatusOrder(status); i < len(knownStatuses) {
		return knownStatuses[i].rank
	}
	return 0
}

// FineStatuses are those that are never a reason to look whether a message is
// refunded; none at all is one of them.
func FineStatuses() []string {
	out := []string{""}
	for _, s := range knownStatuses {
		if s.fine {
			out = append(out, s.word)
		}
	}
	return out
}

// What is shown instead of a status that isn't told as it came.
const (
	StatusUnknown    = "unknown"     // none was reported
	StatusNotAllowed = "not_allowed" // it tells of credit
	StatusOther      = "other"       // meterd doesn't know it
)

// PublicStatus is what a reader without sight of money is told of a status, in
// every output: a known one, not_allowed for what tells of credit, other for the
// rest. Platforms put rates and reasons into their statuses.
func PublicStatus(status string) string {
	s := plainWord(status)
	switch {
	case s == "":
		return StatusUnknown
	case StatusOrder(s) < len(knownStatuses):
		return s
	case tellsOfCredit(s):
		return StatusNotAllowed
	}
	return StatusOther
}

// StatusOrder is the place of a public status among those that are shown.
func StatusOrder(public string) int {
	for i, s := range knownStatuses {
		if s.word == public {
			return i
		}
	}
	return len(knownStatuses)
}

// PublicErrorCode is what a reader without sight of money is told of an error's
// code: names of failures of delivery as platforms write them and the numbers of
// Twilio's for the same, not_allowed for what tells of credit, other for the rest.
func PublicErrorCode(code string) string {
	s := plainWord(code)
	switch s {
	case "":
		return ""
	case "absent_sub", "absent_subscriber", "unknown_subscriber", "inv_number", "invalid_number", "landline", "opt_out", "dnd", "dnd_numb",
		"net_err", "network_error", "handset_error", "handset_unreachable", "unreachable", "memory_full", "spam", "blocked", "barred",
		"blacklisted", "expired", "timeout", "undeliverable", "unroutable", "rejected", "busy", "no_answer", "template_mismatch",
		"carrier_violation", "bounced", "mailbox_full",
		"30003", "30004", "30005", "30006", "30007", "30008":
		return s
	}
	if tellsOfCredit(s) {
		return StatusNotAllowed
	}
	return StatusOther
}

func plainWord(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// tellsOfCredit finds words of money in a status or an error's code.
func tellsOfCredit(s string) bool {
	return slices.ContainsFunc([]string{
		"credit", "balance", "fund", "budget", "limit", "quota", "wallet", "ceiling", "price", "rate", "cost", "fee",
		"bill", "charge", "pay", "paid", "money", "amount", "allow", "suspend",
	}, func(w string) bool { return strings.Contains(s, w) })
}
