package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

// StateRow is one change of an account's own flags.
type StateRow struct {
	AccountID, ParentID string
	Epoch               int64
	Flags               metering.Flags
	HeldBack            metering.Flags // that hold without effect; written, never read here
	Cause, Period       string
	Actor, Note         string
	At                  time.Time
}

func statesTable() *table[StateRow] {
	return &table[StateRow]{"states", []column[StateRow]{
		col("account_id", func(s *StateRow) string { return s.AccountID }),
		col("epoch", func(s *StateRow) uint64 { return uint64(s.Epoch) }),
		col("parent_id", func(s *StateRow) string { return s.ParentID }),
		col("flags", func(s *StateRow) uint16 { return uint16(s.Flags) }),
		col("held_back", func(s *StateRow) uint16 { return uint16(s.HeldBack) }),
		col("cause", func(s *StateRow) string { return s.Cause }),
		col("period", func(s *StateRow) string { return s.Period }),
		col("actor", func(s *StateRow) string { return s.Actor }),
		col("note", func(s *StateRow) string { return s.Note }),
		col("occurred_at", func(s *StateRow) time.Time { return s.At }),
	}}
}

// InsertStates stores changes of state; the same (account, epoch) is the same change.
func (l *Ledger) InsertStates(ctx context.Context, list []StateRow) error {
	return statesTable().insert(ctx, l, list)
}

// LatestFlags are the newest flags of parents' accounts, with their epoch.
func (l *Ledger) LatestFlags(ctx context.Context, parents []string) (map[string]StateRow, error) {
	out := map[string]StateRow{}
	err := l.each(ctx, "states_latest", map[string]string{"parents": array(parents)}, func(r driver.Rows) error {
		var id string
		var flags uint16
		var epoch uint64
		err := r.Scan(&id, &flags, &epoch)
		out[id] = StateRow{AccountID: id, Flags: metering.Flags(flags), Epoch: int64(epoch)}
		return err
	})
	return out, err
}

// States of accounts within [from, to), oldest first.
func (l *Ledger) States(ctx context.Context, accounts []string, from, to time.Time, f func(*StateRow) error) error {
	params := map[string]string{"accounts": array(accounts), "from": ms(from), "to": ms(to)}
	return l.each(ctx, "states", params, func(r driver.Rows) error {
		var s StateRow
		var epoch uint64
		var flags uint16
		if err := r.Scan(&s.AccountID, &epoch, &flags, &s.Cause, &s.Period, &s.Actor, &s.Note, &s.At); err != nil {
			return err
		}
		s.Epoch, s.Flags = int64(epoch), metering.Flags(flags)
		return f(&s)
	})
}

// Outcomes of a try to tell a hook.
const (
	OutcomeDelivered = "delivered" // it took it
	OutcomeFailed    = "failed"    // it did not, or never can
	OutcomeGone      = "gone"      // it wants to be told nothing more
)

// Delivery is what became of telling a hook.
type Delivery struct {
	AccountID   string    `json:"account_id"`
	Event       string    `json:"event"`
	Epoch       int64     `json:"epoch"`
	Destination string    `json:"destination"`
	Outcome     string    `json:"outcome"` // OutcomeDelivered and others
	Attempts    int       `json:"attempts"`
	At          time.Time `json:"at"`
}

func deliveriesTable() *table[Delivery] {
	return &table[Delivery]{"deliveries", []column[Delivery]{
		col("account_id", func(d *Delivery) string { return d.AccountID }),
		col("event", func(d *Delivery) string { return d.Event }),
		col("epoch", func(d *Delivery) uint64 { return uint64(d.Epoch) }),
		col("destination", func(d *Delivery) string { return d.Destination }),
		col("outcome", func(d *Delivery) string { return d.Outcome }),
		col("attempts", func(d *Delivery) uint16 { return uint16(d.Attempts) }),
		col("delivered_at", func(d *Delivery) time.Time { return d.At }),
	}}
}

// InsertDelivery stores what became of telling a hook.
func (l *Ledger) InsertDelivery(ctx context.Context, d *Delivery) error {
	return deliveriesTable().insert(ctx, l, []Delivery{*d})
}

// HookOutcomes are what became of the last message of each event about some accounts
// to each receiver, which is named by its host.
func (l *Ledger) HookOutcomes(ctx context.Context, accounts []string) ([]Delivery, error) {
	var out []Delivery
	err := l.each(ctx, "hook_outcomes", map[string]string{"accounts": array(accounts)}, func(r driver.Rows) error {
		var d Delivery
		var attempts uint16
		err := r.Scan(&d.Destination, &d.Event, &d.AccountID, &d.Outcome, &attempts, &d.At)
		d.Attempts = int(attempts)
		out = append(out, d)
		return err
	})
	return out, err
}

// ToldSuspended are those of parents' accounts of which a receiver was last told
// that they are suspended.
func (l *Ledger) ToldSuspended(ctx context.Context, parents []string) (map[string]bool, error) {
	return l.idsOf(ctx, "told_suspended", map[string]string{"parents": array(parents)})
}

// SuspendedSince are those of parents' accounts that a limit had suspended at an
// instant, or has since.
func (l *Ledger) SuspendedSince(ctx context.Context, parents []string, at time.Time) (map[string]bool, error) {
	return l.idsOf(ctx, "suspended_since", map[string]string{"parents": array(parents), "at": ms(at)})
}

// idsOf are the account ids that a query answers with.
func (l *Ledger) idsOf(ctx context.Context, query string, params map[string]string) (map[string]bool, error) {
	out := map[string]bool{}
	err := l.each(ctx, query, params, func(r driver.Rows) error {
		var id string
		err := r.Scan(&id)
		out[id] = true
		return err
	})
	return out, err
}

// MaxEpoch is the newest projection epoch, 0 before the first.
func (l *Ledger) MaxEpoch(ctx context.Context) (int64, error) {
	var n uint32
	err := l.each(ctx, "epoch_max", nil, func(r driver.Rows) error { return r.Scan(&n) })
	return int64(n), err
}

// OlderEpoch is the newest one that may have charged a parent of a partition of so
// many, 0 before the first; renumbered: there was another number of them then.
func (l *Ledger) OlderEpoch(ctx context.Context, partition, partitions int) (epoch int64, renumbered bool, err error) {
	var n uint32
	params := map[string]string{"partition": strconv.Itoa(partition), "partitions": strconv.Itoa(partitions)}
	err = l.each(ctx, "epoch_older", params, func(r driver.Rows) error { return r.Scan(&n, &renumbered) })
	return int64(n), n > 0 && renumbered, err
}

// epochRow notes that the projection epoch of a partition, of so many, begins.
type epochRow struct {
	partition, partitions int
	epoch                 int64
	reason                string
	at                    time.Time
}

func epochsTable() *table[epochRow] {
	return &table[epochRow]{"epochs", []column[epochRow]{
		col("partition", func(e *epochRow) uint16 { return uint16(e.partition) }),
		col("epoch", func(e *epochRow) uint32 { return uint32(e.epoch) }),
		col("reason", func(e *epochRow) string { return e.reason }),
		col("started_at", func(e *epochRow) time.Time { return e.at }),
		col("partitions", func(e *epochRow) uint16 { return uint16(e.partitions) }),
	}}
}

// InsertEpoch notes that the projection epoch of a partition of so many begins.
func (l *Ledger) InsertEpoch(ctx context.Context, partition, partitions int, epoch int64, reason string, now time.Time) error {
	return epochsTable().insert(ctx, l, []epochRow{{partition, partitions, epoch, reason, now}})
}

// MaxSeq is the newest seq of a projection epoch that has a row.
func (l *Ledger) MaxSeq(ctx context.Context, epoch int64) (int64, error) {
	var n uint64
	err := l.each(ctx, "seq_max", map[string]string{"epoch": strconv.FormatInt(epoch, 10)}, func(r driver.Rows) error { return r.Scan(&n) })
	return int64(n), err
}
