package ledger

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/sql"
)

func TestMigrateTwiceAndAtTheSameTime(t *testing.T) {
	t.Parallel()
	l := openEmpty(t)
	all, err := sql.Migrations()
	require.NoError(t, err)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { _, errs[i] = l.Migrate(t.Context()) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	applied, err := l.Migrate(t.Context())
	require.NoError(t, err)
	require.Empty(t, applied)

	fresh := openEmpty(t)
	applied, err = fresh.Migrate(t.Context())
	require.NoError(t, err)
	require.Len(t, applied, len(all))
	// Each statement may run again, as after a crash between it and its note.
	require.NoError(t, fresh.conn.Exec(t.Context(), fresh.text("TRUNCATE TABLE {db}.migrations")))
	applied, err = fresh.Migrate(t.Context())
	require.NoError(t, err)
	require.Len(t, applied, len(all))
}

func TestMigrateMakesItsDatabase(t *testing.T) {
	t.Parallel()
	l := openEmpty(t)
	require.NoError(t, l.conn.Exec(t.Context(), l.text("DROP DATABASE {db} SYNC")))
	_, err := l.Migrate(t.Context())
	require.NoError(t, err)
	var engine string
	require.NoError(t, l.conn.QueryRow(t.Context(), "SELECT engine FROM system.databases WHERE name = '"+l.database+"'").Scan(&engine))
	require.Equal(t, "Atomic", engine)
}

// TestALedgerKeepsItsIdentity, which no other has, whatever runs again.
func TestALedgerKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	identity := func(l *Ledger) string {
		t.Helper()
		_, err := l.Migrate(t.Context())
		require.NoError(t, err)
		id, err := l.Identity(t.Context())
		require.NoError(t, err)
		return id
	}
	l, other := openEmpty(t), openEmpty(t)
	name, id, _ := strings.Cut(identity(l), "/")
	require.Equal(t, l.database, name)
	require.Len(t, id, len("00000000-0000-0000-0000-000000000000"))
	_, another, _ := strings.Cut(identity(other), "/")
	require.NotEqual(t, id, another)
	require.NoError(t, l.conn.Exec(t.Context(), l.text("TRUNCATE TABLE {db}.migrations")))
	require.Equal(t, name+"/"+id, identity(l))
}

// TestTestsHaveTheSchemaOfMigrations: other tests work with a copy.
func TestTestsHaveTheSchemaOfMigrations(t *testing.T) {
	t.Parallel()
	schema := func(l *Ledger) []string {
		list := names(t, l, "SELECT create_table_query FROM system.tables WHERE database = '"+l.database+"' ORDER BY name")
		list = append(list, names(t, l, "SELECT concat('migration ', name) FROM "+l.database+".migrations ORDER BY name")...)
		for i := range list {
			list[i] = strings.ReplaceAll(list[i], l.database, "db")
		}
		return list
	}
	migrated, copied := openEmpty(t), open(t)
	_, err := migrated.Migrate(t.Context())
	require.NoError(t, err)
	require.Equal(t, schema(migrated), schema(copied))
	applied, err := copied.Migrate(t.Context())
	require.NoError(t, err)
	require.Empty(t, applied)
}

func TestEveryTableWritesThrough(t *testing.T) {
	t.Parallel()
	l := open(t)
	var loose []string
	require.NoError(t, l.conn.QueryRow(t.Context(), `SELECT groupArray(name) FROM system.tables
		WHERE database = '`+l.database+`' AND engine LIKE '%MergeTree'
		AND NOT (create_table_query LIKE '%fsync_after_insert = 1%' AND create_table_query LIKE '%fsync_part_directory = 1%')`).Scan(&loose))
	require.Empty(t, loose)
}

func TestOpenRefusesWhatIsNoAddress(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{URL: "127.0.0.1:8123"}, {URL: ""}, {URL: "http://h:1", Database: "a-b"}, {URL: "http://h:1", Database: "a; DROP"}} {
		_, err := Open(o)
		require.Error(t, err, "%+v", o)
	}
}

func TestAnEngineThatIsAwayIsErrAway(t *testing.T) {
	t.Parallel()
	l, err := Open(Options{URL: "http://127.0.0.1:1"})
	require.NoError(t, err)
	require.ErrorIs(t, l.Ping(t.Context()), ErrAway)
	_, err = l.CatalogNumber(t.Context())
	require.ErrorIs(t, err, ErrAway)
	_, err = l.Migrate(t.Context())
	require.ErrorIs(t, err, ErrAway)
	_, err = l.Lookup(t.Context(), []metering.Identity{{AccountID: "acme", Kind: metering.KindUsage, ID: "message-of-somebody"}})
	require.ErrorIs(t, err, ErrAway)
	require.NotContains(t, err.Error(), "message-of-somebody", "a line of the log for each try, with all ids of a batch")
	require.ErrorIs(t, l.markHours(t.Context(), []*Row{{Record: sent("m", noon).Record}}, noon), ErrAway)
}

// TestWiderSumsKeepClosedMonths: what was closed before sums were wider stands
// as it was; sums and views hold more from then on.
func TestWiderSumsKeepClosedMonths(t *testing.T) {
	t.Parallel()
	l := open(t)
	exec := func(text string) { require.NoError(t, l.conn.Exec(t.Context(), l.text(text))) }
	// As it was before.
	exec("ALTER TABLE {db}.closings MODIFY COLUMN amount Decimal(18, 6), MODIFY COLUMN refunds Decimal(18, 6), MODIFY COLUMN adjustments Decimal(18, 6)")
	c := &Closing{ParentID: "acme", Period: "2026-09", Amount: sum(999_999_999_999_999_999), Refunds: sum(1), Adjustments: sum(-5), Digest: "abc", Balances: map[string]metering.Micros{}}
	require.NoError(t, l.FinishClosing(t.Context(), c))
	before, err := l.Closings(t.Context(), "acme")
	require.NoError(t, err)
	next := &Closing{ParentID: "acme", Period: "2026-10", Amount: sum(9_000_000_000_000_000_000).Plus(sum(9_000_000_000_000_000_000)), Digest: "def", Balances: map[string]metering.Micros{}}
	for range 2 {
		exec("ALTER TABLE {db}.migrations DELETE WHERE name = '0012_sums' SETTINGS mutations_sync = 1")
		applied, err := l.Migrate(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"0012_sums"}, applied)
		after, err := l.Closings(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
	require.NoError(t, l.FinishClosing(t.Context(), next))
	var billable string
	require.NoError(t, l.conn.QueryRow(t.Context(), l.text("SELECT toString(sum(billable)) FROM {db}.finance_months")).Scan(&billable))
	require.Equal(t, "18999999999999.999993", billable)
}

// TestWhatWasUndecidedStaysSo when the table changes by which it is looked at.
func TestWhatWasUndecidedStaysSo(t *testing.T) {
	t.Parallel()
	l := open(t)
	exec := func(text string) { require.NoError(t, l.conn.Exec(t.Context(), l.text(text))) }
	accounts := []*metering.Account{{ID: "acme"}, {ID: "acme-sub", ParentID: "acme"}}
	require.NoError(t, l.SaveCatalog(t.Context(), 1, accounts, nil, noon))
	exec("INSERT INTO {db}.undecided SELECT arrayJoin(['acme', 'acme-sub', 'gone']), 'm', toDateTime64('2026-11-01 00:00:00', 3, 'UTC'), toDateTime64('2026-11-02 00:00:00', 3, 'UTC'), 1")
	exec("INSERT INTO {db}.undecided SELECT 'acme', n, toDateTime64(0, 3), toDateTime64(0, 3), s FROM (SELECT arrayJoin(['decided']) AS n, arrayJoin([1, -1]) AS s)")
	for range 2 {
		exec("ALTER TABLE {db}.migrations DELETE WHERE name = '0015_refund_looks' SETTINGS mutations_sync = 1")
		applied, err := l.Migrate(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"0015_refund_looks"}, applied)
		list, err := l.Undecided(t.Context(), &UndecidedQuery{At: noon.AddDate(1, 0, 0), Arrived: noon.AddDate(1, 0, 0), Limit: 10})
		require.NoError(t, err)
		of := map[string]string{}
		for _, u := range list {
			of[u.AccountID] = u.ParentID + " " + u.Due.UTC().Format(time.DateOnly) + " " + u.Arrived.UTC().Format(time.DateOnly)
		}
		require.Equal(t, map[string]string{"acme": "acme 2026-11-01 2026-11-02", "acme-sub": "acme 2026-11-01 2026-11-02", "gone": "gone 2026-11-01 2026-11-02"}, of)
		require.Len(t, list, len(of))
	}
}

// TestWhatWaitedStaysSo when the table changes by which it is looked for, and while
// workers of the version before go on.
func TestWhatWaitedStaysSo(t *testing.T) {
	t.Parallel()
	l := open(t)
	exec := func(text string) { require.NoError(t, l.conn.Exec(t.Context(), l.text(text))) }
	old := func(id, state string, version int) {
		exec(fmt.Sprintf("INSERT INTO {db}.waiting (account_id, refers_to, id, raw, since, state, version) VALUES ('acme', 'm', '%s', '{}', toDateTime64('2026-11-01 00:00:00', 3, 'UTC'), '%s', %d)", id, state, version))
	}
	due := func() (ids []string) {
		require.NoError(t, l.WaitingRefunds(t.Context(), noon.AddDate(1, 0, 0), func(w *Waiting, _ bool) error { ids = append(ids, w.ID); return nil }))
		slices.Sort(ids)
		return ids
	}
	exec("DROP VIEW {db}.refund_waits_of_waiting")
	old("before", "waiting", 1)
	old("gone", "waiting", 1)
	old("gone", "done", 2)
	require.Empty(t, due())
	for range 2 {
		exec("ALTER TABLE {db}.migrations DELETE WHERE name = '0018_refund_waits' SETTINGS mutations_sync = 1")
		applied, err := l.Migrate(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"0018_refund_waits"}, applied)
		require.Equal(t, []string{"before"}, due())
	}
	old("after", "waiting", 1)
	require.Equal(t, []string{"after", "before"}, due())
	old("after", "done", 2)
	require.Equal(t, []string{"before"}, due())
}

// TestErrorsHaveNoStatement: what ClickHouse says of one may hold amounts.
func TestErrorsHaveNoStatement(t *testing.T) {
	t.Parallel()
	l := open(t)
	err := l.exec(t.Context(), "closing_finish", map[string]string{
		"parent": "acme", "period": "2026-10", "records": "1", "lines": "1", "amount": strings.Repeat("9", 40), "refunds": "0", "adjustments": "0", "digest": "secret",
		"as_of": "0", "start": "0", "end": "0", "catalog": "1", "epoch": "1", "seq": "1", "balances": "{}", "frozen": "{}",
	})
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrAway)
	require.NotContains(t, err.Error(), "secret")
	require.NotContains(t, err.Error(), "SELECT")
}
