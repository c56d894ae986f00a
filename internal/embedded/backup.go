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
	ErrNoBackup = errors.New("not a backup")
	// ErrIsBackup: what runs on a backup changes it, and then it is none any more.
	ErrIsBackup = errors.New("it is a backup, on which nothing may run")
	// ErrDamaged: a backup isn't what was written.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrHalfRestored: a restore was cut off.
	ErrHalfRestored = errors.New("a restore into this folder was cut off: run `meterd restore` again")
	// ErrUnfinished: a backup was cut off.
	ErrUnfinished = fmt.Errorf("%w: making it was cut off: run `meterd backup` again", ErrNoBackup)
)

// parts of a data folder that hold what is stored. All else is made anew by a start.
var parts = []string{"redis", "clickhouse"} //nolint:gochecknoglobals // constant

const (
	manifestFile = "backup.json"
	// restoring stands in a data folder while a restore writes to it, backingUp in a
	// backup's while it is made: what is there then isn't whole.
	restoring = "restoring"
	backingUp = "backing-up"
)

// BackupManifest says what a backup holds.
type BackupManifest struct {
	Version string       `json:"version"` // of the meterd that made it
	MadeAt  time.Time    `json:"made_at"`
	Files   []BackupFile `json:"files"`
	Bytes   int64        `json:"bytes"`
	SHA256  string       `json:"sha256"` // of the list of files
}

// digest is the SHA-256 of the list of files.
func (m *BackupManifest) digest() (string, error) {
	text, err := json.Marshal(m.Files)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
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
// One that was cut off isn't a backup, and is begun again. progress is told the bytes
// that are copied and in all.
func Backup(ctx context.Context, dir, to, version string, now time.Time, progress func(done, total int64)) (*BackupManifest, error) {
	dir, to, err := apart(dir, to)
	if err != nil {
		return nil, err
	}
	if err := noBackup(dir); err != nil {
		return nil, err
	}
	switch st, err := os.Stat(filepath.Join(dir, "clickhouse")); {
	case errors.Is(err, fs.ErrNotExist), err == nil && !st.IsDir():
		return nil, fmt.Errorf("%s: %w", dir, ErrNoSystem)
	case err != nil:
		return nil, fmt.Errorf("back up: %w", err)
	}
	release, err := atRest(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer release()
	if exists(filepath.Join(dir, restoring)) {
		return nil, fmt.Errorf("%s: %w", dir, ErrHalfRestored)
	}
	for _, part := range parts { // each may be on another disk
		if _, _, err := apart(filepath.Join(dir, part), to); err != nil {
			return nil, err
		}
	}
	m := &BackupManifest{Version: version, MadeAt: now.UTC()}
	if err := m.list(dir); err != nil {
		return nil, err
	}
	if err := m.makeAt(ctx, dir, to, progress); err != nil {
		return nil, fmt.Errorf("back up %s into %s: %w", dir, to, err)
	}
	return m, nil
}

// makeAt makes the backup. What fails is taken away again.
func (m *BackupManifest) makeAt(ctx context.Context, dir, to string, progress func(done, total int64)) (err error) {
	made := !exists(to)
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	lock, err := lockFolder(ctx, to) // against another backup
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.Remove(lockPath(to)), lock.release())
		if err != nil && made {
			_ = os.Remove(to) // it is empty
		}
	}()
	if err := begin(to, backingUp, true); err != nil {
		return err
	}
	err = m.copy(ctx, dir, to, progress, false)
	if err == nil {
		err = m.write(to)
	}
	if err == nil {
		err = end(to, backingUp)
	}
	if err == nil {
		return flush(filepath.Dir(to))
	}
	for _, name := range slices.Concat(parts, []string{manifestFile, backingUp}) { // the mark last: whoever is cut off here is begun again too
		err = errors.Join(err, os.RemoveAll(filepath.Join(to, name)))
	}
	return err
}

// write puts the manifest into a backup.
func (m *BackupManifest) write(to string) (err error) {
	if m.SHA256, err = m.digest(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(to, manifestFile)
	if err := writeFile(path, append(text, '\n')); err != nil {
		return err
	}
	return flush(path)
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
	if err := noBackup(dir); err != nil {
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
	err = begin(dir, restoring, false)
	if err == nil {
		err = m.copy(ctx, from, dir, progress, true)
	}
	if err == nil {
		err = end(dir, restoring)
	}
	if err != nil {
		return nil, fmt.Errorf("restore into %s: %w", dir, err)
	}
	return m, nil
}

// begin marks a folder as one that is being filled. What a filling that was cut off
// has left goes first. only: nothing else may be there either.
func begin(dir, mark string, only bool) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	marked := exists(filepath.Join(dir, mark))
	for _, e := range list {
		path, name := filepath.Join(dir, e.Name()), e.Name()
		ours := slices.Contains(parts, name) || strings.HasPrefix(name, manifestFile)
		switch {
		case name == mark, path == lockPath(dir), !ours && (marked || !only):
		case !marked:
			return fmt.Errorf("%s: %w", path, ErrNotEmpty)
		default:
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	if err := writeFile(filepath.Join(dir, mark), nil); err != nil {
		return err
	}
	return flush(dir)
}

// end takes the mark away: what is there is whole, and on the disk.
func end(dir, mark string) error {
	if err := flush(dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, mark)); err != nil {
		return err
	}
	return flush(dir)
}

// noBackup refuses a data folder that is a backup, or was to become one, before
// anything is written to it.
func noBackup(dir string) error {
	if exists(filepath.Join(dir, manifestFile)) || exists(filepath.Join(dir, backingUp)) {
		return fmt.Errorf("data folder %s: %w: `meterd restore --data FOLDER %s` makes a data folder of it", dir, ErrIsBackup, dir)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// apart are both folders' whole paths without links, neither within the other.
func apart(a, b string) (realA, realB string, err error) {
	if realA, err = resolved(a); err == nil {
		realB, err = resolved(b)
	}
	if err != nil {
		return "", "", fmt.Errorf("find the folder: %w", err)
	}
	if within(realA, realB) || within(realB, realA) {
		return "", "", fmt.Errorf("%s and %s: %w", a, b, errors.New("one lies within the other; give a folder beside it")) //nolint:err113 // shown to whoever gave them
	}
	return realA, realB, nil
}

// resolved is a path without links; what isn't there yet can't be one.
func resolved(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	found, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) && !exists(path) {
		parent, err := resolved(filepath.Dir(path))
		return filepath.Join(parent, filepath.Base(path)), err
	}
	return found, err
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
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

// list finds what is to be copied. Each part may be a link to another disk.
func (m *BackupManifest) list(dir string) error {
	for _, part := range parts {
		root, err := filepath.EvalSymlinks(filepath.Join(dir, part))
		if err != nil {
			return fmt.Errorf("back up: %w", err)
		}
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			f := BackupFile{Path: filepath.ToSlash(filepath.Join(part, rel)), Mode: info.Mode()}
			switch {
			case info.Mode().IsRegular():
				f.Bytes = info.Size()
			case info.IsDir():
			case info.Mode()&fs.ModeSymlink != 0:
				if f.Link, err = linkWithin(root, filepath.Join(dir, part), path); err != nil || f.Link == "" {
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

// linkWithin is where a link leads, from its own folder; "": to nothing. It has to be a
// folder of the same part, which may be named by either of its names: the link must
// lead into the copy.
func linkWithin(root, name, path string) (string, error) {
	to, err := os.Readlink(path)
	if err != nil || !exists(path) {
		return "", err
	}
	switch {
	case !filepath.IsAbs(to):
		to = filepath.Join(filepath.Dir(path), to)
	case within(to, name):
		to = filepath.Join(root, strings.TrimPrefix(to, name))
	}
	switch st, err := os.Lstat(to); {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !within(to, root) || !st.IsDir():
		return "", fmt.Errorf("%s leads to %s, which isn't a folder beside it: a backup would lack what is there", path, to) //nolint:err113 // shown to the operator
	}
	return filepath.Rel(filepath.Dir(path), to)
}

// copy copies all files from one folder to another. Where the digests are known each
// is compared with its own, else they are noted.
func (m *BackupManifest) copy(ctx context.Context, from, to string, progress func(done, total int64), known bool) error {
	root, err := os.OpenRoot(to) // nothing is written outside of it, whatever a backup says
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	var done int64
	folders := []string{to}
	for i := range m.Files {
		f := &m.Files[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		target := filepath.FromSlash(f.Path)
		source := filepath.Join(from, target)
		switch {
		case f.Mode.IsDir():
			if err := root.MkdirAll(target, 0o700); err != nil {
				return err
			}
			folders = append(folders, filepath.Join(to, target))
		case f.Link != "":
			if err := root.Symlink(f.Link, target); err != nil {
				return err
			}
		default:
			sum, err := copyFile(source, root, target, f.Mode.Perm(), f.Bytes)
			if known && errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%w: %w", ErrDamaged, err)
			}
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
		if err := flush(folder); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file of a known size to the disk and returns its SHA-256.
func copyFile(source string, root *os.Root, target string, mode fs.FileMode, size int64) (sum string, err error) {
	in, err := os.Open(source) //nolint:gosec // of the operator's own folder
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }()
	out, err := root.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
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

// flush brings a file, or the names in a folder, to the disk.
func flush(path string) error {
	d, err := os.Open(path) //nolint:gosec // of the operator's own folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readManifest reads what a backup says of itself, and checks that it says it whole.
func readManifest(from string) (*BackupManifest, error) {
	if exists(filepath.Join(from, backingUp)) {
		return nil, fmt.Errorf("%s: %w", from, ErrUnfinished)
	}
	text, err := os.ReadFile(filepath.Join(from, manifestFile)) //nolint:gosec // the operator's own backup
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: there is no %s in it", from, ErrNoBackup, manifestFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	m := &BackupManifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestFile, err)
	}
	if sum, err := m.digest(); err != nil || sum != m.SHA256 {
		return nil, fmt.Errorf("%w: %s isn't what was written", ErrDamaged, manifestFile)
	}
	folders := map[string]bool{}
	for i := range m.Files {
		folders[m.Files[i].Path] = m.Files[i].Mode.IsDir()
	}
	if !folders["clickhouse"] {
		return nil, fmt.Errorf("%w: %s lists no ledger", ErrDamaged, manifestFile)
	}
	for i := range m.Files {
		f := &m.Files[i]
		to := filepath.ToSlash(filepath.Join(filepath.Dir(filepath.FromSlash(f.Path)), filepath.FromSlash(f.Link)))
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || f.Link != "" && (filepath.IsAbs(f.Link) || !folders[to]) {
			return nil, fmt.Errorf("%w: %s names a place outside: %s", ErrDamaged, manifestFile, f.Path)
		}
	}
	return m, nil
}
