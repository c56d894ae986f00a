package render

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/xuri/excelize/v2"
)

// Book says what a workbook of a long table is.
type Book struct {
	Title   string
	Sheet   string // name of its sheets; from the second on with a number
	Columns []Column
	Digits  int // decimals of the currency's minor unit
	// About is what its last sheet says, once it is known how many hold lines.
	About func(sheets int) []Fact
	// SheetRows is how many rows a sheet has at most. Default and maximum: what
	// the format allows.
	SheetRows int
}

// XLSXLines writes a table as a workbook of as many sheets as its lines need,
// each with the header, frozen. The lines wait in temporary files.
func XLSXLines(w io.Writer, o Book) Lines {
	if o.SheetRows <= 0 || o.SheetRows > excelize.TotalRows {
		o.SheetRows = excelize.TotalRows
	}
	f := excelize.NewFile()
	return &xlsxLines{w: w, o: o, book: &book{file: f, doc: &Document{Title: o.Title, Digits: o.Digits}, names: map[string]bool{}}, cells: make([]any, len(o.Columns))}
}

type xlsxLines struct {
	w      io.Writer
	o      Book
	book   *book
	stream *excelize.StreamWriter
	sheets int
	row    int // of the present sheet, the header's included
	cells  []any
}

func (l *xlsxLines) Line(cells []string) error {
	if l.stream == nil || l.row == l.o.SheetRows {
		if err := l.next(); err != nil {
			return fmt.Errorf("write XLSX: %w", err)
		}
	}
	for i, v := range cells {
		kind := l.o.Columns[i].Kind
		switch {
		case v == "":
			l.cells[i] = nil
		case kind == Time:
			at, err := time.Parse(time.RFC3339Nano, v)
			if err != nil {
				return fmt.Errorf("write XLSX: %w", err)
			}
			l.cells[i] = excelize.Cell{StyleID: l.book.styles[styleKey{Time, false, false}], Value: at}
		case kind == Text:
			l.cells[i] = v
		default:
			l.cells[i] = excelize.Cell{StyleID: l.book.styles[styleKey{l.book.shown(kind, v), false, false}], Value: typed(kind, v)}
		}
	}
	l.row++
	if err := l.stream.SetRow("A"+strconv.Itoa(l.row), l.cells); err != nil {
		return fmt.Errorf("write XLSX: %w", err)
	}
	return nil
}

// next begins a sheet.
func (l *xlsxLines) next() error {
	if l.stream == nil {
		if err := l.book.makeStyles(); err != nil {
			return err
		}
	} else if err := l.stream.Flush(); err != nil {
		return err
	}
	l.sheets++
	name := l.book.sheetName(l.o.Sheet)
	if l.sheets > 1 {
		name = l.book.sheetName(l.o.Sheet + " " + strconv.Itoa(l.sheets))
		if _, err := l.book.file.NewSheet(name); err != nil {
			return err
		}
	} else if err := l.book.file.SetSheetName("Sheet1", name); err != nil {
		return err
	}
	err := l.book.page(name, "")
	if err != nil {
		return err
	}
	if l.stream, err = l.book.file.NewStreamWriter(name); err != nil {
		return err
	}
	if err := l.stream.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return err
	}
	if err := l.stream.SetColWidth(1, len(l.o.Columns), 16); err != nil {
		return err
	}
	head := make([]any, len(l.o.Columns))
	for i, c := range l.o.Columns {
		head[i] = l.book.head(c)
	}
	l.row = 1
	if err := l.book.repeat(name, nil); err != nil {
		return err
	}
	return l.stream.SetRow("A1", head)
}

// Abandon frees what a workbook that isn't finished holds.
func (l *xlsxLines) Abandon() { _ = l.book.file.Close() }

// Close writes the workbook.
func (l *xlsxLines) Close() error {
	defer func() { _ = l.book.file.Close() }() // its temporary files are of no more use
	if l.stream == nil {
		if err := l.next(); err != nil {
			return fmt.Errorf("write XLSX: %w", err)
		}
	}
	if err := l.finish(); err != nil {
		return fmt.Errorf("write XLSX: %w", err)
	}
	return nil
}

func (l *xlsxLines) finish() error {
	if err := l.stream.Flush(); err != nil {
		return err
	}
	name := l.book.sheetName("About")
	if _, err := l.book.file.NewSheet(name); err != nil {
		return err
	}
	if err := l.book.page(name, ""); err != nil {
		return err
	}
	sw, err := l.book.file.NewStreamWriter(name)
	if err != nil {
		return err
	}
	if err := sw.SetColWidth(1, 2, 34); err != nil {
		return err
	}
	p := &sheetWriter{book: l.book, stream: sw, row: 1}
	p.title(l.o.Title)
	p.facts(l.o.About(l.sheets))
	if p.err != nil {
		return p.err
	}
	if err := sw.Flush(); err != nil {
		return err
	}
	return l.book.save(l.w)
}
