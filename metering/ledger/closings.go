package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// States of a month's closing. A month without a row is open.
const (
	ClosingBegun = "closing"
	ClosingDone  = "closed"
)

// Closing is a month that is closed or being closed.
type Closing struct {
	ParentID, Period             string
	State                        string // ClosingBegun, ClosingDone
	Start, End                   time.Time
	Records                      uint64
	Amount, Refunds, Adjustments metering.Sum
	Lines                        uint64 // that the digest covers
	Digest                       string
	AsOf                         time.Time
	// Catalog number of the accounts as they stood; rows up to Epoch and Seq
	// are all that the month's reports know of.
	Catalog, Epoch, Seq int64
	// Balances are what each purse held at the month's end, by account.
	Balances map[string]metering.Micros
	Frozen   Frozen
}

// Billable is what the bill comes to.
func (c *Closing) Billable() metering.Sum { return c.Amount.Minus(c.Refunds).Plus(c.Adjustments) }

// Frozen is what a closed month's reports show of things that go on changing.
type Frozen struct {
	Quarantined map[string]map[metering.Reason]uint64 `json:"quarantined"` // account → reason → open entries
	Rejected    map[string]uint64                     `json:"rejected"`    // account → open entries that who sees no money is told of
	Waiting     map[string]uint64                     `json:"waiting"`     // account → refunds without a message
	Flags       map[string]FrozenFlags                `json:"flags"`       // account → why it was suspended
}

// FrozenFlags are an account's reasons when its month was closed.
type FrozenFlags struct {
	Own       metering.Flags `json:"own"`
	Inherited metering.Flags `json:"inherited"`
}

// Closings of a parent ("": of all), by parent and period.
func (l *Ledger) Closings(ctx context.Context, parent string) ([]Closing, error) {
	var out []Closing
	err := l.each(ctx, "closings", map[string]string{"parent": parent}, func(r driver.Rows) error {
		c, err := scanClosing(r)
		out = append(out, c)
		return err
	})
	return out, err
}

func scanClosing(r driver.Rows) (Closing, error) {
	var c Closing
	var amount, refunds, adjustments decimal.Decimal
	var catalog, seq uint64
	var epoch uint32
	var balances, frozen string
	err := r.Scan(&c.ParentID, &c.Period, &c.State, &c.Records, &amount, &refunds, &adjustments, &c.Digest, &c.AsOf,
		&c.Start, &c.End, &c.Lines, &catalog, &epoch, &seq, &balances, &frozen)
	if err != nil {
		return c, err
	}
	if err := sumsOf([]decimal.Decimal{amount, refunds, adjustments}, &c.Amount, &c.Refunds, &c.Adjustments); err != nil {
		return c, err
	}
	c.Catalog, c.Epoch, c.Seq = int64(catalog), int64(epoch), int64(seq)
	if c.State != ClosingDone {
		return c, nil
	}
	c.Balances = map[string]metering.Micros{}
	if err := json.Unmarshal([]byte(balances), &c.Balances); err != nil {
		return c, fmt.Errorf("stored closing, balances: %w", err)
	}
	if err := json.Unmarshal([]byte(frozen), &c.Frozen); err != nil {
		return c, fmt.Errorf("stored closing, frozen counts: %w", err)
	}
	return c, nil
}

// Base of the newest closed month before a period.
func (l *Ledger) Base(ctx context.Context, parent, before string) (*Base, error) {
	list, err := l.Closings(ctx, parent)
	if err != nil {
		return nil, err
	}
	b := &Base{Balances: map[string]metering.Micros{}}
	for i := range list {
		b.Closed = max(b.Closed, list[i].Period)
		if c := &list[i]; c.State == ClosingDone && c.Period > b.Through && c.Period < before {
			b.Through, b.Balances = c.Period, c.Balances
		}
	}
	return b, nil
}

// TransfersThrough is what transfers brought to each purse of a parent's
// accounts, booked after a closed month ("": all) and up to another.
func (l *Ledger) TransfersThrough(ctx context.Context, parent, after, through string) (map[string]metering.Sum, error) {
	out := map[string]metering.Sum{}
	params := map[string]string{"parent": parent, "after": after, "through": through}
	err := l.each(ctx, "closing_transfers", params, func(r driver.Rows) error {
		var id string
		var d decimal.Decimal
		if err := r.Scan(&id, &d); err != nil {
			return err
		}
		var err error
		out[id], err = metering.SumOf(d)
		return err
	})
	return out, err
}

func closingsBegunTable() *table[Closing] {
	return &table[Closing]{"closings", []column[Closing]{
		col("parent_id", func(c *Closing) string { return c.ParentID }),
		col("period", func(c *Closing) string { return c.Period }),
		col("state", func(*Closing) string { return ClosingBegun }),
		col("as_of", func(c *Closing) time.Time { return c.AsOf }),
		col("version", func(*Closing) uint64 { return 1 }),
		col("starts_at", func(c *Closing) time.Time { return c.Start }),
		col("ends_at", func(c *Closing) time.Time { return c.End }),
	}}
}

// BeginClosing stores that a month takes no more records. Again is harmless: a
// closed month's row is newer.
func (l *Ledger) BeginClosing(ctx context.Context, c *Closing) error {
	return closingsBegunTable().insert(ctx, l, []Closing{*c})
}

// FinishClosing stores what a month came to. A month that is closed already
// stays as it is.
func (l *Ledger) FinishClosing(ctx context.Context, c *Closing) error {
	if c.Balances == nil {
		return errors.New("a closing without balances: nothing could be summed from it")
	}
	balances, err := json.Marshal(c.Balances)
	if err != nil {
		return fmt.Errorf("closing of a month: %w", err)
	}
	frozen, err := json.Marshal(c.Frozen)
	if err != nil {
		return fmt.Errorf("closing of a month: %w", err)
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return l.exec(ctx, "closing_finish", map[string]string{
		"parent": c.ParentID, "period": c.Period, "records": n(int64(c.Records)), "lines": n(int64(c.Lines)),
		"amount": c.Amount.String(), "refunds": c.Refunds.String(), "adjustments": c.Adjustments.String(), "digest": c.Digest,
		"as_of": ms(c.AsOf), "start": ms(c.Start), "end": ms(c.End),
		"catalog": n(c.Catalog), "epoch": n(c.Epoch), "seq": n(c.Seq), "balances": string(balances), "frozen": string(frozen),
	})
}

// BillLines of a parent's month, in the order that metering.Bill wants.
func (l *Ledger) BillLines(ctx context.Context, parent, period string, f func(*metering.BillLine) error) error {
	return l.each(ctx, "bill_lines", map[string]string{"parent": parent, "booked": period}, func(r driver.Rows) error {
		var b metering.BillLine
		var kind, purse string
		var amount, fee int64
		var version, rule uint32
		if err := r.Scan(&b.AccountID, &kind, &b.ID, &b.Period, &purse, &b.Currency, &amount, &fee, &b.Plan, &version, &rule); err != nil {
			return err
		}
		b.Kind, b.Purse, b.Amount, b.Fee = metering.Kind(kind), metering.Purse(purse), metering.Micros(amount), metering.Micros(fee)
		b.Version, b.Rule = int(version), int(rule)
		return f(&b)
	})
}

// sumsOf are sums as they are read.
func sumsOf(from []decimal.Decimal, to ...*metering.Sum) (err error) {
	for i := range from {
		if *to[i], err = metering.SumOf(from[i]); err != nil {
			return fmt.Errorf("sum of amounts: %w", err)
		}
	}
	return nil
}

// Month is what the bill of a month comes to so far.
type Month struct {
	ParentID, Period             string
	Records                      uint64
	Amount, Refunds, Adjustments metering.Sum
}

// Billable is what the bill comes to so far.
func (m *Month) Billable() metering.Sum { return m.Amount.Minus(m.Refunds).Plus(m.Adjustments) }

// Months that have a record or a transfer, of a parent ("": of all).
func (l *Ledger) Months(ctx context.Context, parent string, f func(*Month) error) error {
	return l.each(ctx, "months", map[string]string{"parent": parent}, func(r driver.Rows) error {
		var m Month
		var amount, refunds, adjustments decimal.Decimal
		if err := r.Scan(&m.ParentID, &m.Period, &m.Records, &amount, &refunds, &adjustments); err != nil {
			return err
		}
		if err := sumsOf([]decimal.Decimal{amount, refunds, adjustments}, &m.Amount, &m.Refunds, &m.Adjustments); err != nil {
			return err
		}
		return f(&m)
	})
}

// OpenMonths of a parent before a period that have a record or a transfer and
// aren't closed, oldest first.
func (l *Ledger) OpenMonths(ctx context.Context, parent, before string) ([]string, error) {
	var out []string
	err := l.each(ctx, "months_open", map[string]string{"parent": parent, "before": before}, func(r driver.Rows) error {
		var month string
		err := r.Scan(&month)
		out = append(out, month)
		return err
	})
	return out, err
}
