package ledger

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// Closing is a month that is closed or being closed.
type Closing struct {
	ParentID, Period             string
	State                        string // closing | closed
	Records                      uint64
	Amount, Refunds, Adjustments metering.Micros
	Digest                       string
	AsOf                         time.Time
}

// Closings of a parent ("": of all), by parent and period.
func (l *Ledger) Closings(ctx context.Context, parent string) ([]Closing, error) {
	var out []Closing
	err := l.each(ctx, "closings", map[string]string{"parent": parent}, func(r driver.Rows) error {
		var c Closing
		var amount, refunds, adjustments decimal.Decimal
		if err := r.Scan(&c.ParentID, &c.Period, &c.State, &c.Records, &amount, &refunds, &adjustments, &c.Digest, &c.AsOf); err != nil {
			return err
		}
		c.Amount, c.Refunds, c.Adjustments = micros(amount), micros(refunds), micros(adjustments)
		out = append(out, c)
		return nil
	})
	return out, err
}

// ClosedThrough is the newest month of a parent that takes no more records,
// "" if none is: closing begins with a row, and every rebuild reads it.
func (l *Ledger) ClosedThrough(ctx context.Context, parent string) (string, error) {
	list, err := l.Closings(ctx, parent)
	newest := ""
	for _, c := range list {
		newest = max(newest, c.Period)
	}
	return newest, err
}
