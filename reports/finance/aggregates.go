package finance

import (
	"context"
	"fmt"
	"strconv"

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

func aggregateColumns() []column {
	return []column{
		{"parent", text, 0, "the parent account"},
		{"booked", text, 0, "month whose bill the line is in"},
		{"account", text, 0, "the account: a sub-account, or the parent for its own traffic"},
		{"day", text, 0, "local day of the parent's zone, of when it occurred"},
		{"period", text, 0, "month in which it occurred; another than booked: it came after that month was closed"},
		{"channel", text, 0, ""},
		{"direction", text, 0, "outbound or inbound"},
		{"country", text, 0, "ISO 3166-1 alpha-2, empty where unknown"},
		{"network", text, 0, "MCC-MNC, empty where unknown"},
		{"category", text, 0, ""},
		{"unit", text, 0, "what units counts; empty on lines of refunds"},
		{"plan", text, 0, "price plan; empty: came rated"},
		{"plan_version", count, 0, ""},
		{"currency", text, 0, "ISO 4217"},
		{"records", count, 0, "messages"},
		{"units", number, 6, "as reported"},
		{"billed_units", number, 6, "in the price rule's unit, after increments"},
		{"amount", money, 6, "charged, fees included"},
		{"fees", money, 6, "the part of amount that is never refunded"},
		{"refunds", money, 6, "given back, from 0"},
		{"net", money, 6, "amount less refunds"},
		{"adjustments", money, 6, "booked by corrections, signed"},
		{"billable", money, 6, "net and adjustments"},
	}
}

// aggregates writes a month's lines, sorted by account, day and what follows.
func (x *Exporter) aggregates(ctx context.Context, m *month, write func([]any) error, sum *MonthSum) error {
	q := ledger.UsageQuery{Parent: m.parent.ID, Booked: m.period.Name, By: aggregateDimensions(), Zone: m.zone}
	return x.deps.Ledger.Usage(ctx, q, func(u *ledger.UsageLine) error {
		k := u.Keys
		day := m.day(k[2], k[1])
		if !m.wants(k[0], day) {
			return nil
		}
		version, err := strconv.ParseUint(k[10], 10, 32)
		if err != nil {
			return fmt.Errorf("plan version: %w", err)
		}
		if err := sum.add(k[2], u.Records, u.Amount, u.Refunds, u.Adjustments); err != nil {
			return err
		}
		in := func(v metering.Micros) amount { return amount{v, u.Currency} }
		return write([]any{
			m.parent.ID, m.period.Name, k[0], day, k[2], k[3], k[4], k[5], k[6], k[7], k[8], k[9], version, u.Currency,
			u.Records, u.Units, u.BilledUnits, in(u.Amount), in(u.Fees), in(u.Refunds), in(u.Net()), in(u.Adjustments), in(u.Net() + u.Adjustments),
		})
	})
}
