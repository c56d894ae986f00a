package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// table takes the rows of a CSV file.
func (x *reading) table(in *bufio.Reader) error {
	rows := &rows{in: in}
	var at map[string]int
	width := 0
	for {
		text, err := rows.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = cells(text, func(raw []byte, cells []string) error {
				if at != nil {
					return x.row(at, width, raw, cells)
				}
				width = len(cells)
				at, err = x.header(cells)
				return err
			})
		}
		if err != nil && at == nil {
			return err // the header's
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", rows.line, err)
		}
	}
}

// row takes one. Cells that are too few or too many can't be told apart.
func (x *reading) row(at map[string]int, width int, raw []byte, cells []string) error {
	whole := len(cells) == width
	return x.take(func(field string) string {
		if i, ok := at[field]; ok && i >= 0 && whole {
			return cells[i]
		}
		return ""
	}, func(field string) bool { return at[field] >= 0 }, bytes.TrimRight(raw, "\r\n"))
}

// header finds the column of each field, -1 for none.
func (x *reading) header(names []string) (map[string]int, error) {
	at := map[string]int{}
	for field := range x.platform.columns {
		at[field] = -1
		for _, name := range x.names(field) {
			is := func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), name) }
			i := slices.IndexFunc(names, is)
			if i < 0 {
				continue
			}
			if slices.ContainsFunc(names[i+1:], is) {
				return nil, fmt.Errorf("%w: %q is there twice: give one of them another name", ErrColumn, name)
			}
			at[field] = i
			break
		}
	}
	if err := x.missing(at); err != nil {
		return nil, err
	}
	has := func(field string) bool { return at[field] >= 0 }
	if x.options.Logged && x.options.Currency == "" && !has("currency") {
		return nil, ErrCurrency
	}
	if x.platform.product != nil && !has("product") {
		if err := mapped(x.platform.product(has)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLog, err)
		}
	}
	return at, nil
}

// missing tells which columns aren't there that must be.
func (x *reading) missing(at map[string]int) error {
	if at["account"] < 0 && x.options.Account == "" {
		return fmt.Errorf("%w: the log has none for the account: give --account, or --column account=NAME", ErrColumn)
	}
	required := slices.Clone(x.platform.required)
	if x.options.Logged {
		required = append(required, "price")
	}
	for _, field := range required {
		if field != "account" && at[field] < 0 {
			return fmt.Errorf("%w: the log has none for %s (%s): give --column %s=NAME", ErrColumn, field, strings.Join(x.names(field), " or "), field)
		}
	}
	return nil
}

// cells calls f with each row of a text, as it stands and as its cells.
func cells(text []byte, f func(raw []byte, cells []string) error) error {
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	for {
		from := r.InputOffset()
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if err := f(text[from:r.InputOffset()], row); err != nil {
			return err
		}
	}
}

// rowMax bounds a row. A quote that is never closed would make one of all that
// follows it.
const rowMax = 64 << 10

// rows splits CSV into rows, so that one that is broken costs no other.
type rows struct {
	in    *bufio.Reader
	ahead bytes.Buffer // read and not given out
	line  int          // that the last row begins in
	lines int          // given out
}

// next is the text of the next row: the lines up to one that ends outside of
// quotes, or a line alone where none is. It holds until the next call.
func (r *rows) next() ([]byte, error) {
	first, end, quoted := 0, 0, false
	for end <= rowMax {
		n := bytes.IndexByte(r.ahead.Bytes()[end:], '\n') + 1
		if n == 0 {
			line, err := r.in.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrLog, bufferSize)
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("read the log: %w", err)
			}
			r.ahead.Write(line)
			if n = len(line); n == 0 {
				break // the end, within a quote or after all
			}
		}
		quoted = quotedAfter(r.ahead.Bytes()[end:end+n], quoted)
		if end += n; first == 0 {
			first = end
		}
		if !quoted {
			return r.take(end), nil
		}
	}
	if first == 0 {
		return nil, io.EOF
	}
	return r.take(first), nil
}

// take gives out that many bytes.
func (r *rows) take(n int) []byte {
	b := r.ahead.Next(n)
	r.line = r.lines + 1
	r.lines += bytes.Count(b, []byte{'\n'})
	return b
}

// quotedAfter tells whether a line ends within quotes, as encoding/csv reads it:
// only what a cell begins with opens them, and only the end of one closes them.
func quotedAfter(line []byte, quoted bool) bool {
	line = bytes.TrimRight(line, "\r\n")
	for {
		if !quoted {
			if rest, opens := bytes.CutPrefix(line, []byte{'"'}); opens {
				line, quoted = rest, true
				continue
			}
			i := bytes.IndexByte(line, ',')
			if i < 0 {
				return false
			}
			line = line[i+1:]
			continue
		}
		i := bytes.IndexByte(line, '"')
		switch {
		case i < 0:
			return true
		case i+1 == len(line):
			return false
		case line[i+1] == ',':
			line, quoted = line[i+2:], false
		case line[i+1] == '"':
			line = line[i+2:]
		default:
			line = line[i+1:] // a quote in the text
		}
	}
}
