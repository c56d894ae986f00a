package metering

import "time"

// Bounds of the record protocol on which more than one room relies
// (docs/protocol.md, Bounds that rely on each other). Each says who keeps it;
// bounds_test.go holds them to each other.
const (
	// SendMax is how long after its charge was asked for a row may be sent to the
	// ledger; one that isn't sent by then never is (ledger.Writer). Longer: a busy
	// ledger sends fewer tasks back, and what follows a lost Redis waits longer.
	SendMax = time.Minute
	// InsertMax is how long an insert may take (ledger.Writer), and InsertEndMax how
	// much later ClickHouse itself ends it: clickhouse-go makes a deadline its
	// max_execution_time, in whole seconds and some more.
	InsertMax    = 5 * time.Minute
	InsertEndMax = 5 * time.Second
	// LandMax is the longest time after a charge in which its rows may land. What waits
	// until nothing of an older projection can land relies on it: the floor of dedup, the
	// closing of months, refunds and corrections.
	LandMax = SendMax + InsertMax + InsertEndMax
	// ClocksMax is how far the clocks of machines may be apart.
	ClocksMax = 4 * time.Minute
	// GiveUpAfter is when an answer without a task, that no attempt has asked for, is
	// given up: none of its rows is on its way then.
	GiveUpAfter = LandMax + ClocksMax
	// LookedMax is how long charge.lua believes what was looked up in the ledger. It is
	// within a generation of dedup: what was charged meanwhile stands in a set.
	LookedMax = time.Minute
	// DedupSpare is what two generations of dedup cover beyond the window: a look-up that is
	// believed, and a clock that jumps, stay within it.
	DedupSpare = time.Hour
	// ChangesMax is how long charge.lua knows which messages a refund or correction has
	// changed: who has read one before that reads it anew.
	ChangesMax = time.Hour
	// OpenMax is how many records of a partition may be charged and not yet stored
	// (charge.lua); then ingest stops and says so. More: more memory in Redis, and a
	// longer outage of the ledger in which limits go on biting.
	OpenMax = 5_000_000
	// RefKept is how long the projection knows a reference whose transfer's row is in the
	// ledger, and RefAsked how long it is asked: of older ones the ledger knows. Between the two
	// is more than a call may take from asking the ledger to making the transfer.
	RefKept  = 35 * 24 * time.Hour
	RefAsked = RefKept - 5*24*time.Hour
	// FutureMax is how far ahead of its clock a worker takes a record, and VersionLead how
	// far ahead a version of a plan begins at least: no record can have been rated by the
	// version before whose time is the new one's.
	FutureMax   = 5 * time.Minute
	VersionLead = FutureMax + time.Minute
)
