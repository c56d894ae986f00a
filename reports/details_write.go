package reports

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/meterd/meterd/reports/render"
)

// lineWriter takes the lines of one file.
type lineWriter[T any] interface {
	write(l *T) error
	close() error
	abandon() // frees what a file that isn't finished holds
	sheets() int
}

func newLineWriter[T any, P interface {
	*T
	line
}](w io.Writer, format string, d *detail[T]) (lineWriter[T], error) {
	columns := P(new(T)).columns()
	t := &tableWriter[T, P]{}
	var err error
	switch format {
	case FormatParquet:
		return newParquetWriter[T](w), nil
	case FormatCSV:
		if d.bom {
			if err := render.ByteOrderMark(w); err != nil {
				return nil, err
			}
		}
		t.lines, err = render.CSVLines(w, columns)
	case FormatJSON:
		t.lines, err = render.JSONLines(w, columns)
	case FormatXLSX:
		t.lines = render.XLSXLines(w, render.Book{
			Title: d.title, Sheet: "Messages", Columns: columns, Digits: d.digits,
			About: func(sheets int) []render.Fact {
				t.made = sheets
				list := d.about()
				if sheets > 1 {
					list = append(list, render.Fact{Label: "Sheets of lines", Value: fmt.Sprintf("%d, because one holds no more than 1,048,575", sheets)})
				}
				return list
			},
		})
	default:
		err = ErrFormat
	}
	return t, err
}

// tableWriter writes lines as cells.
type tableWriter[T any, P interface {
	*T
	line
}] struct {
	lines render.Lines
	cells []string
	made  int
}

func (t *tableWriter[T, P]) write(l *T) error {
	t.cells = P(l).cells(t.cells[:0])
	return t.lines.Line(t.cells)
}

func (t *tableWriter[T, P]) close() error { return t.lines.Close() }
func (t *tableWriter[T, P]) sheets() int  { return t.made }

func (t *tableWriter[T, P]) abandon() {
	if x, ok := t.lines.(interface{ Abandon() }); ok {
		x.Abandon()
	}
}

// Bounds of a Parquet file's memory: the lines of a row group wait for its end.
const (
	groupRows = 100_000
	batchRows = 1_000
)

// parquetWriter writes lines as rows.
type parquetWriter[T any] struct {
	w     *parquet.GenericWriter[T]
	batch []T
}

func newParquetWriter[T any](w io.Writer) *parquetWriter[T] {
	return &parquetWriter[T]{
		w: parquet.NewGenericWriter[T](w, parquet.MaxRowsPerRowGroup(groupRows), parquet.Compression(&parquet.Zstd),
			parquet.CreatedBy("meterd", "", "")),
		batch: make([]T, 0, batchRows),
	}
}

func (p *parquetWriter[T]) write(l *T) error {
	if p.batch = append(p.batch, *l); len(p.batch) == batchRows {
		return p.flush()
	}
	return nil
}

func (p *parquetWriter[T]) flush() error {
	if _, err := p.w.Write(p.batch); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	p.batch = p.batch[:0]
	return nil
}

func (p *parquetWriter[T]) close() error {
	if err := p.flush(); err != nil {
		return err
	}
	if err := p.w.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

func (p *parquetWriter[T]) abandon()    {}
func (p *parquetWriter[T]) sheets() int { return 0 }
