package reports

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/meterd/meterd/reports/render"
)

// renderTo writes a statement in a format.
func renderTo(b io.Writer, format string, st Statement) error {
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
	case FormatPDF:
		return render.PDF(b, st.document())
	default:
		return ErrFormat
	}
}

// writeFile puts a file into a folder as it is made, whole or not at all.
func writeFile(folder, name string, write func(io.Writer) error) (File, error) {
	path := filepath.Join(folder, name)
	f := File{Path: path}
	sum := sha256.New()
	var failed error // of what is written, not of the folder
	err := replaceFile(path, func(w io.Writer) error {
		buf := bufio.NewWriterSize(io.MultiWriter(w, sum, (*counter)(&f.Bytes)), bufferBytes)
		if failed = write(buf); failed != nil {
			return failed
		}
		return buf.Flush()
	})
	if failed != nil {
		if _, ok := errors.AsType[*fs.PathError](failed); !ok {
			return File{}, failed
		}
	}
	if err != nil {
		err = withoutPath(err)
		return File{}, fmt.Errorf("%w %s: %w", ErrFolder, folder, err)
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return f, nil
}

// bufferBytes is how much of a file is gathered for one write.
const bufferBytes = 256 << 10

// counter counts what is written to it.
type counter int64

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// Modes of what is made: the reader's group may read.
const (
	folderMode = 0o750
	fileMode   = 0o640
)

// putFile writes a file, whole or not at all.
func putFile(path string, data []byte) error {
	return replaceFile(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// replaceFile has a file written beside its place and moves it there once it is
// on the disk.
func replaceFile(path string, write func(io.Writer) error) (err error) {
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
	if err = write(tmp); err != nil {
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
