package main

import (
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering/ledger"
)

// A reseller sub-account hears of its messages by statuses that it may see, from
// a ledger in which no amount can be read.
func TestUsageOfAResellerNeedsNoAmounts(t *testing.T) {
	t.Parallel()
	theSystem.start(t)
	const database = "usage_without_amounts"
	l, err := ledger.Open(ledger.Options{URL: theSystem.clickhouseURL(), Database: database})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, err = l.Migrate(t.Context())
	require.NoError(t, err)
	options, err := clickhouse.ParseDSN(theSystem.clickhouseURL() + "/" + database)
	require.NoError(t, err)
	conn, err := clickhouse.Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.Exec(t.Context(), "INSERT INTO records (account_id, parent_id, kind, id, occurred_at, channel, direction, status, currency, amount, units, billed_units)"+
		" SELECT 'shop', 'acme', 'usage', toString(number), '2026-11-05 12:00:00', 'sms', 'outbound', if(number % 2 = 0, 'delivered', 'insufficient_balance'), 'EUR', '999999999999', 1, 1"+
		" FROM numbers(24)"))

	a := &app{ctx: t.Context()}
	e := &engines{ledger: l}
	q := &ledger.UsageQuery{Parent: "acme", Accounts: []string{"shop"}, By: []ledger.Dimension{"hour", "status"}}
	require.NoError(t, conn.Exec(t.Context(), "ALTER TABLE records DROP COLUMN amount"))
	require.Error(t, l.Usage(t.Context(), *q, func(*ledger.UsageLine) error { return nil }))
	var got []activityRow
	require.NoError(t, e.activity(a, q, func(r activityRow) error {
		got = append(got, r)
		return nil
	}))
	require.Equal(t, []activityRow{
		{Keys: []string{"2026-11-05T12:00:00Z", "delivered"}, Records: 12},
		{Keys: []string{"2026-11-05T12:00:00Z", toldStatus("insufficient_balance")}, Records: 12},
	}, got)
}
