package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering/ledger"
)

// TestAnEngineThatGoesAndComesBack is said once each, with where it is.
func TestAnEngineThatGoesAndComesBack(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := []error{nil, errors.New("OOM command not allowed"), errors.New("OOM command not allowed"), nil, nil}
	s := &sight{name: "redis", address: "10.0.0.1:6379", log: slog.New(slog.NewTextHandler(&out, nil)), ask: func(context.Context) error {
		err := answers[0]
		if answers = answers[1:]; len(answers) == 0 {
			cancel()
		}
		return err
	}, every: 1, again: 1}
	s.run(ctx)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], `level=ERROR msg="an engine can't be used" cause=redis address=10.0.0.1:6379 for=0s error="OOM command not allowed" runbook=docs/operators.md#redis-out-of-memory`)
	require.Contains(t, lines[1], `level=INFO msg="an engine can be used again" over=redis address=10.0.0.1:6379 after=0s`)
}

// TestRedisIsAskedWhetherItTakesWrites without a write.
func TestRedisIsAskedWhetherItTakesWrites(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	rdb := h.engines.Redis(t)
	require.NoError(t, takesWrites(t.Context(), rdb))
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.ErrorContains(t, takesWrites(t.Context(), rdb), "OOM ")
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.NoError(t, takesWrites(t.Context(), rdb))
	require.NotEmpty(t, redisAddress(rdb))
}

func TestWhatFailsByAnEngineNamesIt(t *testing.T) {
	t.Parallel()
	named := func(a slog.Attr) string {
		if a.Equal(slog.Attr{}) {
			return ""
		}
		require.Equal(t, "cause", a.Key)
		return a.Value.String()
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for _, c := range []struct {
		err           error
		because, ofIt string // of what works with the engines alone, and of what doesn't
	}{
		{fmt.Errorf("query now: %w: %w", ledger.ErrAway, refused), "clickhouse away", "clickhouse away"},
		{errors.Join(fmt.Errorf("x: %w", errSlow), io.EOF), "clickhouse slow", "clickhouse slow"},
		{fmt.Errorf("read the outbox: %w", refused), "redis away", ""},
		{fmt.Errorf("read the outbox: %w", io.EOF), "redis away", ""},
		{fmt.Errorf("read the outbox: %w", redis.ErrPoolTimeout), "redis away", ""},
		{errors.New("enqueue account:resume: UNKNOWN: redis eval error: i/o timeout"), "redis away", "redis away"},
		{errors.New("UNKNOWN: redis command error: SADD failed: context deadline exceeded"), "redis away", "redis away"},
		{errors.New("script charge: OOM command not allowed when used memory > 'maxmemory'."), "redis out of memory", "redis out of memory"},
		{errUnstored, "", ""},
		{errors.New("webhook example.com: answered 500"), "", ""},
		{context.DeadlineExceeded, "", ""},
	} {
		require.Equal(t, c.because, named(because(c.err)), c.err)
		require.Equal(t, c.ofIt, named(becauseOf(c.err)), c.err)
	}
}
