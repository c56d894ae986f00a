package metering

import "time"

// Kind of a usage record.
type Kind string

// The kinds. KindAdjustment is never enqueued: meterd books it itself.
const (
	KindUsage      Kind = "usage"      // a message or a call: charged
	KindStatus     Kind = "status"     // what became of one: never charged
	KindRefund     Kind = "refund"     // gives back what one was charged, whole or in part
	KindAdjustment Kind = "adjustment" // corrects what one was charged
)

// Directions of a message.
const (
	Outbound = "outbound" // to the far end; what an empty direction means
	Inbound  = "inbound"  // from the far end
)

// Record is one usage record after defaults (docs/domain.md, Usage records).
// Strings may share memory with the line that they were decoded from.
type Record struct {
	ID        string // 1–128 bytes, the account's own: sent again under the same, it is charged once
	Kind      Kind   // empty: KindUsage
	AccountID string // the sub-account's or the parent's that sends
	Channel   string // an open list of words, as "sms": a price plan has a rule for it
	Direction string // empty: Outbound
	Status    string // what became of the message, as "sent"; any word is taken
	ErrorCode string // of a message that failed, as the operator tells it
	To, From  string // E.164 with or without plus, or another kind of address; prices select on the far end's
	Country   string // ISO 3166-1 alpha-2, as given or derived
	Derived   bool   // Country was derived, so it isn't part of the content
	Network   string // MCC-MNC digits
	Category  string // of a channel that prices by it, as "marketing"; empty: none
	// International: the far end's number, written without a plus, is an
	// international one all the same. Derived, so no part of the content.
	International bool

	Units Optional[Quantity] // absent: 1 of the matched rule's unit. Units(2), or Some of ParseQuantity
	Unit  string             // what Units counts, as "segment"; empty: the matched rule's

	Amount   Optional[Micros] // that the channel has rated it at, with Currency; absent: the account's plan does. Some of ParseMicros
	Currency string           // ISO 4217

	RefersTo   string    // ID of the message that a status or a refund is of
	OccurredAt time.Time // UTC, milliseconds; its month is the one that is charged
	Tags       []Tag     // sorted by key, unique

	// Unknown names fields that docs/domain.md, Usage records, doesn't define: kept out, reported.
	Unknown []string
}

// Tag is one pair of a record's tags: what a sum may be asked by.
type Tag struct {
	Key   string // at most 64 bytes
	Value string // at most 256
}

// Identity is what deduplication goes by: (account, kind, id), for a refund
// (account, refund, refers_to). The time is no part of it.
type Identity struct {
	AccountID string
	Kind      Kind
	ID        string
}

// FarEnd is the number that price rules select on: to, or from when inbound.
func (r *Record) FarEnd() string {
	if r.Direction == Inbound {
		return r.From
	}
	return r.To
}

// Identity of the record.
func (r *Record) Identity() Identity {
	id := r.ID
	if r.Kind == KindRefund {
		id = r.RefersTo
	}
	return Identity{r.AccountID, r.Kind, id}
}
