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
)

const bufferSize = 256 << 10

// File is a file in the making: its bytes go to a hidden one beside it until
// Commit. Use it from one goroutine.
type File struct {
	path string
	tmp  *os.File
	buf  *bufio.Writer
	sum  hash.Hash
	n    int64
}

// Create makes the folder where it is missing. Call Commit or Abort.
func Create(path string) (*File, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return nil, named(dir, err)
	}
	tmp, err := os.CreateTemp(dir, ".part-*")
	if err != nil {
		return nil, named(dir, err)
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
		return n, named(f.path, err)
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
	if err = errors.Join(err, f.tmp.Close()); err == nil {
		err = os.Rename(f.tmp.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(f.tmp.Name()) // what is left over of a failure
		return "", named(f.path, err)
	}
	return hex.EncodeToString(f.sum.Sum(nil)), nil
}

// Abort leaves nothing behind; after Commit it does nothing.
func (f *File) Abort() {
	if f.tmp.Close() == nil {
		_ = os.Remove(f.tmp.Name())
	}
}

// SHA256 of a file that is there, as hex; fs.ErrNotExist if it isn't.
func SHA256(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", named(path, err)
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", named(path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// named is what went wrong with a path, without the name of the hidden file.
func named(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		err = le.Err
	}
	return fmt.Errorf("write %s: %w: check that the folder is there and may be written to", path, err)
}
