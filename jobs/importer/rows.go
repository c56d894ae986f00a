package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const bufferSize = 1 << 20

// read finds out how the log is written, and takes its messages.
func (x *reading) read(in io.Reader) error {
	r := bufio.NewReaderSize(in, bufferSize)
	if b, _ := r.Peek(3); bytes.Equal(b, []byte("\xef\xbb\xbf")) {
		_, _ = r.Discard(3) // the mark that spreadsheets put in front
	}
	first, err := firstByte(r)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it is empty", ErrLog)
	}
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	document := first == '{' || first == '['
	switch {
	case document && x.platform.json:
		return x.document(r)
	case !document && x.platform.csv:
		return x.table(r)
	case document:
		return fmt.Errorf("%w: it is JSON, %s is CSV", ErrLog, x.options.From)
	default:
		return fmt.Errorf("%w: it isn't JSON, as %s is", ErrLog, x.options.From)
	}
}

// firstByte that isn't a space.
func firstByte(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.Peek(1)
		if err != nil {
			return 0, err //nolint:wrapcheck // io.EOF is compared
		}
		if !bytes.ContainsAny(b, " \t\r\n") {
			return b[0], nil
		}
		_, _ = r.Discard(1)
	}
}

// names of a field's column, the caller's first.
func (x *reading) names(field string) []string {
	if name := x.options.Columns[field]; name != "" {
		return []string{name}
	}
	return x.platform.columns[field]
}

// table takes the lines of a CSV file.
func (x *reading) table(in io.Reader) error {
	r := csv.NewReader(in)
	r.ReuseRecord, r.FieldsPerRecord, r.LazyQuotes = true, -1, true
	header, err := r.Read()
	if err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	at := map[string]int{}
	for field := range x.platform.columns {
		at[field] = -1
		for _, name := range x.names(field) {
			if i := slices.IndexFunc(header, func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), name) }); i >= 0 {
				at[field] = i
				break
			}
		}
	}
	has := func(field string) bool { return at[field] >= 0 }
	if err := x.missing(at); err != nil {
		return err
	}
	if x.options.Logged && x.options.Currency == "" && !has("currency") {
		return ErrCurrency
	}
	if x.platform.product != nil && !has("product") {
		if err := mapped(x.platform.product(has)); err != nil {
			return fmt.Errorf("%w: %w", ErrLog, err)
		}
	}
	width := len(header)
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		whole := len(cells) == width
		if err := x.take(func(field string) string {
			if i, ok := at[field]; ok && i >= 0 && whole {
				return cells[i]
			}
			return ""
		}, has, func() ([]byte, error) { return csvLine(cells) }); err != nil {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

// missing tells which columns aren't there that must be.
func (x *reading) missing(at map[string]int) error {
	if at["account"] < 0 && x.options.Account == "" {
		return fmt.Errorf("%w: the log has none for the account: give --account, or --column account=NAME", ErrColumn)
	}
	for _, field := range x.platform.required {
		if field != "account" && at[field] < 0 {
			return fmt.Errorf("%w: the log has none for %s (%s): give --column %s=NAME", ErrColumn, field, strings.Join(x.names(field), " or "), field)
		}
	}
	return nil
}

// csvLine is a line as it stands, or as good as.
func csvLine(cells []string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write(cells); err != nil {
		return nil, fmt.Errorf("write the line again: %w", err)
	}
	w.Flush()
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// document takes the messages of JSON: an array, an object that has them under
// the platform's key, or one message after the other.
func (x *reading) document(in io.Reader) error {
	d := json.NewDecoder(in)
	for n := 1; ; n++ {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			switch t {
			case json.Delim('['):
				err = x.array(d)
			case json.Delim('{'):
				err = x.object(d)
			default:
				err = ErrLog
			}
		}
		if err != nil {
			return fmt.Errorf("value %d, byte %d: %w", n, d.InputOffset(), err)
		}
	}
}

// array takes the messages of an open array, and closes it.
func (x *reading) array(d *json.Decoder) error {
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if err := x.entry(raw); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err //nolint:wrapcheck // the caller says where
}

// object is a page of messages, or a message.
func (x *reading) object(d *json.Decoder) error {
	fields := map[string]json.RawMessage{}
	page := false
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err //nolint:wrapcheck // the caller says where
		}
		key, _ := t.(string)
		if key == x.platform.list {
			if t, err = d.Token(); err != nil || t != json.Delim('[') {
				return fmt.Errorf("%w: %s isn't a list", ErrLog, key)
			}
			page = true
			if err := x.page(d, fields["product"]); err != nil {
				return err
			}
			continue
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return err //nolint:wrapcheck // the caller says where
		}
		fields[key] = v
	}
	if _, err := d.Token(); err != nil {
		return err //nolint:wrapcheck // the caller says where
	}
	if page {
		return nil
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("write the message again: %w", err)
	}
	return x.entry(raw)
}

// page takes the messages of an open list, all of the product that is named
// before it, if any.
func (x *reading) page(d *json.Decoder, product json.RawMessage) error {
	if x.platform.product != nil && json.Unmarshal(product, &x.product) == nil && x.product != "" {
		if err := mapped(x.product); err != nil {
			return fmt.Errorf("%w: %w", ErrLog, err)
		}
	}
	defer func() { x.product = "" }()
	return x.array(d)
}

// entry is one message.
func (x *reading) entry(raw json.RawMessage) error {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		fields = nil // it travels as it is
	}
	return x.take(func(field string) string {
		for _, name := range x.names(field) {
			switch v := fields[name].(type) {
			case string:
				return v
			case json.Number:
				return v.String()
			}
		}
		return ""
	}, func(field string) bool {
		return slices.ContainsFunc(x.names(field), func(name string) bool { _, ok := fields[name]; return ok })
	}, func() ([]byte, error) {
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return nil, fmt.Errorf("write the message again: %w", err)
		}
		return b.Bytes(), nil
	})
}
