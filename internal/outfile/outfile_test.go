package outfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

func TestAFileIsThereWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "a.csv")
	write := func(text string, commit bool) string {
		f, err := Create(path)
		require.NoError(t, err)
		defer f.Abort()
		_, err = f.Write([]byte(text))
		require.NoError(t, err)
		require.EqualValues(t, len(text), f.Bytes())
		if !commit {
			return ""
		}
		sum, err := f.Commit()
		require.NoError(t, err)
		return sum
	}
	write("cut off", false)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	want := sha256.Sum256([]byte("first"))
	require.Equal(t, hex.EncodeToString(want[:]), write("first", true))
	write("cut off", false)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "first", string(got))
	sum, err := SHA256(path)
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString(want[:]), sum)

	_, err = SHA256(filepath.Join(dir, "b.csv"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Create(filepath.Join(path, "under-a-file"))
	require.ErrorIs(t, err, ErrWrite)
	require.NotContains(t, err.Error(), "a.csv")

	broken := errors.New("out of words")
	_, _, err = Save(path, func(io.Writer) error { return broken })
	require.Equal(t, broken, err)
	n, sum, err := Save(path, func(w io.Writer) error { _, err := io.WriteString(w, "first"); return err })
	require.NoError(t, err)
	require.EqualValues(t, 5, n)
	require.Equal(t, hex.EncodeToString(want[:]), sum)
}

// TestManyWriteOneFile: each time it is there it is whole, whoever was last.
func TestManyWriteOneFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "report.csv")
	text := func(n int) string { return strings.Repeat(strconv.Itoa(n), 300_000) }
	var writers errgroup.Group
	for n := range partsMax {
		writers.Go(func() error {
			for range 20 {
				_, _, err := Save(path, func(w io.Writer) error {
					_, err := io.WriteString(w, text(n))
					return err
				})
				if err != nil {
					return err
				}
				b, err := os.ReadFile(path)
				if err != nil || len(b) == 0 || string(b) != text(int(b[0]-'0')) {
					return fmt.Errorf("%d bytes, not whole: %w", len(b), err)
				}
			}
			return nil
		})
	}
	require.NoError(t, writers.Wait())
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// TestWhatAKilledWriterLeftGoes with the next try of the same file; what another writer
// has in hand stays.
func TestWhatAKilledWriterLeftGoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "[report].csv")
	killed, err := Create(path)
	require.NoError(t, err)
	_, err = io.WriteString(killed.tmp, "what was written before")
	require.NoError(t, err)
	require.NoError(t, killed.tmp.Close()) // as its process's end does
	other, err := Create(filepath.Join(dir, "other.csv"))
	require.NoError(t, err)
	require.NoError(t, other.tmp.Close())

	slow, err := Create(path)
	require.NoError(t, err)
	_, _, err = Save(path, func(w io.Writer) error {
		_, err := io.WriteString(w, "first")
		return err
	})
	require.NoError(t, err)
	_, err = io.WriteString(slow, "second")
	require.NoError(t, err)
	_, err = slow.Commit()
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "second", string(text))
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, list, 2, "the file, and what was left of another one")
}
