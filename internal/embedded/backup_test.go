package embedded_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/embedded"
)

func quiet(int64, int64) {}

// aSystem is a data folder with something in both engines, on which nothing runs.
func aSystem(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(dir, 0o700))
	c := startChild(t, dir)
	c.fill(t)

	to := filepath.Join(t.TempDir(), "backup")
	_, err := embedded.Backup(t.Context(), dir, to, "test", time.Now(), quiet)
	var busy *embedded.InUseError
	require.ErrorAs(t, err, &busy, "while the system runs")
	require.Equal(t, c.cmd.Process.Pid, busy.PID)
	require.NoDirExists(t, to)

	c.stop(t)
	return dir
}

func TestABackupIsTheSystem(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := aSystem(t)
	to, back := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "back")
	var done, total int64
	m, err := embedded.Backup(ctx, dir, to, "test", time.Now(), func(d, n int64) { done, total = d, n })
	require.NoError(t, err)
	require.Positive(t, m.Bytes)
	require.Equal(t, []int64{m.Bytes, m.Bytes}, []int64{done, total})

	require.NoError(t, os.Rename(dir, dir+"-gone")) // nothing of the backup may lead into it
	again, err := embedded.Restore(ctx, to, back, quiet)
	require.NoError(t, err)
	require.Equal(t, m.Files, again.Files)
	for _, path := range []string{"redis", "clickhouse", "redis/redis.conf"} {
		was, err := os.Stat(filepath.Join(dir+"-gone", path))
		require.NoError(t, err)
		is, err := os.Stat(filepath.Join(back, path))
		require.NoError(t, err)
		require.Equal(t, was.Mode(), is.Mode(), path)
	}
	startChild(t, back).filled(t)

	_, err = embedded.Restore(ctx, to, dir+"-gone", quiet)
	require.ErrorIs(t, err, embedded.ErrNotEmpty, "over a system")
	_, err = embedded.Backup(ctx, dir+"-gone", to, "test", time.Now(), quiet)
	require.ErrorIs(t, err, embedded.ErrNotEmpty, "over a backup")
	_, err = embedded.Backup(ctx, dir+"-gone", filepath.Join(dir+"-gone", "backup"), "test", time.Now(), quiet)
	require.ErrorContains(t, err, "within the other")
	_, err = embedded.Backup(ctx, t.TempDir(), filepath.Join(t.TempDir(), "x"), "test", time.Now(), quiet)
	require.ErrorIs(t, err, embedded.ErrNoSystem)
	_, err = embedded.Restore(ctx, t.TempDir(), filepath.Join(t.TempDir(), "x"), quiet)
	require.ErrorIs(t, err, embedded.ErrNoBackup)
}

// TestABackupOrRestoreThatIsCutOff: neither leaves anything that reads as whole, and
// either can be begun again.
func TestABackupOrRestoreThatIsCutOff(t *testing.T) {
	t.Parallel()
	dir := aSystem(t)
	to, back := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "back")
	// cut ends its context in the middle of the copying.
	cut := func(f func(ctx context.Context, progress func(done, total int64)) error) error {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		return f(ctx, func(done, total int64) {
			if done > total/2 {
				stop()
			}
		})
	}
	require.ErrorIs(t, cut(func(ctx context.Context, progress func(done, total int64)) error {
		_, err := embedded.Backup(ctx, dir, to, "test", time.Now(), progress)
		return err
	}), context.Canceled)
	require.NoDirExists(t, to)
	_, err := embedded.Backup(t.Context(), dir, to, "test", time.Now(), quiet)
	require.NoError(t, err)

	require.ErrorIs(t, cut(func(ctx context.Context, progress func(done, total int64)) error {
		_, err := embedded.Restore(ctx, to, back, progress)
		return err
	}), context.Canceled)
	_, err = embedded.Start(t.Context(), back, embedded.SystemOptions{})
	require.ErrorIs(t, err, embedded.ErrHalfRestored)
	_, err = embedded.Backup(t.Context(), back, filepath.Join(t.TempDir(), "half"), "test", time.Now(), quiet)
	require.ErrorIs(t, err, embedded.ErrHalfRestored)
	_, err = embedded.Restore(t.Context(), to, back, quiet)
	require.NoError(t, err)
	startChild(t, back).filled(t)
}

// TestADamagedBackupIsRefused: a byte that is another, a file that is missing or short,
// a manifest that leads out of the folder.
func TestADamagedBackupIsRefused(t *testing.T) {
	t.Parallel()
	dir := aSystem(t)
	to := filepath.Join(t.TempDir(), "backup")
	m, err := embedded.Backup(t.Context(), dir, to, "test", time.Now(), quiet)
	require.NoError(t, err)
	refused := func(what string) {
		back := filepath.Join(t.TempDir(), "back")
		_, err := embedded.Restore(t.Context(), to, back, quiet)
		require.ErrorIs(t, err, embedded.ErrDamaged, what)
		if _, err := os.Stat(back); err == nil { // it had been begun
			_, err := embedded.Start(t.Context(), back, embedded.SystemOptions{})
			require.ErrorIs(t, err, embedded.ErrHalfRestored, what)
		}
	}
	var path string
	for _, f := range m.Files {
		if f.Bytes > 10 {
			path = filepath.Join(to, f.Path)
		}
	}
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	put := func(text []byte) { require.NoError(t, os.WriteFile(path, text, 0o600)) }
	put(append([]byte{whole[0] ^ 1}, whole[1:]...))
	refused("another byte")
	put(whole[:len(whole)-1])
	refused("short")
	require.NoError(t, os.Remove(path))
	refused("missing")
	put(whole)

	manifest := filepath.Join(to, "backup.json")
	text, err := os.ReadFile(manifest)
	require.NoError(t, err)
	out := strings.Replace(string(text), `"path": "redis"`, `"path": "../redis"`, 1)
	require.NotEqual(t, string(text), out)
	require.NoError(t, os.WriteFile(manifest, []byte(out), 0o600))
	refused("another list")
	for what, forged := range map[string][]embedded.BackupFile{
		"nothing":          {},
		"a way out":        {{Path: "clickhouse", Mode: fs.ModeDir}, {Path: "../redis", Mode: fs.ModeDir}},
		"a link out":       {{Path: "clickhouse", Mode: fs.ModeDir}, {Path: "redis", Mode: fs.ModeDir}, {Path: "redis/l", Mode: fs.ModeSymlink, Link: "../.."}},
		"an absolute link": {{Path: "clickhouse", Mode: fs.ModeDir}, {Path: "redis", Mode: fs.ModeDir}, {Path: "redis/l", Mode: fs.ModeSymlink, Link: t.TempDir()}},
		"a link of a link": {{Path: "clickhouse", Mode: fs.ModeDir}, {Path: "redis", Mode: fs.ModeDir}, {Path: "redis/a", Mode: fs.ModeSymlink, Link: "."}, {Path: "redis/b", Mode: fs.ModeSymlink, Link: "a/../.."}},
	} {
		list, err := json.Marshal(forged)
		require.NoError(t, err)
		sum := sha256.Sum256(list)
		text, err := json.Marshal(embedded.BackupManifest{Files: forged, SHA256: hex.EncodeToString(sum[:])})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(manifest, text, 0o600))
		refused(what)
	}
}

// TestBackupsAndLinks: a part may lie on another disk, and so may the backup's folder;
// what isn't a backup's stays, and nothing leads a backup into what it copies.
func TestBackupsAndLinks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := aSystem(t)
	disk, folder := t.TempDir(), t.TempDir()
	require.NoError(t, os.Rename(filepath.Join(dir, "clickhouse"), filepath.Join(disk, "clickhouse")))
	relative, err := filepath.Rel(dir, filepath.Join(disk, "clickhouse"))
	require.NoError(t, err)
	require.NoError(t, os.Symlink(relative, filepath.Join(dir, "clickhouse")))
	to := filepath.Join(t.TempDir(), "to")
	require.NoError(t, os.Symlink(folder, to))

	_, err = embedded.Backup(ctx, dir, filepath.Join(disk, "clickhouse", "data", "b"), "test", time.Now(), quiet)
	require.ErrorContains(t, err, "within the other")
	inside := filepath.Join(t.TempDir(), "inside")
	require.NoError(t, os.Symlink(filepath.Join(dir, "redis"), inside))
	_, err = embedded.Backup(ctx, dir, filepath.Join(inside, "b"), "test", time.Now(), quiet)
	require.ErrorContains(t, err, "within the other")
	theirs := filepath.Join(folder, "theirs")
	require.NoError(t, os.WriteFile(theirs, nil, 0o600))
	_, err = embedded.Backup(ctx, dir, to, "test", time.Now(), quiet)
	require.ErrorIs(t, err, embedded.ErrNotEmpty)
	require.FileExists(t, theirs)
	require.NoError(t, os.Remove(theirs))

	var both sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		both.Go(func() { _, errs[i] = embedded.Backup(ctx, dir, to, "test", time.Now(), quiet) })
	}
	both.Wait()
	require.True(t, (errs[0] == nil) != (errs[1] == nil), "one of two at once: %v", errs)
	require.FileExists(t, filepath.Join(folder, "backup.json"))
	back := filepath.Join(t.TempDir(), "back")
	_, err = embedded.Restore(ctx, to, back, quiet)
	require.NoError(t, err)
	startChild(t, back).filled(t)

	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(disk, "clickhouse", "elsewhere")))
	_, err = embedded.Backup(ctx, dir, filepath.Join(t.TempDir(), "b"), "test", time.Now(), quiet)
	require.ErrorContains(t, err, "a backup would lack")
}
