package outfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const another = 65534 // a user's id

// partName is one of the names that a file in the making may have.
func partName(path string, i int) string {
	base := sha256.Sum256([]byte(filepath.Base(path)))
	return filepath.Join(filepath.Dir(path), ".part-"+hex.EncodeToString(base[:8])+"-"+strconv.Itoa(i))
}

func save(path, text string) error {
	_, _, err := Save(path, func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
	return err
}

func withMode(name string, mode os.FileMode) error {
	return errors.Join(os.WriteFile(name, nil, 0o600), os.Chmod(name, mode))
}

// whole checks that a file is there, ours, with the mode that readers need.
func whole(t *testing.T, path, text string) {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(fileMode).String(), info.Mode().String())
	require.True(t, ours(info))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// TestWhatOthersPutInAFolder: whoever may write to it too can neither lead a report
// elsewhere, nor have it be theirs, nor keep it from being written.
func TestWhatOthersPutInAFolder(t *testing.T) {
	t.Parallel()
	plants := map[string]func(name, precious string) error{
		"a link":            func(name, precious string) error { return os.Symlink(precious, name) },
		"a link to nothing": func(name, precious string) error { return os.Symlink(precious+".none", name) },
		"a second name":     func(name, precious string) error { return os.Link(precious, name) },
		"a folder":          func(name, _ string) error { return os.Mkdir(name, 0o700) },
		"a fifo":            func(name, _ string) error { return unix.Mkfifo(name, 0o640) },
		"all may write":     func(name, _ string) error { return withMode(name, 0o602) },
		"all may read":      func(name, _ string) error { return withMode(name, 0o604) },
	}
	if os.Geteuid() == 0 { // only root gives files away
		plants["another user's"] = func(name, _ string) error {
			return errors.Join(withMode(name, 0o600), os.Chown(name, another, another))
		}
	}
	for what, plant := range plants {
		for n, next := range map[int]string{1: partName("a.csv", 1), partsMax: ".part-"} {
			t.Run(what+" at "+strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				dir, elsewhere := t.TempDir(), t.TempDir()
				path, precious := filepath.Join(dir, "a.csv"), filepath.Join(elsewhere, "precious")
				require.NoError(t, os.WriteFile(precious, []byte("precious"), 0o600))
				var planted []os.FileInfo
				for i := range n {
					require.NoError(t, plant(partName(path, i), precious))
				}
				for i := range n {
					info, err := os.Lstat(partName(path, i))
					require.NoError(t, err)
					planted = append(planted, info)
				}

				f, err := Create(path)
				require.NoError(t, err)
				defer f.Abort()
				require.True(t, strings.HasPrefix(f.tmp.Name(), filepath.Join(dir, next)), f.tmp.Name())
				info, err := os.Lstat(f.tmp.Name())
				require.NoError(t, err)
				require.Equal(t, os.FileMode(partMode).String(), info.Mode().String())
				f.Abort()
				require.NoError(t, save(path, "first"))
				require.NoError(t, save(path, "second"))

				whole(t, path, "second")
				for i, want := range planted {
					got, err := os.Lstat(partName(path, i))
					require.NoError(t, err)
					require.True(t, os.SameFile(want, got))
					require.Equal(t, want.Mode().String(), got.Mode().String())
				}
				got, err := os.ReadFile(precious)
				require.NoError(t, err)
				require.Equal(t, "precious", string(got))
				for folder, want := range map[string]int{dir: n + 1, elsewhere: 1} {
					list, err := os.ReadDir(folder)
					require.NoError(t, err)
					require.Len(t, list, want)
				}
			})
		}
	}
}

// TestWhatAnotherUserLeftIsPassedOver: a process of theirs was killed, and its file
// can't even be opened.
func TestWhatAnotherUserLeftIsPassedOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.csv")
	killed, err := Create(path)
	require.NoError(t, err)
	require.NoError(t, killed.tmp.Chmod(0)) // so is one of our own, unless we are root
	require.NoError(t, killed.tmp.Close())
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755)) // the other user goes through it
	require.NoError(t, os.Chmod(dir, 0o777))               // and writes
	asAnother(func() { err = save(path, "first") })
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "first", string(got))
	_, err = os.Lstat(killed.tmp.Name())
	require.NoError(t, err)
}

// asAnother runs what root asks for as another user, in a thread that ends with it.
func asAnother(run func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Geteuid() == 0 {
			runtime.LockOSThread()
			_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, another, another, another)
			if errno != 0 {
				panic(errno)
			}
		}
		run()
	}()
	<-done
}

// TestAFileCutOffAtItsEndIsWrittenOver: its process was killed when all of it was there
// but its name, so that others may read it.
func TestAFileCutOffAtItsEndIsWrittenOver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	killed, err := Create(path)
	require.NoError(t, err)
	_, err = io.WriteString(killed.tmp, "what was written before")
	require.NoError(t, err)
	require.NoError(t, killed.tmp.Chmod(fileMode))
	require.NoError(t, killed.tmp.Close())
	f, err := Create(path)
	require.NoError(t, err)
	defer f.Abort()
	require.Equal(t, killed.tmp.Name(), f.tmp.Name())
	info, err := f.tmp.Stat()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(partMode).String(), info.Mode().String())
	require.Zero(t, info.Size())
	_, err = f.Commit()
	require.NoError(t, err)
	whole(t, path, "")
}

// TestWritersAreBounded: the next one is told so.
func TestWritersAreBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	var writers []*File
	for range partsMax {
		f, err := Create(path)
		require.NoError(t, err)
		t.Cleanup(f.Abort)
		writers = append(writers, f)
	}
	require.ErrorIs(t, save(path, "one more"), errLocked)
	require.NoError(t, writers[3].tmp.Chmod(fileMode)) // who may read a file may lock it as well
	require.NoError(t, save(path, "by another name"))
	whole(t, path, "by another name")
	require.NoError(t, writers[3].tmp.Chmod(partMode))
	require.ErrorIs(t, save(path, "one more"), errLocked)
	writers[3].Abort()
	require.NoError(t, save(path, "now"))
	whole(t, path, "now")
}
