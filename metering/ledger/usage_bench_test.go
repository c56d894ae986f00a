package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// benchRows are a week of one parent's: three accounts, random ids.
const benchRows = "1000000"

const benchFill = `INSERT INTO {db}.records (account_id, kind, id, occurred_at, parent_id, channel, direction, status, country, network,
	units, unit, billed_units, amount, fee, currency, plan, plan_version, rule, purse, period, booked, epoch, seq, stored_at)
SELECT concat('acme-', toString(intDiv(number, 2) % 3)), if(number % 50 = 0, 'refund', 'usage'), toString(generateUUIDv4(number)),
	toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + toIntervalMillisecond(intDiv(number * 6048, 10)), 'acme', ['sms', 'voice', 'whatsapp'][number % 3 + 1],
	'outbound', 'sent', ['IT', 'DE', 'FR', 'ES'][intDiv(number, 3) % 4 + 1], toString(22201 + intDiv(number, 3) % 4 * 10 + intDiv(number, 7) % 2), 1, 'segment', 1, 0.0412, 0, 'EUR', 'p', 1,
	intDiv(number, 3) % 4 + 1, 'wallet', '2026-11', '2026-11', 1, number, now64(3) FROM numbers(` + benchRows + `)`

// BenchmarkUsage compares a week's usage by day, from rows and from rollups.
func BenchmarkUsage(b *testing.B) {
	l := open(b)
	require.NoError(b, l.conn.Exec(b.Context(), l.text(benchFill)))
	require.NoError(b, l.conn.Exec(b.Context(), l.text(`INSERT INTO {db}.dirty_hours
		SELECT DISTINCT account_id, toDateTime(toStartOfHour(occurred_at), 'UTC'), now64(3) - 3600 FROM {db}.records`)))
	q := UsageQuery{Parent: "acme", By: by(b, "account,day,channel,country")}
	b.Run("status", func(b *testing.B) {
		for b.Loop() {
			require.Len(b, ofRows(b, l, UsageQuery{Parent: "acme", By: by(b, "status")}), 2)
		}
	})
	lines := 0
	b.Run("rows", func(b *testing.B) {
		for b.Loop() {
			lines = len(ofRows(b, l, q))
		}
	})
	b.Run("roll", func(b *testing.B) {
		n := 0
		for b.Loop() {
			due, err := l.DueHours(b.Context(), time.Time{}, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
			require.NoError(b, err)
			if len(due) == 0 {
				continue
			}
			require.NoError(b, l.RollHours(b.Context(), due, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)))
			n += len(due)
		}
	})
	for roll(b, l, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)) > 0 {
	}
	b.Run("rollups", func(b *testing.B) {
		for b.Loop() {
			require.Len(b, ofRollups(b, l, q), lines)
		}
	})
	require.Equal(b, shorts(ofRows(b, l, q)), shorts(ofRollups(b, l, q)))
}
