package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Errors of backups.
var (
	// ErrNoSystem: the data folder holds nothing that could be backed up.
	ErrNoSystem = errors.New("no embedded system is there: give its --data")
	// ErrNotEmpty: what is to be written would mix with what is there.
	ErrNotEmpty = errors.New("something is there already: give a folder that is empty, or doesn't exist")
	// ErrNoBackup: the folder isn't a backup.
	ErrNoBackup = errors.New("not a backup: there is no backup.json in it")
	// ErrDamaged: a backup isn't what was written.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrHalfRestored: a restore was cut off.
	ErrHalfRestored = errors.New("a restore into this folder was cut off: run `meterd restore` again")
)

// parts of a data folder that hold what is stored. All else is made anew by a start.
var parts = []string{"redis", "clickhouse"} //nolint:gochecknoglobals // constant

const (
	manifestFile = "backup.json"
	// restoring stands in a data folder while a restore writes to it.
	restoring = "restoring"
)

// BackupManifest says what a backup holds.
type BackupManifest struct {
	Version string       `json:"version"` // of the meterd that made it
	MadeAt  time.Time    `json:"made_at"`
	Files   []BackupFile `json:"files"`
	Bytes   int64        `json:"bytes"`
}

// BackupFile is a file, a folder or a link of a backup.
type BackupFile struct {
	Path   string      `json:"path"` // within the backup, with slashes
	Mode   fs.FileMode `json:"mode"`
	Bytes  int64       `json:"bytes,omitempty"`
	SHA256 string      `json:"sha256,omitempty"` // of a file
	Link   string      `json:"link,omitempty"`   // where a link leads, relative
}

// Backup copies a data folder into another folder, which must be empty or not exist:
// both engines' files, of one instant, for no system may run meanwhile (*InUseError).
// The backup is there as a whole or not at all. progress is told the bytes that are
// copied and in all.
func Backup(ctx context.Context, dir, to, version string, now time.Time, progress func(done, total int64)) (*BackupManifest, error) {
	dir, to, err := apart(dir, to)
	if err != nil {
		return nil, err
	}
	if !isFolder(filepath.Join(dir, "clickhouse")) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoSystem)
	}
	release, err := atRest(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := empty(to); err != nil {
		return nil, err
	}
	m := &BackupManifest{Version: version, MadeAt: now.UTC()}
	if err := m.list(dir); err != nil {
		return nil, err
	}
	part := to + ".part"
	if err := os.RemoveAll(part); err != nil { // of one that was cut off
		return nil, fmt.Errorf("back up: %w", err)
	}
	if err := m.copy(ctx, dir, part, progress, false); err != nil {
		return nil, errors.Join(fmt.Errorf("back up %s: %w", dir, err), os.RemoveAll(part))
	}
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	err = writeFile(filepath.Join(part, manifestFile), append(text, '\n'))
	if err == nil {
		err = syncFolder(part)
	}
	if err == nil {
		_ = os.Remove(to) // empty
		err = os.Rename(part, to)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(to))
	}
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	return m, nil
}

// Restore makes a data folder, which must be empty or not exist, of a backup. Every
// file is compared with its digest. One that was cut off is begun again.
func Restore(ctx context.Context, from, dir string, progress func(done, total int64)) (*BackupManifest, error) {
	from, dir, err := apart(from, dir)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(from)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	release, err := atRest(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer release()
	mark := filepath.Join(dir, restoring)
	for _, part := range parts {
		path := filepath.Join(dir, part)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, err := os.Lstat(mark); err != nil {
			return nil, fmt.Errorf("%s: %w", path, ErrNotEmpty)
		}
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
	}
	err = writeFile(mark, nil)
	if err == nil {
		err = syncFolder(dir)
	}
	if err == nil {
		err = m.copy(ctx, from, dir, progress, true)
	}
	if err == nil {
		err = os.Remove(mark)
	}
	if err == nil {
		err = syncFolder(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("restore into %s: %w", dir, err)
	}
	return m, nil
}

// apart are both folders' whole paths, neither within the other.
func apart(a, b string) (absA, absB string, err error) {
	if absA, err = filepath.Abs(a); err == nil {
		absB, err = filepath.Abs(b)
	}
	if err != nil {
		return "", "", fmt.Errorf("find the folder: %w", err)
	}
	within := func(x, y string) bool { return x == y || strings.HasPrefix(x, y+string(filepath.Separator)) }
	if within(absA, absB) || within(absB, absA) {
		return "", "", fmt.Errorf("%s and %s: %w", a, b, errors.New("one lies within the other; give a folder beside it")) //nolint:err113 // shown to whoever gave them
	}
	return absA, absB, nil
}

// atRest holds the lock of a data folder on which nothing runs.
func atRest(ctx context.Context, dir string) (release func(), err error) {
	lock, err := lockFolder(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := endPrevious(ctx, filepath.Join(dir, "redis")); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return func() { _ = lock.release() }, nil
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// empty wants a folder that holds nothing, or none.
func empty(path string) error {
	list, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("back up: %w", err)
	case len(list) > 0:
		return fmt.Errorf("%s: %w", path, ErrNotEmpty)
	}
	return nil
}

// list finds what is to be copied.
func (m *BackupManifest) list(dir string) error {
	for _, part := range parts {
		err := filepath.WalkDir(filepath.Join(dir, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			f := BackupFile{Path: filepath.ToSlash(rel), Mode: info.Mode()}
			switch {
			case info.Mode().IsRegular():
				f.Bytes = info.Size()
			case info.IsDir():
			case info.Mode()&fs.ModeSymlink != 0:
				if f.Link, err = relativeLink(dir, path); err != nil {
					return err
				}
			default:
				return nil // a socket or a pipe of a process that is gone
			}
			m.Files = append(m.Files, f)
			m.Bytes += f.Bytes
			return nil
		})
		if err != nil {
			return fmt.Errorf("back up: %w", err)
		}
	}
	return nil
}

// relativeLink is where a link leads, from its own folder: a link of the data folder
// into itself must lead into the copy.
func relativeLink(dir, path string) (string, error) {
	to, err := os.Readlink(path)
	if err != nil || !filepath.IsAbs(to) {
		return to, err
	}
	if !strings.HasPrefix(to, dir+string(filepath.Separator)) {
		return "", fmt.Errorf("%s leads to %s, out of the data folder", path, to) //nolint:err113 // shown to the operator
	}
	return filepath.Rel(filepath.Dir(path), to)
}

// copy copies all files from one folder to another. Where the digests are known each
// is compared with its own, else they are noted.
func (m *BackupManifest) copy(ctx context.Context, from, to string, progress func(done, total int64), known bool) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	var done int64
	folders := []string{to}
	for i := range m.Files {
		f := &m.Files[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		source, target := filepath.Join(from, filepath.FromSlash(f.Path)), filepath.Join(to, filepath.FromSlash(f.Path))
		switch {
		case f.Mode.IsDir():
			if err := os.MkdirAll(target, 0o700); err != nil {
				return err
			}
			folders = append(folders, target)
		case f.Link != "":
			if err := os.Symlink(f.Link, target); err != nil {
				return err
			}
		default:
			sum, err := copyFile(source, target, f.Mode.Perm(), f.Bytes)
			if err != nil {
				return err
			}
			if known && sum != f.SHA256 {
				return fmt.Errorf("%w: %s isn't what was written", ErrDamaged, source)
			}
			f.SHA256 = sum
			done += f.Bytes
			progress(done, m.Bytes)
		}
	}
	slices.Reverse(folders)
	for _, folder := range folders {
		if err := syncFolder(folder); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file of a known size to the disk and returns its SHA-256.
func copyFile(source, target string, mode fs.FileMode, size int64) (sum string, err error) {
	in, err := os.Open(source) //nolint:gosec // of the operator's own folder
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // as above
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), in)
	if err == nil && n != size {
		err = fmt.Errorf("%w: %s has %d bytes instead of %d", ErrDamaged, source, n, size)
	}
	if err == nil {
		err = out.Sync()
	}
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, out.Close())
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path) //nolint:gosec // of the operator's own folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readManifest(from string) (*BackupManifest, error) {
	text, err := os.ReadFile(filepath.Join(from, manifestFile)) //nolint:gosec // the operator's own backup
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", from, ErrNoBackup)
	}
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	m := &BackupManifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestFile, err)
	}
	for i := range m.Files {
		if f := &m.Files[i]; !filepath.IsLocal(filepath.FromSlash(f.Path)) || f.Link != "" && !filepath.IsLocal(filepath.Join(filepath.Dir(filepath.FromSlash(f.Path)), filepath.FromSlash(f.Link))) {
			return nil, fmt.Errorf("%w: %s names a place outside: %s", ErrDamaged, manifestFile, f.Path)
		}
	}
	return m, nil
}
