package outfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
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
