package testengine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
)

func TestMain(m *testing.M) { testengine.Main(m) }

func TestStartGivesEachTestItsOwnEngines(t *testing.T) {
	t.Parallel()
	a, b := testengine.Start(t), testengine.Start(t)
	require.NotEqual(t, a.Database, b.Database)
	ctx := t.Context()
	conn := a.ClickHouse(t)
	require.NoError(t, conn.Exec(ctx, "CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a"))
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO t (a, s)")
	require.NoError(t, err)
	defer func() { _ = batch.Close() }()
	require.NoError(t, batch.Column(0).Append([]uint64{1, 2, 3}))
	require.NoError(t, batch.Column(1).Append([]string{"x", "y", "z"}))
	require.NoError(t, batch.Send())
	var n, sum uint64
	require.NoError(t, conn.QueryRow(ctx, "SELECT count(), sum(a) FROM t").Scan(&n, &sum))
	require.Equal(t, []uint64{3, 6}, []uint64{n, sum})
	require.Error(t, b.ClickHouse(t).QueryRow(ctx, "SELECT count() FROM t").Scan(&n))

	require.NoError(t, a.Redis(t).Set(ctx, "k", "v", 0).Err())
	require.Zero(t, b.Redis(t).Exists(ctx, "k").Val())
}

func TestRestartRedisKeepsAddressAndData(t *testing.T) {
	t.Parallel()
	e := testengine.StartRedis(t)
	client := e.Redis(t)
	require.NoError(t, client.Set(t.Context(), "k", "v", 0).Err())
	e.RestartRedis(t)
	require.Equal(t, "v", client.Get(t.Context(), "k").Val())
}
