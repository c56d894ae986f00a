package worker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
	rdb := h.Engines.Redis(t)
	require.NoError(t, takesWrites(t.Context(), rdb))
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.ErrorContains(t, takesWrites(t.Context(), rdb), "OOM ")
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.NoError(t, takesWrites(t.Context(), rdb))
	require.NotEmpty(t, redisAddress(rdb))
}
