//go:build unix

package embedded

import (
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

// folderLock is the lock file of a data folder. The kernel drops the lock when
// its holder dies, so a file left behind by a `kill -9` locks nobody out.
type folderLock struct {
	file *os.File
}

// lockFolder takes DIR/lock or returns an *InUseError. It tries for a moment,
// since folderHeld takes the lock for an instant too.
func lockFolder(ctx context.Context, dir string) (*folderLock, error) {
	path := lockPath(dir)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's own data folder
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := takeLock(ctx, file, dir); err != nil {
		_ = file.Close()
		return nil, err
	}
	err = file.Truncate(0)
	if err == nil {
		_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return &folderLock{file: file}, nil
}

func takeLock(ctx context.Context, file *os.File, dir string) error {
	const attemptsMax = 10
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for attempt := 1; ; attempt++ {
		err := flock(file, syscall.LOCK_EX)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock the data folder %s: %w", dir, err)
		}
		if attempt == attemptsMax {
			holder, _ := os.ReadFile(lockPath(dir))
			pid, _ := strconv.Atoi(strings.TrimSpace(string(holder)))
			return &InUseError{Dir: dir, PID: pid}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock the data folder %s: %w", dir, ctx.Err())
		case <-tick.C:
		}
	}
}

func flock(file *os.File, how int) error {
	return syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
}

func (l *folderLock) release() error {
	return l.file.Close()
}

// folderHeld tells whether a living process holds the folder's lock.
func folderHeld(dir string) (bool, error) {
	file, err := os.Open(lockPath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the data folder's lock: %w", err)
	}
	defer func() { _ = file.Close() }()
	err = flock(file, syscall.LOCK_SH)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the data folder's lock: %w", err)
	}
	return false, nil
}

func lockPath(dir string) string { return filepath.Join(dir, "lock") }
