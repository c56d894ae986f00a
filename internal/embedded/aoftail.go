package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// What a script writes stands between MULTI and EXEC in the append-only file. Where a
// machine dies within, redis-server drops only the command that was cut off
// (aof-load-truncated): MULTI and what follows it stay in the file, don't happen at
// that start, and do at the next one, together with what was written after them: half
// a charge counts twice (valkey-io/valkey#4342). A file system may also have made the
// file longer than what it wrote, with zeros, on which redis-server doesn't start
// (redis/redis#5177). So the file is cut before redis-server reads it.

// errFormat: the file isn't what redis-server writes. It says so itself at its start.
var errFormat = errors.New("not an append-only file")

// cutTail cuts what was written last and isn't whole off the append-only file in dir,
// redis-server's folder: a command, a transaction, or zeros. It wasn't acknowledged.
func cutTail(ctx context.Context, dir string) error {
	path, err := lastIncrement(filepath.Join(dir, "appendonlydir"))
	if err != nil || path == "" {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // our own data folder
	if errors.Is(err, os.ErrNotExist) {
		return nil // redis-server says so
	}
	if err != nil {
		return fmt.Errorf("look for a half-written transaction: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look for a half-written transaction: %w", err)
	}
	written, err := withoutZeros(f, info.Size())
	if err != nil {
		return fmt.Errorf("look for a half-written transaction: %w", err)
	}
	whole, err := wholeUpTo(ctx, io.NewSectionReader(f, 0, written))
	switch {
	case errors.Is(err, errFormat):
		return nil
	case err != nil:
		return fmt.Errorf("look for a half-written transaction in %s: %w", path, err)
	case whole == info.Size():
		return nil
	}
	if err := f.Truncate(whole); err != nil {
		return fmt.Errorf("cut a half-written transaction off: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("cut a half-written transaction off: %w", err)
	}
	return nil
}

// withoutZeros is the size of a file without the zeros that it ends with.
func withoutZeros(f io.ReaderAt, size int64) (int64, error) {
	block := make([]byte, 1<<16)
	for size > 0 {
		b := block[:min(size, int64(len(block)))]
		if _, err := f.ReadAt(b, size-int64(len(b))); err != nil {
			return 0, err
		}
		rest := bytes.TrimRight(b, "\x00")
		size -= int64(len(b) - len(rest))
		if len(rest) > 0 {
			break
		}
	}
	return size, nil
}

// wholeUpTo is the length of what is whole of an append-only file: up to the end of
// the last command outside of a transaction, or of the last EXEC.
func wholeUpTo(ctx context.Context, file *io.SectionReader) (int64, error) {
	s := &aofScanner{r: bufio.NewReaderSize(file, 1<<20), size: file.Size()}
	whole, within := int64(0), false
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		name, err := s.command()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return whole, nil
		}
		if err != nil {
			return 0, err
		}
		switch {
		case strings.EqualFold(name, "MULTI"):
			if within {
				return 0, errFormat
			}
			within = true
		case strings.EqualFold(name, "EXEC"):
			within = false
		}
		if !within {
			whole = s.at
		}
	}
}

// aofScanner reads commands as redis-server writes them: arrays of bulk strings of the
// Redis protocol, and lines that begin with #.
type aofScanner struct {
	r    *bufio.Reader
	at   int64 // what was read
	size int64
}

// command reads one and returns its name, "" for what is longer than EXEC or MULTI.
func (s *aofScanner) command() (string, error) {
	line, err := s.line()
	if err != nil || line[0] == '#' {
		return "", err
	}
	n, err := s.number(line, '*')
	if err != nil {
		return "", err
	}
	name := ""
	for i := range n {
		if line, err = s.line(); err != nil {
			return "", err
		}
		length, err := s.number(line, '$')
		if err != nil {
			return "", err
		}
		if i == 0 && length <= int64(len("MULTI")) {
			b, err := s.r.Peek(int(length))
			if err != nil {
				return "", err
			}
			name = string(b)
		}
		if err := s.skip(length); err != nil {
			return "", err
		}
	}
	return name, nil
}

// skip passes over a string and the end of its line.
func (s *aofScanner) skip(length int64) error {
	for left := length; left > 0; {
		n, err := s.r.Discard(int(min(left, 1<<20)))
		s.at, left = s.at+int64(n), left-int64(n)
		if err != nil {
			return err
		}
	}
	line, err := s.line()
	if err == nil && len(line) != len("\r\n") {
		err = errFormat
	}
	return err
}

// line with its end.
func (s *aofScanner) line() ([]byte, error) {
	line, err := s.r.ReadSlice('\n')
	s.at += int64(len(line))
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errFormat
	case err != nil:
		return nil, err
	case !bytes.HasSuffix(line, []byte("\r\n")):
		return nil, errFormat
	}
	return line, nil
}

func (s *aofScanner) number(line []byte, prefix byte) (int64, error) {
	text, ok := bytes.CutPrefix(line, []byte{prefix})
	n, err := strconv.ParseInt(string(bytes.TrimSuffix(text, []byte("\r\n"))), 10, 64)
	if err != nil || !ok || n < 0 || n > s.size {
		return 0, errFormat
	}
	return n, nil
}
