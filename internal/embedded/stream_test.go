package embedded_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
)

// atOnce asks for rows as they come.
var atOnce = clickhouse.Settings{"wait_end_of_query": 0, "max_block_size": 10_000, "max_threads": 1}

// residentKiB is the process's resident memory.
func residentKiB(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
			require.NoError(t, err)
			return n
		}
	}
	require.Fail(t, "no VmRSS")
	return 0
}

// Answers of any size go out as their rows come, over a socket and without one.
func TestStreamedAnswers(t *testing.T) { //nolint:paralleltest // it measures the process's memory
	testengine.Bound(t, 5*time.Minute) // much data
	e, engine := testengine.StartClickHouse(t), testengine.Embedded(t)
	conns := map[string]clickhouse.Conn{"socket": e.ClickHouse(t)}
	inside, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{"embedded"},
		Auth:          clickhouse.Auth{Database: "default", Username: engine.User(), Password: engine.Password()},
		TransportFunc: func(*http.Transport) (http.RoundTripper, error) { return engine.Transport(), nil },
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = inside.Close() })
	conns["no socket"] = inside
	for name, conn := range conns {
		t.Run(name, func(t *testing.T) {
			ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(atOnce), clickhouse.WithParameters(clickhouse.Parameters{"n": "2000000"}))
			before := residentKiB(t)
			rows, err := conn.Query(ctx, "SELECT number, repeat('x', 100) AS s FROM numbers({n:UInt64})")
			require.NoError(t, err)
			n, most := uint64(0), 0
			for ; rows.Next(); n++ {
				var number uint64
				var s string
				if err := rows.Scan(&number, &s); err != nil || number != n {
					require.FailNow(t, "row", "%d is %d: %v", n, number, err)
				}
				if n%500_000 == 0 {
					most = max(most, residentKiB(t))
				}
			}
			require.NoError(t, rows.Err())
			require.NoError(t, rows.Close())
			require.EqualValues(t, 2_000_000, n)
			require.Less(t, most-before, 100<<10, "200 MB of answers are never held at once")

			// An error before the first row is an answer, one after it breaks off.
			_, err = conn.Query(ctx, "SELECT nope")
			requireCode(t, err, 47)
			rows, err = conn.Query(ctx, "SELECT number, throwIf(number = 100000) FROM numbers(200000)")
			if err == nil {
				for rows.Next() {
					_ = rows.Err()
				}
				require.Error(t, rows.Err(), "a part isn't the whole")
				_ = rows.Close()
			}

			// Who stops reading leaves nothing behind: the connections are free again.
			for range 20 {
				short, cancel := context.WithCancel(ctx)
				rows, err := conn.Query(short, "SELECT number FROM numbers(1000000000000)")
				require.NoError(t, err)
				require.True(t, rows.Next())
				require.NoError(t, rows.Err())
				cancel()
				_ = rows.Close()
			}
			require.NoError(t, conn.Ping(t.Context()))
			var none uint64
			rows, err = conn.Query(ctx, "SELECT number FROM numbers(0)")
			require.NoError(t, err)
			require.False(t, rows.Next())
			require.NoError(t, rows.Err())
			require.Zero(t, none)
		})
	}
}

func TestAnAnswerThatBreaksOffIsNoWholeOne(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	q := url.Values{"wait_end_of_query": {"0"}, "default_format": {"Native"}, "max_block_size": {"10"}, "max_threads": {"1"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.ClickHouseURL+"/?"+q.Encode(),
		strings.NewReader("SELECT number, throwIf(number = 100000) FROM numbers(200000)"))
	require.NoError(t, err)
	req.SetBasicAuth(e.ClickHouseUser, e.ClickHousePassword)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	require.Equal(t, http.StatusOK, res.StatusCode)
	_, err = io.Copy(io.Discard, res.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}
