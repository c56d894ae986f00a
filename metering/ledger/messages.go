package ledger

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

// Part says what a row of a message's detail is.
type Part uint8

// The parts, in the order in which they come.
const (
	PartMessage Part = iota + 1
	PartRefund
	PartCorrection
	PartStatus
)

// DetailRow is one row of the ledger that a message's detail is made of.
type DetailRow struct {
	ActivityRow
	Network, Category, Unit string
	Units, Billed           metering.Quantity
	Amount, Fee             metering.Micros
	Currency, Plan          string
	Version, Rule           uint32
	Campaign, Tags          string // Tags: all of them, as JSON
	Period, Booked          string
	Ref                     string // of the re-rating that booked a correction
}

// ActivityRow is what a reader without sight of money may have of one.
type ActivityRow struct {
	Account, Message   string
	Part               Part
	At                 time.Time
	Channel, Direction string
	Status, ErrorCode  string // as reported
	To, From, Country  string
	Rank               uint8  // of its status
	RowID              string // of a status
}

// CallRow is an ActivityRow on its own, without the units of a DetailRow.
type CallRow struct {
	ActivityRow
	CallSeconds int64 // as reported, of voice only
}

// StatusSlack is how long before its message a status may be dated and still
// be one of its statuses.
const StatusSlack = statusSlack

// atOnce asks for rows as they come, however many they are.
func atOnce(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"wait_end_of_query": 0}))
}

// MessageRows calls f for each row of the messages' details, sorted by account,
// message and part. The row holds until f returns.
func (l *Ledger) MessageRows(ctx context.Context, q ActivityQuery, f func(*DetailRow) error) error {
	var d DetailRow
	return l.each(atOnce(ctx), "report_messages", q.params(), func(r driver.Rows) error {
		var part uint8
		var units, billed, amount, fee int64
		if err := r.Scan(&d.Account, &d.Message, &part, &d.At, &d.Channel, &d.Direction, &d.Status, &d.ErrorCode, &d.To, &d.From, &d.Country,
			&d.Network, &d.Category, &units, &d.Unit, &billed, &amount, &fee, &d.Currency, &d.Plan, &d.Version, &d.Rule,
			&d.Campaign, &d.Tags, &d.Period, &d.Booked, &d.Rank, &d.RowID, &d.Ref); err != nil {
			return err
		}
		d.Part, d.Units, d.Billed, d.Amount, d.Fee = Part(part), metering.Quantity(units), metering.Quantity(billed), metering.Micros(amount), metering.Micros(fee)
		return f(&d)
	})
}

// MessageActivity calls f for each row of the messages' details that a reader
// without sight of money may have, sorted likewise.
func (l *Ledger) MessageActivity(ctx context.Context, q ActivityQuery, f func(*CallRow) error) error {
	var a CallRow
	return l.each(atOnce(ctx), "report_message_activity", q.params(), func(r driver.Rows) error {
		var part uint8
		if err := r.Scan(&a.Account, &a.Message, &part, &a.At, &a.Channel, &a.Direction, &a.Status, &a.ErrorCode, &a.To, &a.From, &a.Country, &a.CallSeconds, &a.Rank, &a.RowID); err != nil {
			return err
		}
		a.Part = Part(part)
		return f(&a)
	})
}

// MessageCount is about how many messages there are.
func (l *Ledger) MessageCount(ctx context.Context, q ActivityQuery) (int64, error) {
	var n uint64
	err := l.each(ctx, "report_messages_count", q.params(), func(r driver.Rows) error { return r.Scan(&n) })
	return int64(n), err
}
