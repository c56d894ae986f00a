package ledger

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

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
	require.ErrorIs(t, l.markHours(t.Context(), []*Row{{Record: sent("m", noon).Record}}, noon), ErrAway)
}
