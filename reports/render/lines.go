package render

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
)

// Lines takes a long table line by line. A line may be used again once Line has
// returned. Close ends it; it doesn't close what it writes to.
type Lines interface {
	Line(cells []string) error
	Close() error
}

// CSVLines writes a table as CSV does.
func CSVLines(w io.Writer, columns []Column) (Lines, error) {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	head := make([]string, len(columns))
	for i, col := range columns {
		head[i] = col.Name
	}
	if err := c.Write(head); err != nil {
		return nil, fmt.Errorf("write CSV: %w", err)
	}
	return &csvLines{c: c, safe: make([]string, len(columns))}, nil
}

type csvLines struct {
	c    *csv.Writer
	safe []string
}

func (l *csvLines) Line(cells []string) error {
	for i, cell := range cells {
		l.safe[i] = SafeCell(cell)
	}
	if err := l.c.Write(l.safe); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

func (l *csvLines) Close() error {
	l.c.Flush()
	if err := l.c.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// JSONLines writes one object a line. Counts are numbers; amounts and other
// decimals are strings, for a number would be read as a double.
func JSONLines(w io.Writer, columns []Column) (Lines, error) {
	l := &jsonLines{w: bufio.NewWriter(w), columns: columns}
	for i, c := range columns {
		name, err := json.Marshal(c.Name)
		if err != nil {
			return nil, fmt.Errorf("write JSON: %w", err)
		}
		lead := ","
		if i == 0 {
			lead = "{"
		}
		l.names = append(l.names, lead+string(name)+":")
	}
	l.encoder = json.NewEncoder(&l.text)
	l.encoder.SetEscapeHTML(false)
	return l, nil
}

type jsonLines struct {
	w       *bufio.Writer
	columns []Column
	names   []string
	text    buffer
	encoder *json.Encoder
}

// buffer keeps what an encoder wrote last.
type buffer []byte

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

func (l *jsonLines) Line(cells []string) error {
	for i, cell := range cells {
		_, _ = l.w.WriteString(l.names[i]) // the writer keeps its error
		switch {
		case l.columns[i].Kind == Count && cell == "":
			_, _ = l.w.WriteString("null")
		case l.columns[i].Kind == Count:
			_, _ = l.w.WriteString(cell)
		default:
			l.text = l.text[:0]
			if err := l.encoder.Encode(cell); err != nil {
				return fmt.Errorf("write JSON: %w", err)
			}
			_, _ = l.w.Write(l.text[:len(l.text)-1])
		}
	}
	if _, err := l.w.WriteString("}\n"); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

func (l *jsonLines) Close() error {
	if err := l.w.Flush(); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
