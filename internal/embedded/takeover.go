package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endWait is how long a redis-server left behind has to stop by itself before
// it is killed, and then to end.
const endWait = 10 * time.Second

// endPrevious ends a redis-server that still runs on dir. The kernel ends the
// child with its parent, so there is one only for the moment that takes, or
// where there is no parent-death signal.
func endPrevious(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "redis.pid")
	text, err := os.ReadFile(path) //nolint:gosec // our own data folder
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an earlier redis-server: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil && pid > 1 && isRedisOn(pid, dir) {
		if err := endProcess(ctx, pid, dir); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove an earlier redis-server's pid file: %w", err)
	}
	return nil
}

// isRedisOn tells whether pid is a redis-server whose data folder is dir: a
// process id alone may belong to someone else by now.
func isRedisOn(pid int, dir string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	command, err := os.ReadFile(filepath.Join(proc, "cmdline")) //nolint:gosec // a number makes the path
	if err != nil || !bytes.Contains(command, []byte("redis")) {
		return false
	}
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	if err != nil {
		return false
	}
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	return cwd == dir
}

func endProcess(ctx context.Context, pid int, dir string) error {
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end the earlier redis-server (process %d): %w", pid, err)
	}
	deadline := time.NewTimer(endWait)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for killed := false; isRedisOn(pid, dir); {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the earlier redis-server (process %d): %w", pid, ctx.Err())
		case <-deadline.C:
			if killed {
				return fmt.Errorf("the earlier redis-server (process %d) is still there %s after it was killed: look what its disk waits for", pid, endWait)
			}
			killed = true
			deadline.Reset(endWait)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill the earlier redis-server (process %d): %w", pid, err)
			}
		case <-tick.C:
		}
	}
	return nil
}
