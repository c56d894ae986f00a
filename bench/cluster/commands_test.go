package cluster_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/proc"
	"github.com/meterd/meterd/internal/testengine"
)

// keys of all nodes that fit a pattern, sorted.
func (c *nodes) keys(t *testing.T, pattern string) []string {
	t.Helper()
	var all []string
	for _, n := range c.all {
		keys, err := n.Keys(t.Context(), pattern).Result()
		require.NoError(t, err)
		all = append(all, keys...)
	}
	slices.Sort(all)
	return all
}

// The commands take a cluster by its addresses, with the number of partitions
// that docs/operators.md names.
func TestCommandsOverACluster(t *testing.T) {
	t.Parallel()
	c := startNodes(t)
	e := testengine.StartClickHouse(t)
	dir := t.TempDir()
	binary, err := proc.Build(dir, "cluster")
	require.NoError(t, err)
	hosts := make([]string, len(c.all))
	for i, n := range c.all {
		hosts[i] = n.Options().Addr
	}
	env := []string{
		"METERD_REDIS=redis://:" + c.password + "@" + strings.Join(hosts, ","),
		"METERD_CLICKHOUSE=" + strings.Replace(e.ClickHouseURL, "://", "://"+e.ClickHouseUser+":"+e.ClickHousePassword+"@", 1),
		"METERD_DATABASE=" + e.Database, "METERD_PARTITIONS=64",
	}
	run := func(code int, args ...string) map[string]any {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, append(args, "--json")...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, _ := cmd.Output() // the code tells
		require.Equal(t, code, cmd.ProcessState.ExitCode(), "%v: %s%s", args, out, &errs)
		var doc map[string]any
		require.NoError(t, json.Unmarshal(out, &doc), "%s", out)
		return doc
	}
	started := time.Now()
	worker := proc.Launch(t, binary, env, "worker")
	worker.WaitReady(t)
	t.Logf("a worker with 64 new partitions is ready after %s", time.Since(started).Round(time.Millisecond))

	b := newBook()
	w := newTraffic(t, b)
	lines := make([]string, 2000)
	for i := range lines {
		lines[i] = w.next()
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(b.file()), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "u.jsonl"), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	run(0, "accounts", "apply", "-f", "a.yaml")
	sent := run(0, "enqueue", "u.jsonl", "--wait")
	assert.Equal(t, []any{1800.0, 200.0}, []any{sent["stored"], sent["duplicates"]})
	run(0, "doctor")
	run(0, "rebuild")
	res := run(0, "reconcile")
	assert.Equal(t, []any{float64(3*partitions + 1), 0.0}, []any{res["checked"], res["drifted"]})
	assert.Equal(t, "ok", run(0, "gate", b.busy[2], "--channel", "sms")["code"])
	worker.Stop(t)

	// Fewer partitions: a rebuild takes them up, and leaves nothing of the others.
	env = append(env, "METERD_PARTITIONS=3")
	failed := func() []string {
		t.Helper()
		var names []string
		checks, _ := run(3, "doctor")["checks"].([]any)
		for _, c := range checks {
			if check, _ := c.(map[string]any); check["ok"] == false {
				names = append(names, fmt.Sprint(check["name"]))
			}
		}
		return names
	}
	nobody := []string{"role ingest", "role suspensions", "role reports", "role scheduler"}
	require.Equal(t, append([]string{"projection 0", "projection 1", "projection 2"}, nobody...), failed())
	run(0, "rebuild")
	require.Equal(t, nobody, failed())
	res = run(0, "reconcile")
	assert.Equal(t, []any{float64(3*partitions + 1), 0.0}, []any{res["checked"], res["drifted"]})
	assert.Equal(t, "ok", run(0, "gate", b.busy[2], "--channel", "sms")["code"])
	assert.Equal(t, []string{"{p00}:meta", "{p01}:meta", "{p02}:meta"}, c.keys(t, "{p*}:meta"))
	assert.Empty(t, c.keys(t, "{p[1-9]*}:*"))

	// One node that may drop what it holds is enough for doctor to refuse.
	require.NoError(t, c.all[2].ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	found := run(3, "doctor")
	assert.Contains(t, found["checks"], map[string]any{
		"name": "redis settings", "ok": false, "detail": hosts[2] + ": maxmemory-policy is allkeys-lru: set noeviction, or Redis drops money",
	})
}
