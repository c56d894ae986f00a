package deliver

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/meterd/meterd/internal/outfile"
)

// toFolder copies files, each whole or not at all.
func toFolder(dir string, files []File) error {
	for _, f := range files {
		if err := copyFile(dir, f); err != nil {
			return fmt.Errorf("folder: %w", err)
		}
	}
	return nil
}

func copyFile(dir string, f File) error {
	in, err := os.Open(f.Path)
	if err != nil {
		return fmt.Errorf("read the report again: %w", err)
	}
	defer func() { _ = in.Close() }() // only read
	_, _, err = outfile.Save(filepath.Join(dir, filepath.Base(f.Name)), func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
	return err
}
