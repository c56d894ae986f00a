package reports

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/meterd/meterd/internal/outfile"
	"github.com/meterd/meterd/reports/render"
)

// renderTo writes a statement in a format, as the request has it.
func renderTo(b io.Writer, format string, q *Request, st Statement) error {
	switch format {
	case FormatCSV:
		if q.BOM {
			if err := render.ByteOrderMark(b); err != nil {
				return err
			}
		}
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
		lacks, err := render.Lacks()
		if err != nil {
			return err
		}
		d := printed(st, lacks)
		d.AllDetails = q.Detail
		return render.PDF(b, d)
	default:
		return ErrFormat
	}
}

// writeFile puts a file into a folder as it is made, whole or not at all. An
// error names the folder, not the file: its name is no business of whoever reads
// that.
func writeFile(folder, name string, write func(io.Writer) error) (File, error) {
	path := filepath.Join(folder, name)
	n, sum, err := outfile.Save(path, write)
	if errors.Is(err, outfile.ErrWrite) {
		return File{}, fmt.Errorf("%w %s: %w", ErrFolder, folder, err)
	}
	return File{Path: path, Bytes: n, SHA256: sum, Layout: render.Layout}, err
}
