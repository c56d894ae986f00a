package embedded_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/embedded"
)

func TestSystemStopsCleanlyAndComesBackWithItsData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startChild(t, dir)
	c.fill(t)
	for file, mode := range map[string]os.FileMode{"run.json": 0o600, "redis/redis.conf": 0o600, "redis": 0o700, "clickhouse": 0o700} {
		stat, err := os.Stat(filepath.Join(dir, file))
		require.NoError(t, err)
		require.Equal(t, mode, stat.Mode().Perm(), file)
	}

	c.stop(t)
	_, err := os.Stat(embedded.RunFile(dir))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = embedded.ReadRunFile(dir)
	require.ErrorIs(t, err, embedded.ErrNotRunning)

	startChild(t, dir).filled(t)
}

func TestASecondSystemOnAFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := startChild(t, dir)
	_, line := launch(t, dir)
	require.Contains(t, line, fmt.Sprintf("data folder %s is in use by process %d", dir, first.cmd.Process.Pid))
	require.NoError(t, first.clickHouse(t).Ping(t.Context()), "the first one is unharmed")
	info, err := embedded.ReadRunFile(dir)
	require.NoError(t, err)
	require.Equal(t, first.info, info)
}

// TestAcknowledgedWritesSurviveKill kills the process while rows and keys are
// being written, and starts it again at once.
func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := t.Context()
	c := startChild(t, dir)
	require.NoError(t, c.clickHouse(t).Exec(ctx, `CREATE TABLE default.r (id UInt64, version UInt64, note LowCardinality(String))
		ENGINE = ReplacingMergeTree(version) ORDER BY id`))
	const rounds, rows = 3, 2000
	acked, keys := uint64(0), 0
	for range rounds {
		conn, client := c.clickHouse(t), c.redis(t)
		done, busy := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for n := 0; ; n++ {
				if n == 10 {
					close(busy)
				}
				if insertNumbers(ctx, conn, "r", acked*rows, (acked+1)*rows) != nil {
					return
				}
				acked++
				if client.Set(ctx, "key:"+strconv.Itoa(keys), "v", 0).Err() != nil {
					return
				}
				keys++
			}
		}()
		before := c.redisPID(t)
		select {
		case <-busy:
		case <-done:
			t.Fatal("the engines refused an insert or a key before anything was killed")
		}
		c.kill(t)
		<-done
		_, err := embedded.ReadRunFile(dir)
		require.ErrorIs(t, err, embedded.ErrNotRunning, "a run file left behind is not believed")

		c = startChild(t, dir)
		require.NotEqual(t, before, c.redisPID(t))
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", before))
		require.NotContains(t, string(command), "redis", "the old redis-server is gone")
		var n uint64
		require.NoError(t, c.clickHouse(t).QueryRow(ctx, "SELECT uniqExact(id) FROM r WHERE id < {n:UInt64}", named("n", acked*rows)).Scan(&n))
		require.Equal(t, acked*rows, n)
		for i := range keys {
			require.Equal(t, "v", c.redis(t).Get(ctx, "key:"+strconv.Itoa(i)).Val(), "key %d of %d", i, keys)
		}
	}
	t.Logf("%d inserts of %d rows and %d keys acknowledged, none lost", acked, rows, keys)
	require.Positive(t, keys)
}

func TestRedisThatDiesIsReported(t *testing.T) {
	t.Parallel()
	c := startChild(t, t.TempDir())
	require.NoError(t, syscall.Kill(c.redisPID(t), syscall.SIGKILL))
	require.Contains(t, c.line(t), "redis-server ended by itself")
}

func TestStartRedisTakesOverWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := embedded.StartRedis(t.Context(), dir, embedded.RedisOptions{})
	require.NoError(t, err)
	second, err := embedded.StartRedis(t.Context(), dir, embedded.RedisOptions{})
	require.NoError(t, err)
	select {
	case <-first.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the first redis-server still runs")
	}
	require.NotEqual(t, first.PID(), second.PID())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, second.Stop(ctx))
	require.NoError(t, second.Stop(ctx), "Stop may be called again")
	require.NoError(t, second.Err())
}

func TestARedisThatDoesntStopIsKilled(t *testing.T) {
	t.Parallel()
	server, err := embedded.StartRedis(t.Context(), t.TempDir(), embedded.RedisOptions{})
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(server.PID(), syscall.SIGSTOP))
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, server.Stop(ctx), "killed, for it didn't stop in time")
	require.NoError(t, server.Err())
}

// TestRedisStopsThoughItsOutputIsHeld: by a child of redis-server's, as one that
// rewrites the append-only file does.
func TestRedisStopsThoughItsOutputIsHeld(t *testing.T) {
	binary, err := exec.LookPath("redis-server")
	require.NoError(t, err)
	script := filepath.Join(t.TempDir(), "redis-server")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nsleep 60 &\nexec "+binary+" \"$@\"\n"), 0o700))
	t.Setenv("METERD_REDIS_SERVER", script)
	server, err := embedded.StartRedis(t.Context(), t.TempDir(), embedded.RedisOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Kill(-server.PID(), syscall.SIGKILL) }) // the group's: sleep
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, server.Stop(ctx))
}

func TestAPidFileOfSomeoneElseHarmsNobody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "redis.pid"), []byte(strconv.Itoa(os.Getpid())), 0o600))
	server, err := embedded.StartRedis(t.Context(), dir, embedded.RedisOptions{})
	require.NoError(t, err)
	require.NoError(t, server.Stop(context.Background()))
}

func TestBothEnginesAreDurableByDefault(t *testing.T) {
	t.Parallel()
	c := startChild(t, t.TempDir())
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": "",
		"set-max-intset-entries": "4096", "bind": "127.0.0.1",
	} {
		require.Equal(t, want, c.redis(t).ConfigGet(t.Context(), name).Val()[name], name)
	}
	var synced uint64
	require.NoError(t, c.clickHouse(t).QueryRow(t.Context(),
		"SELECT count() FROM system.merge_tree_settings WHERE name IN ('fsync_after_insert', 'fsync_part_directory') AND value = '1'").Scan(&synced))
	require.Equal(t, uint64(2), synced)
	var value string
	require.NoError(t, c.clickHouse(t).QueryRow(t.Context(), "SELECT value FROM system.settings WHERE name = 'async_insert'").Scan(&value))
	require.Equal(t, "0", value)
	stranger := redis.NewClient(&redis.Options{Addr: c.info.Redis})
	defer func() { _ = stranger.Close() }()
	require.ErrorContains(t, stranger.Ping(t.Context()).Err(), "NOAUTH")
}

func TestSetUpFetchesTheVersionThatIsLookedFor(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../../deploy/setup.sh")
	require.NoError(t, err)
	require.Contains(t, string(script), "\nversion="+embedded.LibraryVersion+"\n")
}

func TestMissingEnginesSayWhatToDo(t *testing.T) {
	t.Setenv("METERD_REDIS_SERVER", "")
	t.Setenv("PATH", t.TempDir())
	_, err := embedded.StartRedis(t.Context(), t.TempDir(), embedded.RedisOptions{})
	require.ErrorContains(t, err, "make setup")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("METERD_CHDB_LIB", "")
	_, err = embedded.OpenClickHouse(t.Context(), t.TempDir(), embedded.Options{})
	require.ErrorContains(t, err, "make setup")
	t.Setenv("METERD_CHDB_LIB", "/no/such/library")
	_, err = embedded.OpenClickHouse(t.Context(), t.TempDir(), embedded.Options{})
	require.ErrorContains(t, err, "METERD_CHDB_LIB")
}

func TestOptionsOutOfBoundsAreNamed(t *testing.T) {
	t.Parallel()
	for field, options := range map[string]embedded.Options{
		"MaxConnections": {MaxConnections: 65},
		"MaxThreads":     {MaxThreads: -1},
		"MaxMemoryBytes": {MaxMemoryBytes: 1},
	} {
		_, err := embedded.OpenClickHouse(t.Context(), t.TempDir(), options)
		require.ErrorContains(t, err, field)
	}
}

// redisPID is the process id of the child's redis-server.
func (c *child) redisPID(t *testing.T) int {
	t.Helper()
	for line := range strings.Lines(c.redis(t).Info(t.Context(), "server").Val()) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "process_id:"); ok {
			pid, err := strconv.Atoi(text)
			require.NoError(t, err)
			return pid
		}
	}
	t.Fatal("Redis gave no process_id")
	return 0
}
