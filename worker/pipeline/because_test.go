package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering/ledger"
)

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
		require.Equal(t, c.because, named(Because(c.err)), c.err)
		require.Equal(t, c.ofIt, named(BecauseOf(c.err)), c.err)
	}
}
