package importer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

const bufferSize = 1 << 20

// read finds out how the log is written, and takes its messages.
func (x *reading) read(in io.Reader) error {
	r, err := Text(in)
	if err != nil {
		return err
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
	}, raw)
}
