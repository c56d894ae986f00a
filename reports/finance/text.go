package finance

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/reports/render"
)

// csvSink writes by RFC 4180 with a header, in UTF-8, lines ended by LF. An
// empty field is no value. What a spreadsheet might run is made harmless.
type csvSink struct {
	w    *csv.Writer
	line []string
	// points gives every number a decimal point, since readers of FOCUS take a
	// column of whole numbers for integers.
	points bool
}

func newCSV(w io.Writer, columns []column, points bool) (*csvSink, error) {
	s := &csvSink{w: csv.NewWriter(w), line: make([]string, len(columns)), points: points}
	for i, c := range columns {
		s.line[i] = c.name
	}
	if err := s.w.Write(s.line); err != nil {
		return nil, fmt.Errorf("write CSV: %w", err)
	}
	return s, nil
}

func (s *csvSink) write(line []any) error {
	for i, v := range line {
		t, _ := plain(v)
		if d, ok := v.(decimal.Decimal); ok && s.points && d.IsInteger() {
			t = d.StringFixed(1)
		}
		s.line[i] = render.SafeCell(t)
	}
	if err := s.w.Write(s.line); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

func (s *csvSink) close() error {
	s.w.Flush()
	if err := s.w.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// jsonSink writes an object a line, its fields in the columns' order; decimals
// are strings.
type jsonSink struct {
	w     io.Writer
	names []string // quoted, with the colon
	buf   []byte
}

func newJSON(w io.Writer, columns []column) *jsonSink {
	s := &jsonSink{w: w}
	for _, c := range columns {
		s.names = append(s.names, `"`+c.name+`":`)
	}
	return s
}

func (s *jsonSink) write(line []any) error {
	s.buf = append(s.buf[:0], '{')
	for i, v := range line {
		if i > 0 {
			s.buf = append(s.buf, ',')
		}
		s.buf = append(s.buf, s.names[i]...)
		t, ok := plain(v)
		switch _, whole := v.(uint64); {
		case !ok:
			s.buf = append(s.buf, "null"...)
		case whole:
			s.buf = append(s.buf, t...)
		default:
			doc, err := json.Marshal(strings.ToValidUTF8(t, "\ufffd"))
			if err != nil {
				return fmt.Errorf("write JSON: %w", err)
			}
			s.buf = append(s.buf, doc...)
		}
	}
	s.buf = append(s.buf, "}\n"...)
	if _, err := s.w.Write(s.buf); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

func (s *jsonSink) close() error { return nil }
