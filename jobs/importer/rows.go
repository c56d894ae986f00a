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

// lineMax bounds a line of JSON that is read as one: a page of a thousand messages
// has one MiB.
const lineMax = 16 << 20

// document takes the messages of JSON: an array, an object that has them under
// the platform's key, or one message after the other. Where the first is a line, each
// line is by itself, so that one that is broken costs no other.
func (x *reading) document(in *bufio.Reader) error {
	lines := false
	for n := 1; ; n++ {
		text, err := jsonLine(in)
		if err != nil {
			return fmt.Errorf("value %d: %w", n, err)
		}
		if len(text) == 0 {
			return nil
		}
		trimmed := bytes.TrimSpace(text)
		switch {
		case len(trimmed) == 0:
		case bytes.ContainsAny(trimmed[:1], "{[") && json.Valid(text):
			lines = true
			err = x.value(n, json.NewDecoder(bytes.NewReader(text)))
		case len(text) > lineMax && lines:
			err = fmt.Errorf("%w: value %d is longer than %d bytes", ErrLog, n, lineMax)
		case lines:
			x.stats.Messages++
			err = x.unreadable(&Record{AccountID: x.account("")}, &fieldError{"line", "it isn't JSON"}, trimmed)
		default:
			d := json.NewDecoder(io.MultiReader(bytes.NewReader(text), in))
			err = x.value(n, d)
			in = bufio.NewReaderSize(io.MultiReader(d.Buffered(), in), bufferSize)
		}
		if err != nil {
			return err
		}
	}
}

// jsonLine reads a line, or what is more than lineMax of one; nothing at the end.
func jsonLine(in *bufio.Reader) ([]byte, error) {
	var text []byte
	for {
		part, err := in.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case err == nil, errors.Is(err, io.EOF), len(text) > lineMax:
			return text, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("read the log: %w", err)
		}
	}
}

// value is a page, a list of messages, or one; the nth of the log.
func (x *reading) value(n int, d *json.Decoder) error {
	t, err := d.Token()
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
	return nil
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
