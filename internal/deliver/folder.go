package deliver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Modes of what is delivered: the reader's group may read.
const (
	folderMode = 0o750
	fileMode   = 0o640
)

// toFolder copies files, each whole or not at all.
func toFolder(dir string, files []File) error {
	for _, f := range files {
		if err := copyFile(dir, f); err != nil {
			return fmt.Errorf("folder: %w", withoutPath(err))
		}
	}
	return nil
}

func copyFile(dir string, f File) (err error) {
	in, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".report-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // what is left over of a failure
		}
	}()
	if _, err = io.Copy(tmp, in); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err = tmp.Chmod(fileMode); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err = errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(dir, filepath.Base(f.Name)))
}

// withoutPath is what went wrong with a file, without its name.
func withoutPath(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		return le.Err
	}
	return err
}
