package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/embedded"
)

// TestASecondSignalEndsAtOnce: the first one's stop waits for a Redis that
// doesn't answer.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	cmd := exec.CommandContext(t.Context(), systemCommand, "up", "--data", data, "--log-level", "error")
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := firstLine(cmd, out)
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	require.NoError(t, syscall.Kill(redisOf(t, data), syscall.SIGSTOP))

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	<-time.After(time.Second) // the first is noticed at once, but signals may join
	began := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.ErrorContains(t, waitEnd(cmd), "signal: terminated")
	require.Less(t, time.Since(began), 20*time.Second)
}

// redisOf is the process id of a system's redis-server.
func redisOf(t *testing.T, data string) int {
	t.Helper()
	info, err := embedded.ReadRunFile(data)
	require.NoError(t, err)
	rdb, err := openRedis(info.Redis, info.RedisPassword, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, rdb.Close()) }()
	text, err := rdb.Info(t.Context(), "server").Result()
	require.NoError(t, err)
	match := regexp.MustCompile(`process_id:(\d+)`).FindStringSubmatch(text)
	require.Len(t, match, 2)
	pid, err := strconv.Atoi(match[1])
	require.NoError(t, err)
	return pid
}
