package reports

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/meterd/meterd/reports/render"
)

// bytesOf is a file in the making. Reports are small: a line for each day,
// channel and outcome, not for each message.
type bytesOf = bytes.Buffer

// renderTo writes a statement in a format.
func renderTo(b *bytesOf, format string, st Statement) error {
	switch format {
	case FormatCSV:
		header, lines := st.table()
		return render.CSV(b, header, lines)
	case FormatJSON:
		e := json.NewEncoder(b)
		e.SetIndent("", "  ")
		if err := e.Encode(st); err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		return nil
	case FormatHTML:
		return render.HTML(b, st.document())
	case FormatXLSX:
		return render.XLSX(b, st.document())
	default:
		return ErrFormat
	}
}

// writeFile puts a file into a folder, whole or not at all.
func writeFile(folder, name string, write func(*bytesOf) error) (File, error) {
	var b bytesOf
	if err := write(&b); err != nil {
		return File{}, err
	}
	sum := sha256.Sum256(b.Bytes())
	path := filepath.Join(folder, name)
	f := File{Path: path, Bytes: int64(b.Len()), SHA256: hex.EncodeToString(sum[:])}
	if err := putFile(path, b.Bytes()); err != nil {
		err = withoutPath(err)
		return File{}, fmt.Errorf("%w %s: %w", ErrFolder, folder, err)
	}
	return f, nil
}

// Modes of what is made: the reader's group may read.
const (
	folderMode = 0o750
	fileMode   = 0o640
)

func putFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
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
	if _, err = tmp.Write(data); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err = tmp.Chmod(fileMode); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err = errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// withoutPath is what went wrong with a file, without its name: the folder is
// named beside it, the file's is no business of whoever reads the error.
func withoutPath(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		return le.Err
	}
	return err
}
