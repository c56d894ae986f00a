// Package outfile writes files that are there whole or not at all, of any size,
// and tells their length and SHA-256.
package outfile

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Modes of what is made: the reader's group may read.
const (
	folderMode = 0o750
	fileMode   = 0o640
	partMode   = 0o600
)

const bufferSize = 256 << 10

// ErrWrite says that a file can't be written or read.
var ErrWrite = errors.New("check that the folder is there and may be written to")

// File is a file in the making: its bytes go to a hidden one beside it until
// Commit. Use it from one goroutine.
type File struct {
	path string
	tmp  *os.File
	buf  *bufio.Writer
	sum  hash.Hash
	n    int64

	placed, closed bool
}

// Create makes the folder where it is missing. What a process that was killed has left
// of the same file is written over. Call Commit or Abort.
func Create(path string) (*File, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return nil, failure(err)
	}
	tmp, err := makePart(path)
	if err != nil {
		return nil, failure(err)
	}
	f := &File{path: path, tmp: tmp, sum: sha256.New()}
	f.buf = bufio.NewWriterSize(io.MultiWriter(tmp, f.sum), bufferSize)
	return f, nil
}

// Write implements io.Writer.
func (f *File) Write(b []byte) (int, error) {
	n, err := f.buf.Write(b)
	f.n += int64(n)
	if err != nil {
		return n, failure(err)
	}
	return n, nil
}

// Bytes written so far.
func (f *File) Bytes() int64 { return f.n }

// Commit puts the file in its place, on disk, and returns its SHA-256 as hex.
func (f *File) Commit() (string, error) {
	err := f.buf.Flush()
	if err == nil {
		err = f.tmp.Chmod(fileMode)
	}
	if err == nil {
		err = f.tmp.Sync()
	}
	if err == nil {
		err = os.Rename(f.tmp.Name(), f.path) // open: its lock keeps others away until it has its name
		f.placed = err == nil
	}
	if err = errors.Join(err, f.close()); err != nil {
		return "", failure(err)
	}
	return hex.EncodeToString(f.sum.Sum(nil)), nil
}

// Abort leaves nothing behind; after Commit it does nothing.
func (f *File) Abort() { _ = f.close() }

// close removes what isn't in its place, while its lock is held.
func (f *File) close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	if !f.placed {
		_ = os.Remove(f.tmp.Name())
	}
	return f.tmp.Close()
}

// SHA256 of a file that is there, as hex; fs.ErrNotExist if it isn't.
func SHA256(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", fmt.Errorf("read a file again: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read a file again: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// failure is what went wrong with a file, without its name: whoever reads the
// error is told by the caller what it may know of that.
func failure(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		err = le.Err
	}
	return fmt.Errorf("%w: %w", err, ErrWrite)
}

// Save creates a file, has it written and commits it. An error of write's own
// comes back as it is.
func Save(path string, write func(io.Writer) error) (n int64, sum string, err error) {
	f, err := Create(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Abort()
	if err := write(f); err != nil {
		return 0, "", err
	}
	sum, err = f.Commit()
	return f.n, sum, err
}
