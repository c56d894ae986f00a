//go:build unix

package outfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errLocked: another holds the lock.
var errLocked = errors.New("the file is being written by another process")

// lock takes the lock of an open file, which ends with it or its process. An error
// other than errLocked: the file system has none.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
