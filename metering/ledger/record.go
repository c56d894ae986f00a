package ledger

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// StoredRow is a row of the ledger as it stands.
type StoredRow struct {
	Kind, ID                              string
	OccurredAt                            time.Time
	Channel, Direction, Status, ErrorCode string
	To, From, Country, Network, Category  string
	Units, Unit, Billed                   string
	Amount, Fee                           metering.Micros
	Currency, Plan                        string
	Version, Rule                         uint32
	Purse, RefersTo, SourceID             string
	Tags                                  map[string]string
	Period, Booked                        string
	Epoch                                 uint32
	Seq                                   uint64
	StoredAt                              time.Time
}

// RecordRows calls f for a message's own row, its refunds and its statuses.
func (l *Ledger) RecordRows(ctx context.Context, account, id string, f func(*StoredRow) error) error {
	return l.each(ctx, "record", map[string]string{"account": account, "id": id}, func(r driver.Rows) error {
		var s StoredRow
		var units, billed, amount, fee decimal.Decimal
		if err := r.Scan(&s.Kind, &s.ID, &s.OccurredAt, &s.Channel, &s.Direction, &s.Status, &s.ErrorCode, &s.To, &s.From, &s.Country, &s.Network,
			&s.Category, &units, &s.Unit, &billed, &amount, &fee, &s.Currency, &s.Plan, &s.Version, &s.Rule, &s.Purse,
			&s.RefersTo, &s.SourceID, &s.Tags, &s.Period, &s.Booked, &s.Epoch, &s.Seq, &s.StoredAt); err != nil {
			return err
		}
		s.Units, s.Billed, s.Amount, s.Fee = units.String(), billed.String(), micros(amount), micros(fee)
		return f(&s)
	})
}
