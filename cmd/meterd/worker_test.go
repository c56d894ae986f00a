package main

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWorkerAgainstServers runs a second worker beside the system's own, with
// nothing but addresses.
func TestWorkerAgainstServers(t *testing.T) {
	t.Parallel()
	theSystem.start(t)
	cmd := exec.CommandContext(t.Context(), "meterd", "worker", "--redis", theSystem.redisURL(), "--clickhouse", theSystem.clickhouseURL(), "--roles", "suspensions,reports")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := firstLine(cmd, out)
	require.NoError(t, err, stderr.String())
	require.Regexp(t, `^ready http://127\.0\.0\.1:\d+\n$`, line)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, waitEnd(cmd), stderr.String())
	require.NotContains(t, stderr.String(), theSystem.info.RedisPassword)
	require.NotContains(t, stderr.String(), theSystem.info.ClickHousePassword)

	got := ask(t, "worker", "--roles", "everything")
	require.Equal(t, exitInput, got.code)
}
