package balance

import (
	"errors"
	"fmt"
	"strings"

	"github.com/meterd/meterd/metering"
)

// What a script refuses, for callers that branch. None of them has changed
// anything.
var (
	// ErrEmpty: the partition has no projection; a rebuild makes one.
	ErrEmpty = errors.New("redis holds no projection: it is made by `meterd up`, `meterd worker` or `meterd rebuild`")
	// ErrAnew: the projection is being made, and doesn't say yet how accounts are.
	ErrAnew = errors.New("the projection is being made anew: try again in a moment")
	// ErrReplid: Redis restarted, or isn't the one that answered before.
	ErrReplid = errors.New("redis restarted or failed over since the projection was made")
	// ErrLost: Redis has lost an account, so the projection is over.
	ErrLost = errors.New("redis has lost an account: the projection is made anew, try again")
	// ErrEpoch: the caller's projection epoch is over.
	ErrEpoch = errors.New("the projection epoch has changed")
	// ErrCatalog: the caller's snapshot is older than the applied accounts.
	ErrCatalog = errors.New("the snapshot of accounts is out of date")
	// ErrFull: too many answers are open; the store must catch up first.
	ErrFull = errors.New("too many charges wait for ClickHouse; ingest goes on when they are stored")
	// ErrClock: Redis's clock and this machine's are a month apart.
	ErrClock = errors.New("redis's clock is outside the months around this machine's: set the clocks")
	// ErrStale: a lookup took longer than it may be believed.
	ErrStale = errors.New("the lookup in ClickHouse is more than a minute old")
	// ErrRestart: a forced charge's identity has left its set.
	ErrRestart = errors.New("the identity is no longer in its dedup set")
	// ErrChanged: another refund or correction has changed a message since the
	// ledger told what it stands at, or that was too long ago to know.
	ErrChanged = errors.New("a message was refunded or corrected meanwhile")
	// ErrGone: the answer isn't held under this seq.
	ErrGone = errors.New("the answer is no longer held by this task")
	// ErrOpen: a copy of the task holds an open answer.
	ErrOpen = errors.New("a copy of the task is still open")
	// ErrMoved: a correction came between a snapshot and its heal.
	ErrMoved = errors.New("the projection was corrected meanwhile")
	// ErrReference: the reference was used for another transfer.
	ErrReference = errors.New("the reference was already used for another transfer; give another")
	// ErrRange: the balance would leave the range of 64 bits.
	ErrRange = errors.New("the balance would grow beyond what can be kept")
)

// PartitionsError says that the projection was made for another number of
// partitions: parents are elsewhere than a caller with this one looks.
type PartitionsError struct{ Made, Asked int }

// Error implements error.
func (e *PartitionsError) Error() string {
	return fmt.Sprintf("redis holds a projection of %d partitions, not of %d: give --partitions %d everywhere, or, to change the number,"+
		" let the queues drain, stop all workers and run `meterd rebuild --partitions %d`", e.Made, e.Asked, e.Made, e.Asked)
}

// LedgerError says that the projection was made from another ledger: what it knows
// as charged isn't in the one that a caller would store into. Both are named as
// DATABASE/ID.
type LedgerError struct {
	Made, Asked string
	Epoch       int64 // of the projection
}

// Error implements error.
func (e *LedgerError) Error() string {
	made, _, _ := strings.Cut(e.Made, "/")
	asked, _, _ := strings.Cut(e.Asked, "/")
	return fmt.Sprintf("redis holds the projection of ledger %s, not of %s: give --database %s, and --clickhouse of its server, everywhere;"+
		" or, if the ledger has another place for good, as one that was restored, stop all workers and run `meterd rebuild --database %s`", e.Made, e.Asked, made, asked)
}

// NotOurs tells whether an error says that a projection is another ledger's, or of
// another number of partitions: it isn't the caller's to use or to replace.
func NotOurs(err error) bool {
	_, ledger := errors.AsType[*LedgerError](err)
	_, number := errors.AsType[*PartitionsError](err)
	return ledger || number
}

// Over tells whether an error says that the projection that a caller has asked isn't in
// use any more: it must ask for the one that is (reconcile.Projector.Ensure).
func Over(err error) bool {
	return errors.Is(err, ErrEpoch) || errors.Is(err, ErrEmpty) || errors.Is(err, ErrReplid) || errors.Is(err, ErrLost)
}

// MissingError names accounts that the partition doesn't hold yet: push them
// and call again.
type MissingError struct{ Accounts []string }

// Error implements error.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%d accounts are not in the projection yet", len(e.Accounts))
}

// AgainError says that a forced charge must be judged by this seq, at which all
// of its identities stood in their sets.
type AgainError struct{ Seq int64 }

// Error implements error.
func (e *AgainError) Error() string { return "identities without a row must be judged again" }

// ColdError lists items whose identity must be looked up in the ledger.
type ColdError struct {
	Now     int64 // Redis's time, ms, to be handed back with the lookups
	Settled int64 // seq up to which all must have settled before the lookups
	Items   []int // indexes into Call.Items, ascending
}

// Error implements error.
func (e *ColdError) Error() string { return fmt.Sprintf("%d identities are cold", len(e.Items)) }

// OverflowError names the groups of a call that would take a sum out of its range.
type OverflowError struct{ Groups []int }

// Error implements error.
func (e *OverflowError) Error() string { return "a sum would overflow" }

// ShortError says that the purse holds less than the transfer needs.
type ShortError struct {
	Account string
	balance metering.Micros
}

// Error implements error. It names no amount: errors leak.
func (e *ShortError) Error() string {
	return fmt.Sprintf("%s has less available than that", e.Account)
}
