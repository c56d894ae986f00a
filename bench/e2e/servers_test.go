package e2e_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/proc"
	"github.com/meterd/meterd/bench/internal/traffic"
	"github.com/meterd/meterd/internal/embedded"
)

// servers are a Redis and a ClickHouse that the worker didn't start.
type servers struct{ env []string }

// startServers starts a durable redis-server, and takes the ClickHouse of a
// system on another folder, where it keeps to a database of its own.
func startServers(tb testing.TB) *servers {
	tb.Helper()
	redis, err := embedded.StartRedis(tb.Context(), tb.TempDir(), embedded.RedisOptions{})
	require.NoError(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		assert.NoError(tb, redis.Stop(ctx))
	})
	other := up(tb, nil).info(tb)
	clickhouse, err := url.Parse(other.ClickHouse)
	require.NoError(tb, err)
	clickhouse.User = url.UserPassword("default", other.ClickHousePassword)
	return &servers{env: []string{
		"METERD_REDIS=redis://:" + url.QueryEscape(redis.Password()) + "@" + redis.Addr() + "/0",
		"METERD_CLICKHOUSE=" + clickhouse.String(),
		"METERD_DATABASE=elsewhere",
	}}
}

// cli with the addresses as flags.
func (s *servers) cli() cli {
	var c cli
	for _, v := range s.env {
		name, value, _ := strings.Cut(v, "=")
		c = append(c, "--"+strings.ToLower(strings.TrimPrefix(name, "METERD_")), value)
	}
	return c
}

func (s *servers) worker(tb testing.TB) (*proc.Process, string) {
	tb.Helper()
	p := launch(tb, s.env, "worker")
	return p, strings.TrimPrefix(p.WaitReady(tb), "ready ")
}

// TestRealServers runs workers against servers that are there already: the
// same workload gives the same answers, two share it, and a stop loses nothing.
func TestRealServers(t *testing.T) {
	t.Parallel()
	now := minute()
	b := traffic.FourParents(now)
	s := startServers(t)
	c := s.cli()
	first, firstURL := s.worker(t)
	c.run(t, "accounts", "apply", "-f", b.File(t))
	o := traffic.NewOracle(t, b, now)
	fund(t, c, o)
	w := traffic.NewWorkload(b, now, 11)
	sendAll(t, c, o, traffic.FirstLines(w, o, 3_000))

	// Two at once share the work.
	second, secondURL := s.worker(t)
	sendAll(t, c, o, traffic.FirstLines(w, o, 6_000))
	done := func(url string) int64 { return metric(t, url, "meterd_records_total") }
	eventually(t, "both workers have done some", 20*time.Second, func() bool {
		if done(firstURL) > 3_000 && done(secondURL) > 0 {
			return true
		}
		sendAll(t, c, o, traffic.FirstLines(w, o, 500))
		return false
	})
	lines, refunds := traffic.SecondLines(w, o, 2_000)
	sendAll(t, c, o, lines)
	sendAll(t, c, o, traffic.ThirdLines(w, o, refunds, 300))

	// Stopped in the middle of the work; what is left waits for the next one.
	late := traffic.FirstLines(w, o, 4_000)
	c.run(t, "enqueue", write(t, late), "--batch", "100")
	first.Stop(t)
	second.Stop(t)
	s.worker(t)
	again := enqueue(t, c, late)
	assert.Zero(t, again.Waiting)
	o.Totals = [4]int64{}

	compareUsage(t, c, o)
	compareStatuses(t, c, o)
	compareAccounts(t, c, o)
	compareQuarantine(t, c, o)
	reconciled(t, c, len(b.Accounts))
}
