package ledger

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// activityRows are messages with all kinds of rows about them, in two accounts.
func activityRows() []Row {
	plain := sent("plain", noon.Add(time.Minute))
	plain.Record.Status = ""
	early := sent("early", noon.Add(-20*time.Hour))
	early.Record.Direction = metering.Inbound
	call := sent("call", noon)
	call.Record.Channel, call.Record.Unit, call.Record.Units = "voice", "minute", metering.Some(metering.Quantity(1_500_000))
	dollars := sent("dollars", noon) // another group of amounts, the same of messages
	dollars.Currency = "USD"
	adjustment := sent("a1", noon)
	adjustment.Record.Kind, adjustment.Charge = metering.KindAdjustment, metering.Charge{Amount: -20_000}
	other := sent("two", noon)
	other.Record.AccountID = "acme-support"
	return []Row{
		plain, early, call, dollars, adjustment, other,
		sent("one", noon), sent("two", noon), sent("hour", noon.Add(time.Hour)),
		status("s1", "one", "delivered", noon.Add(time.Minute)), status("s2", "one", "failed", noon.Add(2*time.Minute)),
		status("s3", "two", "accepted", noon), // the rank decides
		status("s4", "hour", "failed", noon.Add(-48*time.Hour)), status("s5", "call", "read", noon.Add(40*24*time.Hour)),
		refund("one", 40_000, noon.Add(24*time.Hour)), // alone in its day
	}
}

// activity is what a query gives: messages by the keys of their group.
func activity(tb testing.TB, l *Ledger, q ActivityQuery, s string) map[string]uint64 {
	tb.Helper()
	got := map[string]uint64{}
	require.NoError(tb, l.ActivityBy(tb.Context(), q, by(tb, s), func(g *ActivityGroup) error {
		key := strings.Join(g.Keys, "|")
		require.NotContains(tb, got, key)
		got[key] = g.Messages
		return nil
	}))
	return got
}

// groupings of activity: each dimension alone, and some together.
var groupings = []string{"account", "day", "hour", "channel", "direction", "status", "day,channel,direction,status", "status,hour,account,day"}

// What a reader without sight of money gets are the records of usage.
func TestActivityCountsAsUsageDoes(t *testing.T) {
	t.Parallel()
	l := open(t)
	apply(t, l, "acme", "acme-marketing", "acme-support")
	put(t, l, noon, activityRows()...)
	zone, err := time.LoadLocation("Asia/Kathmandu")
	require.NoError(t, err)
	for _, q := range []UsageQuery{
		{Parent: "acme"},
		{Parent: "acme", Accounts: []string{"acme-marketing"}, Zone: zone},
		{Parent: "acme", Accounts: []string{"acme-marketing"}, From: noon, To: noon.Add(time.Hour)},
		{Parent: "acme", Accounts: []string{"acme-marketing"}, From: noon.Add(20 * time.Hour)}, // a refund alone
		{Parent: "globex"},
	} {
		for _, g := range groupings {
			q.By = by(t, g)
			want := map[string]uint64{}
			for _, u := range usage(t, l, q) {
				if u.Records > 0 { // else a refund or an adjustment alone
					want[strings.Join(u.Keys, "|")] += u.Records
				}
			}
			require.Equal(t, want, activity(t, l, ActivityQuery{Parent: q.Parent, Accounts: q.Accounts, From: q.From, To: q.To, Zone: q.Zone}, g), "%+v", q)
		}
	}
	err = l.ActivityBy(t.Context(), ActivityQuery{Parent: "acme"}, nil, nil)
	require.ErrorContains(t, err, "name what to group by")
	require.ErrorContains(t, l.ActivityBy(t.Context(), ActivityQuery{Parent: "acme"}, []Dimension{"x"}, nil), "unknown dimension")
	require.Error(t, l.ActivityBy(t.Context(), ActivityQuery{Parent: "acme"}, []Dimension{DimPlan}, nil), "it selects no plan")
}

// sightless are the columns of records that queries for a reader without sight
// of money may read. Units are how long a call was; the bill's period selects rows.
var sightless = []string{
	"account_id", "kind", "id", "occurred_at", "parent_id", "channel", "direction", "status", "error_code", "recipient", "sender", "country",
	"units", "unit", "refers_to", "booked", "epoch", "seq",
}

// The queries for a reader without sight of money run without the columns that
// hold any: they select none. A column that is new may not be read either.
func TestActivityReadsNoEconomicColumn(t *testing.T) {
	t.Parallel()
	l := open(t)
	apply(t, l, "acme", "acme-marketing", "acme-support")
	put(t, l, noon, activityRows()...)
	q := ActivityQuery{Parent: "acme"}
	before := map[string]map[string]uint64{}
	for _, g := range groupings {
		before[g] = activity(t, l, q, g)
		require.NotEmpty(t, before[g])
	}
	forget(t, l)

	require.Error(t, l.Usage(t.Context(), UsageQuery{Parent: "acme"}, func(*UsageLine) error { return nil }))
	for _, g := range groupings {
		require.Equal(t, before[g], activity(t, l, q, g), g)
	}
	lines := 0
	require.NoError(t, l.Activity(t.Context(), q, func(*ActivityLine) error { lines++; return nil }))
	require.NotZero(t, lines)
	messages := 0
	require.NoError(t, l.MessageActivity(t.Context(), q, func(*CallRow) error { messages++; return nil }))
	require.NotZero(t, messages)
}

// forget drops all columns of records that aren't sightless, and the views that
// read them.
func forget(tb testing.TB, l *Ledger) {
	tb.Helper()
	for _, view := range names(tb, l, "SELECT name FROM system.tables WHERE database = '"+l.database+"' AND engine = 'MaterializedView'") {
		require.NoError(tb, l.conn.Exec(tb.Context(), "DROP VIEW "+l.database+"."+view))
	}
	var drop []string
	for _, column := range names(tb, l, "SELECT name FROM system.columns WHERE database = '"+l.database+"' AND table = 'records'") {
		if !slices.Contains(sightless, column) {
			drop = append(drop, "DROP COLUMN "+column)
		}
	}
	require.Greater(tb, len(drop), 10)
	require.NoError(tb, l.conn.Exec(tb.Context(), "ALTER TABLE "+l.database+".records "+strings.Join(drop, ", ")))
}

func names(tb testing.TB, l *Ledger, query string) []string {
	tb.Helper()
	rows, err := l.conn.Query(tb.Context(), query)
	require.NoError(tb, err)
	defer func() { _ = rows.Close() }()
	var list []string
	for rows.Next() {
		var name string
		require.NoError(tb, rows.Scan(&name))
		list = append(list, name)
	}
	require.NoError(tb, rows.Err())
	return list
}
