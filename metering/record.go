package metering

import "time"

// Kind of a usage record.
type Kind string

// The kinds. KindAdjustment is never enqueued: meterd books it itself.
const (
	KindUsage      Kind = "usage"
	KindStatus     Kind = "status"
	KindRefund     Kind = "refund"
	KindAdjustment Kind = "adjustment"
)

// Directions of a message.
const (
	Outbound = "outbound"
	Inbound  = "inbound"
)

// Record is one usage record after defaults (docs/domain.md, Usage records).
// Strings may share memory with the line that they were decoded from.
type Record struct {
	ID        string // 1–128 bytes
	Kind      Kind
	AccountID string
	Channel   string
	Direction string
	Status    string
	ErrorCode string
	To, From  string
	Country   string // ISO 3166-1 alpha-2, as given or derived
	Derived   bool   // Country was derived, so it isn't part of the content
	Network   string // MCC-MNC digits
	Category  string
	// International: the far end's number, written without a plus, is an
	// international one all the same. Derived, so no part of the content.
	International bool

	Units Optional[Quantity] // absent: 1 of the matched rule's unit. Units(2), or Some of ParseQuantity
	Unit  string             // what Units counts, as "segment"; empty: the matched rule's

	Amount   Optional[Micros] // that the channel has rated it at, with Currency; absent: the account's plan does. Some of ParseMicros
	Currency string           // ISO 4217

	RefersTo   string
	OccurredAt time.Time // UTC, milliseconds
	Tags       []Tag     // sorted by key, unique

	// Unknown names fields that docs/domain.md, Usage records, doesn't define: kept out, reported.
	Unknown []string
}

// Tag is one pair of a record's tags.
type Tag struct{ Key, Value string }

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
