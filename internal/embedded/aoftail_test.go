package embedded_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/embedded"
)

// TestATransactionCutInTheMiddleNeverHappened: a machine that dies leaves the first
// half of what a script wrote. Neither that start nor a later one may run the half.
func TestATransactionCutInTheMiddleNeverHappened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := redis.NewScript(`for i = 1, 5 do redis.call('HINCRBY', KEYS[1], 'field ' .. i, 1) end`)
	start := func() (*embedded.Redis, *redis.Client) {
		r, err := embedded.StartRedis(t.Context(), dir, embedded.RedisOptions{})
		require.NoError(t, err)
		client := redis.NewClient(&redis.Options{Addr: r.Addr(), Password: r.Password(), MaxRetries: -1})
		t.Cleanup(func() { _ = client.Close() })
		return r, client
	}
	kill := func(r *embedded.Redis) {
		p, err := os.FindProcess(r.PID())
		require.NoError(t, err)
		require.NoError(t, p.Kill())
		<-r.Done()
	}
	r, client := start()
	require.ErrorIs(t, script.Run(t.Context(), client, []string{"h"}).Err(), redis.Nil)
	require.ErrorIs(t, script.Run(t.Context(), client, []string{"h"}).Err(), redis.Nil)
	kill(r)
	path := appendOnly(t, dir)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, info.Size()-70)) // EXEC and a part of the last write
	r, client = start()
	require.ErrorIs(t, script.Run(t.Context(), client, []string{"h"}).Err(), redis.Nil)
	want := client.HGetAll(t.Context(), "h").Val()
	require.Equal(t, "2", want["field 1"])
	kill(r)
	r, client = start()
	require.Equal(t, want, client.HGetAll(t.Context(), "h").Val())
	kill(r)
}

// appendOnly is the one file that the redis-server of a folder appends to.
func appendOnly(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

var upTo = regexp.MustCompile(`ok_up_to=([0-9]+),`)

// TestTheTailIsCutWhereRedisWouldCutIt: at whatever byte the file ends, with zeros after
// it or without, what stays is what redis-check-aof would leave.
func TestTheTailIsCutWhereRedisWouldCutIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := embedded.StartRedis(t.Context(), dir, embedded.RedisOptions{})
	require.NoError(t, err)
	client := redis.NewClient(&redis.Options{Addr: r.Addr(), Password: r.Password()})
	t.Cleanup(func() { _ = client.Close() })
	ctx := t.Context()
	script := redis.NewScript(`redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', 'multi', 'EXEC')`)
	for _, value := range []string{"a", "*3\r\n$5\r\nMULTI\r\n", "x\x00\x00"} {
		require.NoError(t, client.Set(ctx, "k", value, 0).Err())
		require.ErrorIs(t, script.Run(ctx, client, []string{"multi"}, value).Err(), redis.Nil)
	}
	require.NoError(t, r.Stop(ctx))
	path := appendOnly(t, dir)
	asRedis8 := "file " + filepath.Base(path) + " seq 1 type i startoffset 0\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "appendonlydir", "appendonly.aof.manifest"), []byte(asRedis8), 0o600))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	binary, err := exec.LookPath("redis-server")
	require.NoError(t, err)
	piece := filepath.Join(t.TempDir(), "piece.aof")
	for n := len(whole); n > 0; n -= 1 + len(whole)/200 {
		require.NoError(t, os.WriteFile(piece, whole[:n], 0o600))
		check := exec.CommandContext(ctx, binary, piece)
		check.Args[0] = "redis-check-aof"
		out, _ := check.CombinedOutput() // it ends with 1 where something is to be cut
		found := upTo.FindSubmatch(out)
		require.Len(t, found, 2, string(out))
		want, err := strconv.Atoi(string(found[1]))
		require.NoError(t, err)
		for _, zeros := range []int{0, 1, 70_000} {
			require.NoError(t, os.WriteFile(path, append(slices.Clone(whole[:n]), make([]byte, zeros)...), 0o600))
			require.NoError(t, embedded.CutTail(ctx, dir))
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(whole[:want]), string(got), "%d bytes and %d zeros: %s", n, zeros, out)
		}
	}
}

// TestAFileThatIsNoneIsLeft to redis-server, which says what is wrong with it.
func TestAFileThatIsNoneIsLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, embedded.CutTail(t.Context(), dir), "a new folder")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "appendonlydir"), 0o700))
	manifest := "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type h\nfile appendonly.aof.2.incr.aof seq 2 type i\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "appendonlydir", "appendonly.aof.manifest"), []byte(manifest), 0o600))
	require.NoError(t, embedded.CutTail(t.Context(), dir), "the file is missing")
	path := filepath.Join(dir, "appendonlydir", "appendonly.aof.2.incr.aof")
	for _, text := range []string{"REDIS0011\r\n", "\r\n", "*1\r\n$-1\r\n\r\n", "*1\r\n$4\r\nEXECX\r\n", "*1\n", "*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, embedded.CutTail(t.Context(), dir))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
}
