package metering

import (
	"strings"
	"time"
)

// StartOfDay is the first instant of a local day, in UTC.
func StartOfDay(year int, month time.Month, day int, loc *time.Location) time.Time {
	return startOfDay(year, month, day, loc)
}

// Statuses that a reseller sub-account isn't told as they came.
const (
	// StatusNotAllowed stands for whatever tells of credit.
	StatusNotAllowed = "not_allowed"
	// StatusOther stands for statuses outside the known ones.
	StatusOther = "other"
)

// ActivityStatus is a delivery status as a reseller sub-account may see it: the
// known ones as they are, what tells of credit as not_allowed, the rest as
// other (DOMAIN.md, Who sees what).
func ActivityStatus(status string) string {
	switch status {
	case "", "accepted", "queued", "sent", "delivered", "undelivered", "failed", "read", "received",
		"answered", "completed", "busy", "no_answer", "canceled", "expired", "rejected", "bounced", "opened":
		return status
	}
	s := strings.ToLower(status)
	for _, word := range []string{
		"credit", "fund", "balance", "budget", "wallet", "limit", "suspend", "quota", "pay", "bill", "price", "allow", "money",
	} {
		if strings.Contains(s, word) {
			return StatusNotAllowed
		}
	}
	return StatusOther
}
