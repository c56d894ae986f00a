package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// newLedger is an empty one, in a database of its own.
func newLedger(t *testing.T, database string) *ledger.Ledger {
	t.Helper()
	theSystem.start(t)
	l, err := ledger.Open(ledger.Options{URL: theSystem.clickhouseURL(), Database: database})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, err = l.Migrate(t.Context())
	require.NoError(t, err)
	return l
}

// connection to a database, for what the ledger never asks.
func connection(t *testing.T, database string) clickhouse.Conn {
	t.Helper()
	options, err := clickhouse.ParseDSN(theSystem.clickhouseURL() + "/" + database)
	require.NoError(t, err)
	conn, err := clickhouse.Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A reseller sub-account hears of its messages by statuses that it may see, from
// a ledger in which no amount can be read.
func TestUsageOfAResellerNeedsNoAmounts(t *testing.T) {
	t.Parallel()
	const database = "usage_without_amounts"
	l := newLedger(t, database)
	conn := connection(t, database)
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

// Who asks for usage of before there are rows is told what isn't counted, where
// rollups can't tell.
func TestUsageSaysWhatIsGone(t *testing.T) {
	t.Parallel()
	const database = "usage_of_what_is_gone"
	l := newLedger(t, database)
	from := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, l.SaveRowsFrom(t.Context(), 1, from, from, from))
	options, err := redis.ParseURL(theSystem.redisURL())
	require.NoError(t, err)
	options.DB = 9 // nobody charges
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	e := &engines{ledger: l, snapshots: admin.NewSnapshots(l, balance.New(client, 1), clock.System())}
	_, err = e.snapshots.Refresh(t.Context())
	require.NoError(t, err)
	hour := time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC)
	conn := connection(t, database)
	require.NoError(t, conn.Exec(t.Context(), "INSERT INTO records (account_id, parent_id, kind, id, occurred_at, channel, direction, currency, amount, units, billed_units)"+
		" VALUES ('shop', 'acme', 'usage', 'm', ?, 'sms', 'outbound', 'EUR', 10000, 1, 1)", hour))
	require.NoError(t, conn.Exec(t.Context(), "INSERT INTO dirty_hours VALUES ('shop', ?, now64(3))", hour))
	later := time.Now().Add(time.Hour)
	due, err := l.DueHours(t.Context(), time.Time{}, later)
	require.NoError(t, err)
	require.NoError(t, l.RollHours(t.Context(), due, later))
	const reseller, parent = metering.AudienceReseller, metering.AudienceParent
	const sentence = "meterd: warning: messages of before 2026-06-01T00:00:00Z are past their retention and not counted here"
	const others = "; they are by account, day, month, hour, channel, country, network, category or direction alone\n"
	for _, c := range []struct {
		by   string
		from time.Time
		aud  metering.Audience
		want string
	}{
		{"status", time.Time{}, parent, sentence + others},
		{"day", time.Time{}, parent, ""},
		{"status", from, parent, ""},
		{"day", time.Time{}, reseller, sentence + "\n"},
		{"day", from, reseller, ""},
	} {
		by, err := ledger.ParseDimensions(c.by)
		require.NoError(t, err)
		var out, told bytes.Buffer
		a := &app{ctx: t.Context(), out: &out, err: &told}
		require.NoError(t, e.tellUsage(a, &ledger.UsageQuery{Parent: "acme", Accounts: []string{"shop"}, By: by, From: c.from}, c.aud))
		require.Equal(t, c.want, told.String(), "by %s from %s", c.by, c.from)
	}
}
