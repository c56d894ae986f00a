package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/internal/testengine"
)

// childDir names the data folder that this binary, run as a child of a test,
// starts a system on. A process can open one folder only, and some tests kill
// theirs.
const childDir = "METERD_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(runChild(dir))
	}
	testengine.Main(m)
}

// runChild starts a system, says "ready", and stops it on SIGTERM.
func runChild(dir string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	started := time.Now()
	system, err := embedded.Start(ctx, dir, embedded.SystemOptions{})
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	if err := embedded.WriteRunFile(dir, system.Info()); err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	fmt.Println("ready", time.Since(started).Round(time.Millisecond))
	select {
	case <-ctx.Done():
	case <-system.Done():
		fmt.Println("failed:", system.Err())
		return 1
	}
	stopCtx, stopCancel := context.WithTimeout(context.Background(), time.Minute)
	defer stopCancel()
	if err := system.Stop(stopCtx); err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	fmt.Println("stopped")
	return 0
}

// child is a system that runs in a process of its own.
type child struct {
	cmd   *exec.Cmd
	lines chan string
	info  embedded.RunInfo
}

// launch starts a child on dir and returns its first line of output.
func launch(t *testing.T, dir string) (*child, string) {
	t.Helper()

	c := &child{cmd: exec.CommandContext(context.Background(), os.Args[0]), lines: make(chan string, 100)}
	c.cmd.Env = append(os.Environ(), childDir+"="+dir)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	})
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			c.lines <- scanner.Text()
		}
		close(c.lines)
	}()
	return c, c.line(t)
}

// startChild starts a child on dir and waits until it is ready.
func startChild(t *testing.T, dir string) *child {
	t.Helper()
	c, line := launch(t, dir)
	require.True(t, strings.HasPrefix(line, "ready"), line)
	t.Log(line)
	info, err := embedded.ReadRunFile(dir)
	require.NoError(t, err)
	require.Equal(t, c.cmd.Process.Pid, info.PID)
	c.info = info
	return c
}

func (c *child) line(t *testing.T) string {
	t.Helper()
	select {
	case line := <-c.lines:
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("the child said nothing for 30 s")
		return ""
	}
}

// fill puts something into both engines; filled wants it to be there.
func (c *child) fill(t *testing.T) {
	t.Helper()
	ctx, conn := t.Context(), c.clickHouse(t)
	require.NoError(t, conn.Exec(ctx, "CREATE DATABASE meterd"))
	require.NoError(t, conn.Exec(ctx, "CREATE TABLE meterd.t (n UInt64) ENGINE = MergeTree ORDER BY n"))
	require.NoError(t, conn.Exec(ctx, "INSERT INTO meterd.t SELECT number FROM numbers(1000)"))
	require.NoError(t, c.redis(t).Set(ctx, "k", "v", 0).Err())
}

func (c *child) filled(t *testing.T) {
	t.Helper()
	var n uint64
	require.NoError(t, c.clickHouse(t).QueryRow(t.Context(), "SELECT count() FROM meterd.t").Scan(&n))
	require.Equal(t, uint64(1000), n)
	require.Equal(t, "v", c.redis(t).Get(t.Context(), "k").Val())
}

// stop ends the child as an operator does.
func (c *child) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, "stopped", c.line(t))
	require.NoError(t, c.cmd.Wait())
}

// kill ends the child as `kill -9` does.
func (c *child) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGKILL))
	_ = c.cmd.Wait()
}

func (c *child) clickHouse(t *testing.T) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP,
		Addr:     []string{strings.TrimPrefix(c.info.ClickHouse, "http://")},
		Auth:     clickhouse.Auth{Username: "default", Password: c.info.ClickHousePassword},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (c *child) redis(t *testing.T) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: c.info.Redis, Password: c.info.RedisPassword, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return client
}
