package embedded_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/meterd/meterd/internal/testengine"
)

// answersFor says how long TestEachAnswerIsToItsQuestion asks: 2 s if it isn't set.
const answersFor = "METERD_ANSWERS_FOR"

// TestEachAnswerIsToItsQuestion: many ask over few connections, that are soon
// replaced and break, and stop waiting at any time. Every answer that comes has
// as many columns as were asked for, and the asker's own token in each.
func TestEachAnswerIsToItsQuestion(t *testing.T) {
	t.Parallel()
	e, engine := testengine.StartClickHouse(t), testengine.Embedded(t)
	last := 2 * time.Second
	if text := os.Getenv(answersFor); text != "" {
		var err error
		last, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	for name, change := range map[string]func(*clickhouse.Options){
		"loopback": func(*clickhouse.Options) {},
		"breaking": func(o *clickhouse.Options) { o.DialContext = breaking },
		"one transport": func(o *clickhouse.Options) {
			shared := &http.Transport{MaxIdleConns: 2, IdleConnTimeout: 20 * time.Millisecond, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return breaking(ctx, addr)
			}}
			t.Cleanup(shared.CloseIdleConnections)
			o.TransportFunc = func(*http.Transport) (http.RoundTripper, error) { return shared, nil }
		},
		"in process": func(o *clickhouse.Options) {
			o.TransportFunc = func(*http.Transport) (http.RoundTripper, error) { return engine.Transport(), nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := e.ClickHouseOptions(t)
			o.MaxOpenConns, o.MaxIdleConns = 1, 1
			change(o)
			ask(t, openFew(t, o), last)
		})
	}
}

// few are connections that many share. A pool with a short ConnMaxLifetime would
// replace them too, but its Close may then wait for ever
// (ClickHouse/clickhouse-go#1990): so each is a pool of its own.
type few struct {
	options *clickhouse.Options
	free    chan driver.Conn
	opened  atomic.Int64
}

func openFew(t *testing.T, o *clickhouse.Options) *few {
	t.Helper()
	const size = 3
	f := &few{options: o, free: make(chan driver.Conn, size)}
	for range size {
		conn, err := f.open()
		require.NoError(t, err)
		f.free <- conn
	}
	t.Cleanup(func() {
		require.Len(t, f.free, size)
		for range size {
			require.NoError(t, (<-f.free).Close())
		}
	})
	return f
}

func (f *few) open() (driver.Conn, error) {
	f.opened.Add(1)
	return clickhouse.Open(f.options)
}

// with lends one, which is then replaced or not. No error if ctx ends before one
// is free.
func (f *few) with(ctx context.Context, replace bool, use func(driver.Conn) error) (err error) {
	var conn driver.Conn
	select {
	case conn = <-f.free:
	case <-ctx.Done():
		return nil
	}
	defer func() { f.free <- conn }()
	if err := use(conn); err != nil || !replace {
		return err
	}
	next, err := f.open()
	if err != nil {
		return err
	}
	old := conn
	conn = next
	return old.Close()
}

// TestAFailedQueryLeavesNothingBehind: what it had answered when it failed isn't
// the beginning of the next one's answer.
func TestAFailedQueryLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	conn := testengine.StartClickHouse(t).ClickHouse(t)
	drain := func(ctx context.Context, query string) error {
		rows, err := conn.Query(ctx, query)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
		}
		return rows.Err()
	}
	for range 16 { // more than the engine has connections
		requireCode(t, drain(t.Context(), "SELECT number, throwIf(number = 20000) FROM numbers(30000) SETTINGS max_block_size = 1000, max_threads = 1"), 395)
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		require.Error(t, drain(short, "SELECT number, sleepEachRow(0.001) FROM numbers(100000) SETTINGS max_block_size = 1, max_threads = 1"))
		cancel()
	}
	for i := range uint64(32) {
		rows, err := conn.Query(t.Context(), fmt.Sprint("SELECT toUInt64(", i, ") AS a, a, a"))
		require.NoError(t, err)
		require.Len(t, rows.Columns(), 3)
		var got [][3]uint64
		for rows.Next() {
			var a, b, c uint64
			require.NoError(t, rows.Scan(&a, &b, &c))
			got = append(got, [3]uint64{a, b, c})
		}
		require.NoError(t, rows.Err())
		require.Equal(t, [][3]uint64{{i, i, i}}, got)
		require.NoError(t, rows.Close())
	}
}

// ask has many ask for so long.
func ask(t *testing.T, conns *few, last time.Duration) {
	t.Helper()
	var answered, unanswered atomic.Int64
	until := time.Now().Add(last)
	var all errgroup.Group
	for i := range 24 {
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		all.Go(func() error {
			for n := 0; time.Now().Before(until); n++ {
				q := question{token: uint64(i)<<32 | uint64(n), columns: 1 + rng.IntN(6), rows: []int{0, 1, 1, 3}[rng.IntN(4)]}
				if rng.IntN(30) == 0 {
					q.rows = 70_000 // of some blocks
				}
				q.slow, q.wrong = rng.IntN(20) == 0, rng.IntN(20) == 0
				ctx, cancel := context.WithCancel(t.Context())
				if rng.IntN(2) == 0 {
					ctx, cancel = context.WithTimeout(t.Context(), time.Duration(rng.IntN(30_000))*time.Microsecond)
				}
				ok := false
				err := conns.with(ctx, rng.IntN(2) == 0, func(conn driver.Conn) (err error) {
					ok, err = q.ask(ctx, conn)
					return err
				})
				cancel()
				if err != nil {
					return err
				}
				if ok {
					answered.Add(1)
				} else {
					unanswered.Add(1)
				}
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
	t.Logf("%d answers, %d that didn't come, %d connections", answered.Load(), unanswered.Load(), conns.opened.Load())
	assert.Positive(t, answered.Load())
	assert.Positive(t, unanswered.Load())
}

// question is a query whose answer can be none but its own.
type question struct {
	token         uint64
	columns, rows int
	slow, wrong   bool
}

func (q question) text() string {
	column := fmt.Sprint("toUInt64(", q.token, ")")
	if q.slow {
		column = fmt.Sprint("toUInt64(", q.token, " + sleep(0.01))")
	}
	if q.wrong {
		column = fmt.Sprint("throwIf(number >= 0, 'token ", q.token, "')")
	}
	return "SELECT " + strings.Join(slices.Repeat([]string{column}, q.columns), ", ") + fmt.Sprint(" FROM numbers(", q.rows, ")")
}

// ask returns whether the answer came, and an error if it is another's.
func (q question) ask(ctx context.Context, conn driver.Conn) (bool, error) {
	rows, err := conn.Query(ctx, q.text())
	if err != nil {
		return false, q.own(err)
	}
	defer func() { _ = rows.Close() }()
	got, values := 0, make([]uint64, q.columns)
	into := make([]any, q.columns)
	for i := range values {
		into[i] = &values[i]
	}
	if n := len(rows.Columns()); n != q.columns && n != 0 {
		return false, fmt.Errorf("asked for %d columns, got %v", q.columns, rows.Columns())
	}
	for ; rows.Next(); got++ {
		if err := rows.Scan(into...); err != nil {
			return false, fmt.Errorf("%s: %w", q.text(), err)
		}
		for _, v := range values {
			if v != q.token {
				return false, fmt.Errorf("asked for %d, got %d", q.token, v)
			}
		}
	}
	if err := rows.Err(); err != nil {
		return false, q.own(err)
	}
	if got != q.rows && (!q.wrong || got > 0) {
		return false, fmt.Errorf("asked for %d rows, got %d without an error", q.rows, got)
	}
	return true, nil
}

// own wants an error that the engine gave to be of this question.
func (q question) own(err error) error {
	text := err.Error()
	if i := strings.Index(text, "token "); i >= 0 && !strings.HasPrefix(text[i:], fmt.Sprint("token ", q.token)) {
		return fmt.Errorf("asked for %d, got an error of another: %w", q.token, err)
	}
	return nil
}

// breaking dials connections that break after some bytes.
func breaking(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	b := &breakingConn{Conn: c}
	b.left.Store(rand.Int64N(200_000))
	return b, nil
}

type breakingConn struct {
	net.Conn

	left atomic.Int64 // bytes until it breaks
}

// Read implements net.Conn.
func (b *breakingConn) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if b.left.Add(int64(-n)) < 0 {
		_ = b.Close()
		return n / 2, net.ErrClosed
	}
	return n, err
}
