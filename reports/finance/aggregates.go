package finance

import (
	"context"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// aggregateDimensions are what lines of the plain formats are told apart by.
func aggregateDimensions() []ledger.Dimension {
	return []ledger.Dimension{
		ledger.DimAccount, ledger.DimDay, ledger.DimPeriod, ledger.DimChannel, ledger.DimDirection, ledger.DimCountry, ledger.DimNetwork,
		ledger.DimCategory, ledger.DimUnit, ledger.DimPlan, ledger.DimPlanVersion,
	}
}

// aggregateColumns are explained in docs/finance.md.
func aggregateColumns() []column {
	return []column{
		{"parent", text, 0},
		{"booked", text, 0},
		{"account", text, 0},
		{"day", text, 0},
		{"period", text, 0},
		{"channel", text, 0},
		{"direction", text, 0},
		{"country", text, 0},
		{"network", text, 0},
		{"category", text, 0},
		{"unit", text, 0},
		{"plan", text, 0},
		{"plan_version", count, 0},
		{"currency", text, 0},
		{"records", count, 0},
		{"units", number, 6},
		{"billed_units", number, 6},
		{"amount", money, 6},
		{"fees", money, 6},
		{"refunds", money, 6},
		{"net", money, 6},
		{"late", money, 6},
		{"corrections", money, 6},
		{"adjustments", money, 6},
		{"billable", money, 6},
	}
}

// aggregates writes a month's lines, sorted by account, day and what follows.
func (x *Exporter) aggregates(ctx context.Context, m *month, write func([]any) error, sum *running) error {
	q := ledger.UsageQuery{Parent: m.parent.ID, Booked: m.period.Name, By: aggregateDimensions(), Zone: m.zone}
	return x.deps.Ledger.Usage(ctx, q, func(u *ledger.UsageLine) error {
		account, period := u.Key(ledger.DimAccount), u.Key(ledger.DimPeriod)
		day := m.day(period, u.Key(ledger.DimDay))
		if !m.wants(account, day) {
			return nil
		}
		rated := u.RatedBy()
		bill := billOf(m.period.Name, period, u.Records, u.Amount, u.Fees, u.Refunds, u.Adjustments)
		sum.add(&bill)
		in := func(v metering.Sum) amount { return amount{v, u.Currency} }
		return write([]any{
			m.parent.ID, m.period.Name, account, day, period, u.Key(ledger.DimChannel), u.Key(ledger.DimDirection), u.Key(ledger.DimCountry),
			u.Key(ledger.DimNetwork), u.Key(ledger.DimCategory), u.Key(ledger.DimUnit), rated.Plan, uint64(rated.Version), u.Currency, u.Records, u.Units, u.BilledUnits,
			in(bill.amount), in(bill.fees), in(bill.refunds), in(bill.net()), in(bill.late), in(bill.corrections), in(bill.adjustments()), in(bill.billable()),
		})
	})
}
