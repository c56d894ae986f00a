package main_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/proc"
)

// TestRollingRestart replaces two workers one after the other by those of
// another version, while records come in.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binaries := make([]string, 2)
	for i, version := range []string{"1.0.0", "1.1.0"} {
		var err error
		binaries[i], err = proc.Build(dir, version)
		require.NoError(t, err)
	}
	r := begun(t, 60, "rolling restart of two workers of different versions")
	clickhouse, err := url.Parse(r.proxied().ClickHouse)
	require.NoError(t, err)
	clickhouse.User = url.UserPassword(r.engines.ClickHouseUser, r.engines.ClickHousePassword)
	env := []string{
		"METERD_REDIS=redis://:" + url.QueryEscape(r.redis.Password()) + "@" + r.front.Listen + "/0",
		"METERD_CLICKHOUSE=" + clickhouse.String(),
		"METERD_DATABASE=" + r.engines.Database,
		"METERD_RECONCILE_EVERY=1s",
	}
	start := func(binary string) *proc.Process {
		p := proc.Launch(t, binary, env, "worker")
		require.True(t, strings.HasPrefix(p.WaitReady(t), "ready "))
		return p
	}
	running := []*proc.Process{start(binaries[0]), start(binaries[0])}
	sent := r.send(r.lines(pick(400, 8000)), 30*time.Millisecond)
	for round := range pick(1, 4) {
		for i := range running {
			running[i].Stop(t)
			running[i] = start(binaries[(round+1)%2])
			r.result.Tried++
		}
	}
	r.ended()
	sent.wait()
	r.settle()
	for _, p := range running {
		p.Stop(t)
	}
}
