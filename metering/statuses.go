package metering

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// MessageStatus is one status of a message, its own first one (ID "") included.
type MessageStatus struct {
	At     time.Time
	Status string
	ID     string
}

// compare orders a message's statuses: the last is its latest (docs/domain.md,
// Statuses).
func (s MessageStatus) compare(t MessageStatus) int {
	return cmp.Or(s.At.Compare(t.At), StatusRank(s.Status)-StatusRank(t.Status), cmp.Compare(s.ID, t.ID))
}

// CopyStatus is the status record that a copy of a message stands for which knows a
// status that the message didn't come with (docs/domain.md, Identity: a copy is a
// duplicate, and its newer status counts); nil if it knows none. An older one counts
// too, and so does the message's own at another time: which of the copies came first
// is nothing that may decide whether and when a message is refunded. Copies that say
// the same make the same record. at, status: the message's own.
func CopyStatus(r *Record, at time.Time, status string) *Record {
	if r.Kind != KindUsage || r.Status == "" || r.Status == status && r.OccurredAt.UnixMilli() == at.UnixMilli() {
		return nil
	}
	sum := sha256.Sum256([]byte(r.ID + "\x00" + r.Status + "\x00" + r.ErrorCode + "\x00" + r.OccurredAt.UTC().Format(time.RFC3339Nano)))
	return &Record{
		ID: copyStatus + hex.EncodeToString(sum[:16]), Kind: KindStatus, AccountID: r.AccountID, RefersTo: r.ID,
		Status: r.Status, ErrorCode: r.ErrorCode, OccurredAt: r.OccurredAt,
	}
}

// copyStatus begins the id of a status that a copy of its message has told.
const copyStatus = "copy:"

// RefundDue tells whether a message with these statuses is refunded by now, and
// as of when: the first instant, RefundAfter behind a failing status, at which
// the latest status that had occurred was a failing one. Only event times decide,
// so that statuses may come in any order. later: such an instant may still be to
// come, at is the next. It sorts the list.
func (v *PlanVersion) RefundDue(list []MessageStatus, now time.Time) (at time.Time, due, later bool) {
	slices.SortFunc(list, MessageStatus.compare)
	latest := 0
	for i, s := range list {
		if !slices.Contains(v.RefundOn, s.Status) {
			continue
		}
		at = s.At.Add(v.RefundAfter)
		if at.After(now) {
			return at, false, true
		}
		for latest = max(latest, i); latest+1 < len(list) && !list[latest+1].At.After(at); latest++ {
		}
		if slices.Contains(v.RefundOn, list[latest].Status) {
			return at, true, false
		}
	}
	return time.Time{}, false, false
}

// autoRefund begins the id of an automatic refund.
const autoRefund = "auto:"

// AutoRefundID is the id of a message's automatic refund. It may be longer than
// the ids that channels give: DecodeRecord takes it all the same.
func AutoRefundID(message string) string { return autoRefund + message }

// automatic tells whether a record is an automatic refund, which meterd itself made.
func (r *Record) automatic() bool {
	return r.Kind == KindRefund && r.ID == AutoRefundID(r.RefersTo)
}
