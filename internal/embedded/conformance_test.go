package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/meterd/meterd/internal/testengine"
)

// These tests hold for any ClickHouse that meterd works with. They run against
// the embedded engine, or with METERD_TEST_CLICKHOUSE against a real server.

const everyTypeDDL = `CREATE TABLE every (
	id        UInt64,
	account   LowCardinality(String),
	kind      Enum8('usage' = 1, 'refund' = 2),
	amount    Decimal(18, 6),
	at        DateTime64(3, 'UTC'),
	tags      Map(LowCardinality(String), String),
	parts     Array(UInt32),
	note      Nullable(String),
	fee       Nullable(Decimal(18, 6)),
	hash      FixedString(16),
	day       Date,
	ok        Bool,
	delta     Int64
) ENGINE = MergeTree ORDER BY (account, id)`

func TestEveryTypeComesBackAsItWent(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	ctx, conn := t.Context(), e.ClickHouse(t)
	require.NoError(t, conn.Exec(ctx, everyTypeDDL))

	const rows = 3
	at := time.Date(2026, 11, 3, 4, 5, 6, 789_000_000, time.UTC)
	note, fee := "it's\n\t\\ näïve", decimal.RequireFromString("0.000001")
	hash := strings.Repeat("\x00\xff", 8)
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO every")
	require.NoError(t, err)
	defer func() { _ = batch.Close() }()
	for i, column := range []any{
		[]uint64{1, 1 << 63, 18446744073709551615},
		[]string{"a", "a", "b"},
		[]string{"usage", "refund", "usage"},
		[]decimal.Decimal{decimal.RequireFromString("999999999999.999999"), decimal.RequireFromString("-0.000001"), {}},
		[]time.Time{at, at.Add(time.Millisecond), at},
		[]map[string]string{{"k": "v", "": "x"}, {}, nil},
		[][]uint32{{1, 2, 3}, {}, nil},
		[]*string{&note, nil, nil},
		[]*decimal.Decimal{&fee, nil, nil},
		[]string{hash, hash, hash},
		[]time.Time{at, at, at},
		[]bool{true, false, true},
		[]int64{-9223372036854775808, 9223372036854775807, 0},
	} {
		require.NoError(t, batch.Column(i).Append(column), "column %d", i)
	}
	require.Equal(t, rows, batch.Rows())
	require.NoError(t, batch.Send())

	var (
		id            uint64
		account, kind string
		amount        decimal.Decimal
		gotAt, day    time.Time
		tags          map[string]string
		parts         []uint32
		gotNote       *string
		gotFee        *decimal.Decimal
		gotHash       string
		ok            bool
		delta         int64
	)
	row := conn.QueryRow(ctx, "SELECT * FROM every WHERE id = 1")
	require.NoError(t, row.Scan(&id, &account, &kind, &amount, &gotAt, &tags, &parts, &gotNote, &gotFee, &gotHash, &day, &ok, &delta))
	require.Equal(t, "a", account)
	require.Equal(t, "usage", kind)
	require.Equal(t, "999999999999.999999", amount.StringFixed(6))
	require.True(t, gotAt.Equal(at))
	require.Equal(t, map[string]string{"k": "v", "": "x"}, tags)
	require.Equal(t, []uint32{1, 2, 3}, parts)
	require.Equal(t, note, *gotNote)
	require.True(t, fee.Equal(*gotFee))
	require.Equal(t, hash, gotHash)
	require.Equal(t, "2026-11-03", day.Format(time.DateOnly))
	require.True(t, ok)
	require.Equal(t, int64(-9223372036854775808), delta)

	var sum decimal.Decimal
	var nulls, biggest uint64
	require.NoError(t, conn.QueryRow(ctx, "SELECT sum(amount), countIf(note IS NULL), max(id) FROM every").Scan(&sum, &nulls, &biggest))
	require.Equal(t, "999999999999.999998", sum.StringFixed(6))
	require.Equal(t, uint64(2), nulls)
	require.Equal(t, uint64(18446744073709551615), biggest)
}

// insertNumbers inserts rows n0 to n1 in one batch, column by column.
func insertNumbers(ctx context.Context, conn driver.Conn, table string, n0, n1 uint64) error {
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+table+" (id, version, note)")
	if err != nil {
		return err
	}
	defer func() { _ = batch.Close() }()
	ids, versions, notes := make([]uint64, 0, n1-n0), make([]uint64, 0, n1-n0), make([]string, 0, n1-n0)
	for i := n0; i < n1; i++ {
		ids, versions, notes = append(ids, i), append(versions, 1), append(notes, "note")
	}
	if err := errors.Join(batch.Column(0).Append(ids), batch.Column(1).Append(versions), batch.Column(2).Append(notes)); err != nil {
		return err
	}
	return batch.Send()
}

const replacingDDL = `CREATE TABLE r (id UInt64, version UInt64, note LowCardinality(String))
	ENGINE = ReplacingMergeTree(version) ORDER BY id PARTITION BY id % 2
	SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1`

func TestReplacingTableReadsOnceWithFinal(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	ctx, conn := t.Context(), e.ClickHouse(t)
	require.NoError(t, conn.Exec(ctx, replacingDDL))
	const rows = 100_000
	started := time.Now()
	for range 2 {
		require.NoError(t, insertNumbers(ctx, conn, "r", 0, rows))
	}
	t.Logf("%d rows in %v", 2*rows, time.Since(started))
	var n uint64
	require.NoError(t, conn.QueryRow(ctx, "SELECT count() FROM r FINAL SETTINGS do_not_merge_across_partitions_select_final = 1").Scan(&n))
	require.Equal(t, uint64(rows), n)
	require.NoError(t, conn.Exec(ctx, "OPTIMIZE TABLE r FINAL"))
	require.NoError(t, conn.QueryRow(ctx, "SELECT count() FROM r").Scan(&n))
	require.Equal(t, uint64(rows), n, "parts have been merged")
}

func TestDeduplicationTokenDropsTheSecondCopy(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	conn := e.ClickHouse(t)
	require.NoError(t, conn.Exec(t.Context(), replacingDDL))
	insert := func(token string) {
		t.Helper()
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{
			"insert_deduplication_token": token,
			"async_insert":               0,
		}))
		require.NoError(t, insertNumbers(ctx, conn, "r", 0, 10))
	}
	count := func() (n uint64) {
		t.Helper()
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM r").Scan(&n))
		return n
	}
	insert("it's one")
	insert("it's one")
	require.Equal(t, uint64(10), count())
	insert("two")
	require.Equal(t, uint64(20), count())
}

func TestSettingsLastForOneRequest(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	conn := e.ClickHouse(t)
	setting := func(ctx context.Context, name string) (value string) {
		t.Helper()
		require.NoError(t, conn.QueryRow(ctx, "SELECT value FROM system.settings WHERE name = '"+name+"'").Scan(&value))
		return value
	}
	usual := setting(t.Context(), "max_block_size")
	for range 20 { // more often than the pool has connections
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_block_size": 4321}))
		require.Equal(t, "4321", setting(ctx, "max_block_size"))
		require.Equal(t, usual, setting(t.Context(), "max_block_size"))
	}
	require.NoError(t, conn.Exec(t.Context(), "SET max_block_size = 1234"))
	for range 20 {
		require.Equal(t, usual, setting(t.Context(), "max_block_size"), "SET does not outlive its request")
	}
	bad := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"no_such_setting": 1}))
	requireCode(t, conn.Exec(bad, "SELECT 1"), 115)
	require.Equal(t, usual, setting(t.Context(), "max_block_size"))
}

// requireCode checks that err is a ClickHouse exception with the given code.
func requireCode(t *testing.T, err error, code int32) {
	t.Helper()
	var exception *clickhouse.Exception
	require.ErrorAs(t, err, &exception)
	require.Equal(t, code, exception.Code, err.Error())
}

func TestErrorsCarryTheirCode(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	ctx, conn := t.Context(), e.ClickHouse(t)
	requireCode(t, conn.Exec(ctx, "SELECT * FROM no_such_table"), 60)
	requireCode(t, conn.Exec(ctx, "SELEC 1"), 62)
	requireCode(t, conn.Exec(ctx, "SELECT no_such_column"), 47)
	requireCode(t, conn.Exec(ctx, "SELECT * FROM no_such_db.t"), 81)
	requireCode(t, conn.Exec(ctx, "SELECT throwIf(number = 3) FROM numbers(10)"), 395)
	requireCode(t, conn.Exec(ctx, "SELECT {missing:UInt8}"), 456)

	options := e.ClickHouseOptions(t)
	options.Auth.Password = "wrong"
	other, err := clickhouse.Open(options)
	require.NoError(t, err)
	defer func() { _ = other.Close() }()
	requireCode(t, other.Ping(ctx), 516)

	options = e.ClickHouseOptions(t)
	options.Auth.Database = "no_such_database"
	other, err = clickhouse.Open(options)
	require.NoError(t, err)
	defer func() { _ = other.Close() }()
	requireCode(t, other.Exec(ctx, "SELECT 1"), 81)
}

func TestQueryParameters(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	conn := e.ClickHouse(t)
	awkward := "it's \\ a \"value\" with äöü and 100%"
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	ctx := clickhouse.Context(t.Context(), clickhouse.WithParameters(clickhouse.Parameters{
		"text":  strings.ReplaceAll(awkward, `\`, `\\`),
		"n":     "18446744073709551615",
		"names": `['a','b\'c']`,
		"at":    "2026-02-03 04:05:06.000",
		"d":     "1.000001",
	}))
	var (
		text  string
		n     uint64
		names []string
		got   time.Time
		d     decimal.Decimal
	)
	require.NoError(t, conn.QueryRow(ctx,
		"SELECT {text:String}, {n:UInt64}, {names:Array(String)}, {at:DateTime64(3, 'UTC')}, {d:Decimal(18, 6)}",
	).Scan(&text, &n, &names, &got, &d))
	require.Equal(t, awkward, text)
	require.Equal(t, uint64(18446744073709551615), n)
	require.Equal(t, []string{"a", "b'c"}, names)
	require.True(t, got.Equal(at))
	require.Equal(t, "1.000001", d.String())

	require.NoError(t, conn.QueryRow(t.Context(), "SELECT {x:String}", clickhouse.Named("x", "it's \\ bound")).Scan(&text))
	require.Equal(t, "it's \\ bound", text)
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT ?, ?", "it's \\ a ? mark", 7).Scan(&text, new(uint8)))
	require.Equal(t, "it's \\ a ? mark", text)
}

func TestLongQueriesPassWithTheirSetting(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	conn := e.ClickHouse(t)
	long := "SELECT length('" + strings.Repeat("x", 300<<10) + "')"
	requireCode(t, conn.Exec(t.Context(), long), 62)
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_query_size": 10 << 20}))
	var n uint64
	require.NoError(t, conn.QueryRow(ctx, long).Scan(&n))
	require.Equal(t, uint64(300<<10), n)

	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("'%0300d'", i)
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"ids": "[" + strings.Join(ids, ",") + "]"}))
	require.NoError(t, conn.QueryRow(ctx, "SELECT length({ids:Array(String)})").Scan(&n))
	require.Equal(t, uint64(1000), n)
}

func TestLargeResultsAndEmptyOnes(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD, clickhouse.CompressionGZIP} {
		t.Run(method.String(), func(t *testing.T) {
			t.Parallel()
			options := e.ClickHouseOptions(t)
			options.Compression = &clickhouse.Compression{Method: method, Level: 3}
			conn, err := clickhouse.Open(options)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			const want = 200_000
			rows, err := conn.Query(t.Context(), "SELECT number, toString(number) FROM numbers({n:UInt64})", clickhouse.Named("n", fmt.Sprint(want)))
			require.NoError(t, err)
			defer func() { _ = rows.Close() }()
			var n, sum uint64
			for rows.Next() {
				var number uint64
				var text string
				require.NoError(t, rows.Scan(&number, &text))
				n, sum = n+1, sum+number
			}
			require.NoError(t, rows.Err())
			require.Equal(t, uint64(want), n)
			require.Equal(t, uint64(want)*(want-1)/2, sum)

			empty, err := conn.Query(t.Context(), "SELECT number FROM numbers(0)")
			require.NoError(t, err)
			require.False(t, empty.Next())
			require.NoError(t, errors.Join(empty.Err(), empty.Close()))

			table := "c_" + method.String()
			require.NoError(t, conn.Exec(t.Context(), strings.Replace(replacingDDL, "TABLE r", "TABLE "+table, 1)))
			require.NoError(t, insertNumbers(t.Context(), conn, table, 0, 50_000))
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM "+table).Scan(&n))
			require.Equal(t, uint64(50_000), n)
		})
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	conn := e.ClickHouse(t)
	require.NoError(t, conn.Exec(t.Context(), replacingDDL))
	group, ctx := errgroup.WithContext(t.Context())
	const clients, batches, rows uint64 = 12, 4, 500
	for client := range clients {
		group.Go(func() error {
			for batch := range batches {
				n0 := (client*batches + batch) * rows
				if err := insertNumbers(ctx, conn, "r", n0, n0+rows); err != nil {
					return err
				}
				var n uint64
				if err := conn.QueryRow(ctx, "SELECT count() FROM r WHERE id >= {a:UInt64} AND id < {b:UInt64}",
					clickhouse.Named("a", fmt.Sprint(n0)), clickhouse.Named("b", fmt.Sprint(n0+rows))).Scan(&n); err != nil {
					return err
				}
				if n != rows {
					return fmt.Errorf("client %d reads %d of its own rows", client, n)
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	var n uint64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM r FINAL").Scan(&n))
	require.Equal(t, clients*batches*rows, n)
}

func TestEachDatabaseSeesItsOwnTables(t *testing.T) {
	t.Parallel()
	a, b := testengine.StartClickHouse(t), testengine.StartClickHouse(t)
	ctx, connA, connB := t.Context(), a.ClickHouse(t), b.ClickHouse(t)
	require.NoError(t, connA.Exec(ctx, "CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n"))
	require.NoError(t, connB.Exec(ctx, "CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n"))
	require.NoError(t, connA.Exec(ctx, "INSERT INTO t VALUES (1), (2)"))
	for range 10 {
		var inA, inB uint64
		require.NoError(t, connA.QueryRow(ctx, "SELECT count() FROM t").Scan(&inA))
		require.NoError(t, connB.QueryRow(ctx, "SELECT count() FROM t").Scan(&inB))
		require.Equal(t, []uint64{2, 0}, []uint64{inA, inB})
	}
	require.NoError(t, connA.Exec(ctx, "USE "+b.Database))
	var name string
	require.NoError(t, connA.QueryRow(ctx, "SELECT currentDatabase()").Scan(&name))
	require.Equal(t, a.Database, name, "USE does not outlive its request")
}

func TestACancelledQueryFreesItsConnection(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	conn := e.ClickHouse(t)
	var group errgroup.Group
	for range 10 { // more than the embedded engine has connections
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			err := conn.QueryRow(ctx, "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)").Err()
			if !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("want %w, got %w", context.DeadlineExceeded, err)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 20 {
		var n uint64
		require.NoError(t, conn.QueryRow(ctx, "SELECT count() FROM numbers(10)").Scan(&n))
		require.Equal(t, uint64(10), n)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, conn.Exec(done, "SELECT 1"), context.Canceled)
}

// TestACancelledQueryNeverRunsOn: a request may end just before the engine begins
// its query, so that there is nothing to stop yet.
func TestACancelledQueryNeverRunsOn(t *testing.T) {
	t.Parallel()
	testengine.StartClickHouse(t)
	ended := make(chan error, 1)
	go func() {
		ended <- testengine.Embedded(t).RunCancelled(t.Context(), "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)")
	}()
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "QUERY_WAS_CANCELLED")
	case <-time.After(30 * time.Second):
		require.Fail(t, "it runs on")
	}
}

func TestInsertSelectWithSettingsAndMaterializedView(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	ctx, conn := t.Context(), e.ClickHouse(t)
	require.NoError(t, conn.Exec(ctx, replacingDDL))
	require.NoError(t, conn.Exec(ctx, "CREATE TABLE sums (day UInt8, n UInt64) ENGINE = SummingMergeTree ORDER BY day"))
	require.NoError(t, conn.Exec(ctx, "CREATE MATERIALIZED VIEW mv TO sums AS SELECT toUInt8(id % 7) AS day, count() AS n FROM r GROUP BY day"))
	require.NoError(t, conn.Exec(ctx, "INSERT INTO r (id, version, note) SELECT number, 1, 'x' FROM numbers(70) SETTINGS max_threads = 1"))
	require.NoError(t, insertNumbers(ctx, conn, "r", 100, 170))
	var n uint64
	require.NoError(t, conn.QueryRow(ctx, "SELECT sum(n) FROM sums").Scan(&n))
	require.Equal(t, uint64(140), n)
	require.NoError(t, conn.Exec(ctx, "ALTER TABLE r ADD COLUMN extra Nullable(String)"))
	require.NoError(t, conn.Exec(ctx, "ALTER TABLE r DELETE WHERE id >= 100 SETTINGS mutations_sync = 2"))
	require.NoError(t, conn.QueryRow(ctx, "SELECT count() FROM r").Scan(&n))
	require.Equal(t, uint64(70), n)
}

func TestABatchThatFailsWritesNothing(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	ctx, conn := t.Context(), e.ClickHouse(t)
	require.NoError(t, conn.Exec(ctx, "CREATE TABLE t (n UInt8, CONSTRAINT small CHECK n < 200) ENGINE = MergeTree ORDER BY n"))
	send := func(values ...uint8) error {
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO t (n)")
		require.NoError(t, err)
		defer func() { _ = batch.Close() }()
		require.NoError(t, batch.Column(0).Append(values))
		return batch.Send()
	}
	requireCode(t, send(1, 2, 250), 469)
	require.NoError(t, send(1, 2))
	var n uint64
	require.NoError(t, conn.QueryRow(ctx, "SELECT count() FROM t").Scan(&n))
	require.Equal(t, uint64(2), n)
	requireCode(t, insertNumbers(ctx, conn, "no_such_table", 0, 1), 60)
}
