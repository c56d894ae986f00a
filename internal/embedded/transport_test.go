package embedded_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
)

func TestTransportNeedsNoSocket(t *testing.T) {
	t.Parallel()
	e, engine := testengine.StartClickHouse(t), testengine.Embedded(t)
	open := func(password string) clickhouse.Conn {
		t.Helper()
		conn, err := clickhouse.Open(&clickhouse.Options{
			Protocol:      clickhouse.HTTP,
			Addr:          []string{"embedded"},
			Auth:          clickhouse.Auth{Database: "default", Username: engine.User(), Password: password},
			TransportFunc: func(*http.Transport) (http.RoundTripper, error) { return engine.Transport(), nil },
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	ctx, conn := t.Context(), open(engine.Password())
	table := e.Database + ".r"
	require.NoError(t, conn.Exec(ctx, "CREATE TABLE "+table+" (id UInt64, version UInt64, note String) ENGINE = MergeTree ORDER BY id"))
	require.NoError(t, insertNumbers(ctx, conn, table, 0, 10_000))
	var n uint64
	require.NoError(t, conn.QueryRow(ctx, "SELECT count() FROM "+table).Scan(&n))
	require.Equal(t, uint64(10_000), n)
	requireCode(t, conn.Exec(ctx, "SELECT * FROM nope"), 60)
	requireCode(t, open("wrong").Ping(ctx), 516)

	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	started := time.Now()
	require.ErrorIs(t, conn.Exec(short, "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)"), context.DeadlineExceeded)
	require.Less(t, time.Since(started), 30*time.Second, "the query would take a quarter of an hour")
	require.NoError(t, conn.Ping(ctx))
	require.Regexp(t, `^\d+\.\d+`, engine.Version())
}

// Who goes away in the midst of a streamed answer, neither reading on nor
// closing it, holds no connection of the engine's.
func TestTransportLetsGoOfWhoStopsReading(t *testing.T) {
	t.Parallel()
	engine := testengine.Embedded(t)
	ask := func(ctx context.Context) *http.Response {
		t.Helper()
		q := url.Values{
			"wait_end_of_query": {"0"}, "default_format": {"Native"},
			"query": {"SELECT number FROM numbers(1000000000000)"},
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://embedded/?"+q.Encode(), nil)
		require.NoError(t, err)
		req.SetBasicAuth(engine.User(), engine.Password())
		res, err := engine.Transport().RoundTrip(req)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode)
		return res
	}
	for range 20 { // more than the engine has connections
		ctx, cancel := context.WithCancel(t.Context())
		res := ask(ctx)
		_, err := io.ReadFull(res.Body, make([]byte, 1))
		require.NoError(t, err)
		cancel()
	}
	res := ask(t.Context())
	require.NoError(t, res.Body.Close())
}
