package ledger

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// Rerate is a re-rating that was booked, once for its reference.
type Rerate struct {
	Ref, ParentID, AccountID, Period, Plan string
	Reason, Actor                          string
	At                                     time.Time
}

// RerateByRef returns it; nil where the reference wasn't used.
func (l *Ledger) RerateByRef(ctx context.Context, ref string) (*Rerate, error) {
	var out *Rerate
	err := l.each(ctx, "rerates", map[string]string{"ref": ref}, func(r driver.Rows) error {
		out = &Rerate{}
		return r.Scan(&out.Ref, &out.ParentID, &out.AccountID, &out.Period, &out.Plan, &out.Reason, &out.Actor, &out.At)
	})
	return out, err
}

// RerateReasons of a parent's re-ratings, by reference.
func (l *Ledger) RerateReasons(ctx context.Context, parent string) (map[string]string, error) {
	out := map[string]string{}
	err := l.each(ctx, "rerate_reasons", map[string]string{"parent": parent}, func(r driver.Rows) error {
		var ref, reason string
		err := r.Scan(&ref, &reason)
		out[ref] = reason
		return err
	})
	return out, err
}

// Rerating is what a re-rating booked in a bill for the messages of one month.
type Rerating struct {
	Ref, Reason, Period string
	Accounts, Messages  uint64
	Amount              metering.Sum
}

// Reratings calls f for each that a bill has corrections of, by reference and month.
func (l *Ledger) Reratings(ctx context.Context, parent, booked string, f func(*Rerating) error) error {
	return l.each(ctx, "report_reratings", map[string]string{"parent": parent, "booked": booked}, func(r driver.Rows) error {
		var x Rerating
		var amount decimal.Decimal
		if err := r.Scan(&x.Ref, &x.Reason, &x.Period, &x.Accounts, &x.Messages, &amount); err != nil {
			return err
		}
		if err := sumsOf([]decimal.Decimal{amount}, &x.Amount); err != nil {
			return err
		}
		return f(&x)
	})
}

func reratesTable() *table[Rerate] {
	return &table[Rerate]{"rerates", []column[Rerate]{
		col("ref", func(x *Rerate) string { return x.Ref }),
		col("parent_id", func(x *Rerate) string { return x.ParentID }),
		col("account_id", func(x *Rerate) string { return x.AccountID }),
		col("period", func(x *Rerate) string { return x.Period }),
		col("plan", func(x *Rerate) string { return x.Plan }),
		col("reason", func(x *Rerate) string { return x.Reason }),
		col("actor", func(x *Rerate) string { return x.Actor }),
		col("booked_at", func(x *Rerate) time.Time { return x.At }),
	}}
}

// InsertRerate stores a re-rating.
func (l *Ledger) InsertRerate(ctx context.Context, x *Rerate) error {
	return reratesTable().insert(ctx, l, []Rerate{*x})
}

// RerateRun is one run of a re-rating's command: the same reference may have many.
type RerateRun struct {
	ParentID, Run, Ref string
	BegunAt            time.Time
	Ended              bool // all its corrections are stored
}

func rerateRunsTable() *table[RerateRun] {
	return &table[RerateRun]{"rerate_runs", []column[RerateRun]{
		col("parent_id", func(x *RerateRun) string { return x.ParentID }),
		col("run", func(x *RerateRun) string { return x.Run }),
		col("ref", func(x *RerateRun) string { return x.Ref }),
		col("begun_at", func(x *RerateRun) time.Time { return x.BegunAt }),
		col("ended", func(x *RerateRun) uint8 { return bit(x.Ended) }),
	}}
}

// InsertRerateRun stores that a run has begun, or ended.
func (l *Ledger) InsertRerateRun(ctx context.Context, x *RerateRun) error {
	return rerateRunsTable().insert(ctx, l, []RerateRun{*x})
}

// Rerating tells which parents have a re-rating that hasn't ended, as far as is known:
// of one whose command was cut off nobody knows, so it counts for a month.
func (l *Ledger) Rerating(ctx context.Context, parents []string) (map[string]bool, error) {
	return l.idsOf(ctx, "rerates_open", map[string]string{"parents": array(parents)})
}

// RatedMessage is a stored message as a re-rating needs it.
type RatedMessage struct {
	Record metering.Record
	Hash   uint64 // of its content
	Was    metering.ChargedSoFar
	Purse  metering.Purse
	Period string // of occurred_at
}

// RatedQuery selects messages that a plan rated.
type RatedQuery struct {
	Parent  string
	Account string    // "": the parent's and all its sub-accounts'
	Period  string    // "": any month
	From    time.Time // of occurred_at; zero: any
	// NoNumbers: only messages without a sender and a receiver.
	NoNumbers bool
}

// RatedMessages calls f for each, by account and id.
func (l *Ledger) RatedMessages(ctx context.Context, q RatedQuery, f func(*RatedMessage) error) error {
	from, _ := millis(q.From, time.Time{})
	params := map[string]string{"parent": q.Parent, "account": q.Account, "period": q.Period, "from": from}
	if params["numbers"] = "0"; q.NoNumbers {
		params["numbers"] = "1"
	}
	return l.each(ctx, "rerate_rows", params, func(r driver.Rows) error {
		m := RatedMessage{Record: metering.Record{Kind: metering.KindUsage}}
		x := &m.Record
		var units, amount, fee, refunded, corrected, correctedFee decimal.Decimal
		var purse string
		var tags map[string]string
		if err := r.Scan(&x.AccountID, &x.ID, &m.Period, &x.OccurredAt, &x.Channel, &x.Direction, &x.To, &x.From, &x.Country, &x.Network,
			&x.Category, &units, &x.Unit, &amount, &fee, &purse, &refunded, &corrected, &correctedFee, &x.Currency, &tags, &m.Hash, &m.Was.RefundedWhole); err != nil {
			return err
		}
		x.Units = metering.Some(metering.Quantity(micros(units)))
		m.Purse = metering.Purse(purse)
		m.Was.Amount, m.Was.Fee, m.Was.Refunded = micros(amount)+micros(corrected), micros(fee)+micros(correctedFee), micros(refunded)
		if x.To == "" && x.From == "" {
			for _, k := range slices.Sorted(maps.Keys(tags)) {
				x.Tags = append(x.Tags, metering.Tag{Key: k, Value: tags[k]})
			}
			m.Was.Blanked = !metering.Numberless(x, m.Hash)
		}
		return f(&m)
	})
}
