//go:build unix

package outfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// partsMax bounds how many write one file at a time.
const partsMax = 10

var (
	// errLocked: another holds the lock.
	errLocked = errors.New("the file is being written by another process")
	// errNotOurs: what has the name isn't what this user left there.
	errNotOurs = errors.New("not a file in the making of this user's")
)

// makePart opens a hidden file beside path, for this process alone as long as it lives:
// one that nobody holds, such as a process that was killed has left, or a new one.
// Where others may write to the folder too, they may have put anything there: it is
// passed over, and keeps no file from being written.
func makePart(path string) (*os.File, error) {
	base := sha256.Sum256([]byte(filepath.Base(path))) // which itself may be as long as a name can be
	prefix := filepath.Join(filepath.Dir(path), ".part-"+hex.EncodeToString(base[:8])+"-")
	held := 0
	for i := range partsMax {
		f, err := openPart(prefix + strconv.Itoa(i))
		if err == nil {
			return f, nil
		}
		if errors.Is(err, errLocked) {
			held++
		}
	}
	if held == partsMax {
		return nil, errLocked
	}
	return os.CreateTemp(filepath.Dir(path), ".part-*") // says what is wrong with the folder
}

// openPart opens a file of that name, empty and locked.
func openPart(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, partMode) //nolint:gosec // beside what the operator names
	made := err == nil
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) //nolint:gosec // what it is, is asked below
	}
	if err != nil {
		return nil, err
	}
	if err := take(f, made); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// take locks and empties what was made just now, or what was left.
func take(f *os.File, made bool) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !made && !ours(info) {
		return errNotOurs
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK) && info.Mode()&^partMode == 0:
		return errLocked
	case errors.Is(err, unix.EWOULDBLOCK): // who may read it may hold it, and isn't one of us
		return errNotOurs
	case err != nil: // a file system without locks
		if made {
			_ = os.Remove(f.Name())
		}
		return err
	case !stands(f):
		return errNotOurs
	}
	if err := f.Chmod(partMode); err != nil { // it may have been about to get its name
		return err
	}
	return f.Truncate(0)
}

// ours tells whether we may write over a file: it is one that this user has made, has
// no other name, and nobody may read who may not read what is made of it.
func ours(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&^fileMode == 0 && int(s.Uid) == os.Geteuid() && s.Nlink == 1
}

// stands tells whether an open file still has its name: who had it before may have
// put it in its place meanwhile.
func stands(f *os.File) bool {
	here, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(here, there)
}
