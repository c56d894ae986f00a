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

// InsertStates stores them; the same (account, epoch) is the same change.
func (l *Ledger) InsertStates(ctx context.Context, list []StateRow) error {
	n := len(list)
	if n == 0 {
		return nil
	}
	accounts, parents, causes, periods, actors, notes := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	epochs, flags, held, at := make([]uint64, n), make([]uint16, n), make([]uint16, n), make([]time.Time, n)
	for i, s := range list {
		accounts[i], parents[i], causes[i], periods[i], actors[i], notes[i] = s.AccountID, s.ParentID, s.Cause, s.Period, s.Actor, s.Note
		epochs[i], flags[i], held[i], at[i] = uint64(s.Epoch), uint16(s.Flags), uint16(s.HeldBack), s.At
	}
	return l.insertColumns(ctx, "states", "account_id, epoch, parent_id, flags, held_back, cause, period, actor, note, occurred_at",
		accounts, epochs, parents, flags, held, causes, periods, actors, notes, at)
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

// Delivery is what became of telling a hook.
type Delivery struct {
	AccountID   string    `json:"account_id"`
	Event       string    `json:"event"`
	Epoch       int64     `json:"epoch"`
	Destination string    `json:"destination"`
	Outcome     string    `json:"outcome"`
	Attempts    int       `json:"attempts"`
	At          time.Time `json:"at"`
}

// InsertDelivery stores it.
func (l *Ledger) InsertDelivery(ctx context.Context, d *Delivery) error {
	return l.insertColumns(ctx, "deliveries", "account_id, event, epoch, destination, outcome, attempts, delivered_at",
		[]string{d.AccountID}, []string{d.Event}, []uint64{uint64(d.Epoch)}, []string{d.Destination},
		[]string{d.Outcome}, []uint16{uint16(d.Attempts)}, []time.Time{d.At})
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

// InsertEpoch notes that the projection epoch of a partition of so many begins.
func (l *Ledger) InsertEpoch(ctx context.Context, partition, partitions int, epoch int64, reason string, now time.Time) error {
	return l.insertColumns(ctx, "epochs", "partition, epoch, reason, started_at, partitions",
		[]uint16{uint16(partition)}, []uint32{uint32(epoch)}, []string{reason}, []time.Time{now}, []uint16{uint16(partitions)})
}

// MaxSeq is the newest seq of a projection epoch that has a row.
func (l *Ledger) MaxSeq(ctx context.Context, epoch int64) (int64, error) {
	var n uint64
	err := l.each(ctx, "seq_max", map[string]string{"epoch": strconv.FormatInt(epoch, 10)}, func(r driver.Rows) error { return r.Scan(&n) })
	return int64(n), err
}
