package ledger

import (
	"maps"
	"strconv"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/sql"
)

// many stores rows of messages of an account, in the engine itself.
func many(tb testing.TB, l *Ledger, parent, account string, n int) {
	tb.Helper()
	const insert = `INSERT INTO {db}.records (account_id, kind, id, occurred_at, parent_id, channel, direction, amount, currency,
    plan, purse, content_hash, period, booked, epoch, seq, stored_at)
SELECT {account:String}, 'usage', 'm' || toString(number), toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + number % 2000000, {parent:String}, 'sms', 'outbound',
    toDecimal64(1, 6), 'EUR', 'p', 'credit', number, '2026-11', '2026-11', 1, 1, now64(3) FROM numbers({rows:UInt64})`
	require.NoError(tb, l.server.Exec(tb.Context(), "test", insert, map[string]string{"parent": parent, "account": account, "rows": strconv.Itoa(n)}))
}

// TestAParentsQueriesReadItsOwnRows: rows are sorted by account, so whoever asks
// about a parent names its accounts, or all rows are read for each parent.
func TestAParentsQueriesReadItsOwnRows(t *testing.T) {
	t.Parallel()
	l := open(t)
	apply(t, l, "large", "large-sub")
	apply(t, l, "small", "small-sub")
	many(t, l, "large", "large-sub", 200_000)
	many(t, l, "small", "small", 1000)
	many(t, l, "small", "small-sub", 1000)
	params := map[string]string{
		"parent": "small", "parents": "['small']", "after": "['']", "seqs": "[9]", "epoch": "1", "seq": "9", "booked": "2026-11", "before": "2026-12",
		"account": "", "accounts": "[]", "period": "", "from": "0", "to": strconv.Itoa(latest), "numbers": "0", "zone": "UTC", "tags": "[]", "minimums": "{}", "slack": "0",
	}
	for _, name := range []string{
		"sums", "months", "months_open", "bill_lines", "rules_used", "charge_lines", "rerate_rows", "report_opening", "report_messages",
		"report_messages_count", "report_message_activity",
	} {
		p := maps.Clone(params)
		if name == "report_opening" {
			p["after"] = ""
		}
		read := uint64(0)
		err := l.eachText(t.Context(), name, "EXPLAIN ESTIMATE "+sql.Query(name), p, func(r driver.Rows) error {
			var database, table string
			var parts, rows, marks uint64
			err := r.Scan(&database, &table, &parts, &rows, &marks)
			if table == "records" {
				read += rows
			}
			return err
		})
		require.NoError(t, err, name)
		require.NotZero(t, read, name)
		require.Less(t, read, uint64(50_000), name)
	}
}
