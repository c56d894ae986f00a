package ledger

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
)

// The columns of the usage rows' insert, laid out as ClickHouse's Native format
// wants them (https://clickhouse.com/docs/interfaces/formats/Native): whole
// columns, texts that repeat by their number in a dictionary. clickhouse-go's
// own columns take half of the time that the charge of a record takes.

// Column is one column of a Native block.
type Column interface {
	// Values are its values: strings, times, decimals and maps, integers as
	// uint64, those with a sign as int64. It is for servers that aren't ClickHouse.
	Values() []any
	// kind is the name of ClickHouse's type.
	kind() string
	rows() int
	// append writes the column, with what comes before its data.
	append(b []byte) []byte
}

// appendBlock writes one block of named columns, all of the same length.
func appendBlock(b []byte, names []string, columns []Column) []byte {
	b = binary.AppendUvarint(b, uint64(len(columns)))
	b = binary.AppendUvarint(b, uint64(columns[0].rows()))
	for i, c := range columns {
		b = appendText(b, strings.TrimSpace(names[i]))
		b = appendText(b, c.kind())
		b = c.append(b)
	}
	return b
}

// natives are an insert's columns, if it has such.
func natives(data []any) []Column {
	out := make([]Column, 0, len(data))
	for _, d := range data {
		c, ok := d.(Column)
		if !ok {
			return nil
		}
		out = append(out, c)
	}
	return out
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// texts are strings that rarely repeat.
type texts []string

func (c texts) kind() string { return "String" }
func (c texts) rows() int    { return len(c) }

func (c texts) append(b []byte) []byte {
	for _, s := range c {
		b = appendText(b, s)
	}
	return b
}

// Values implements Column, as do the others.
func (c texts) Values() []any { return anys(c, func(s string) any { return s }) }

// symbols are strings that repeat: a dictionary and numbers in it. ClickHouse
// makes enums of them where the table has one, and refuses what isn't in it.
type symbols struct {
	words []string
	keys  []uint32
	index map[string]uint32
	last  uint32
}

func (c *symbols) add(s string) {
	if len(c.words) > 0 && c.words[c.last] == s {
		c.keys = append(c.keys, c.last)
		return
	}
	n, ok := c.index[s]
	if !ok {
		if c.index == nil {
			c.index = map[string]uint32{}
		}
		n = uint32(len(c.words))
		c.index[s] = n
		c.words = append(c.words, s)
	}
	c.last = n
	c.keys = append(c.keys, n)
}

func (c *symbols) kind() string { return "LowCardinality(String)" }
func (c *symbols) rows() int    { return len(c.keys) }

// The flags say that this block brings all of its words along.
const (
	dictionaryVersion = 1
	dictionaryFlags   = 1<<9 | 1<<10
)

func (c *symbols) append(b []byte) []byte {
	return c.data(binary.LittleEndian.AppendUint64(b, dictionaryVersion))
}

func (c *symbols) data(b []byte) []byte {
	if len(c.keys) == 0 {
		return b
	}
	width := uint64(0) // of a key: 1, 2 or 4 bytes
	switch n := len(c.words); {
	case n > 1<<16:
		width = 2
	case n > 1<<8:
		width = 1
	}
	b = binary.LittleEndian.AppendUint64(b, dictionaryFlags|width)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.words)))
	b = texts(c.words).append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.keys)))
	for _, k := range c.keys {
		switch width {
		case 0:
			b = append(b, byte(k))
		case 1:
			b = binary.LittleEndian.AppendUint16(b, uint16(k))
		default:
			b = binary.LittleEndian.AppendUint32(b, k)
		}
	}
	return b
}

// Values implements Column.
func (c *symbols) Values() []any { return anys(c.keys, func(k uint32) any { return c.words[k] }) }

// constant is one small value in every row.
type constant struct {
	typ   string // UInt8 or Int8
	value byte
	n     int
}

func (c constant) kind() string           { return c.typ }
func (c constant) rows() int              { return c.n }
func (c constant) append(b []byte) []byte { return append(b, bytes.Repeat([]byte{c.value}, c.n)...) }

// Values implements Column.
func (c constant) Values() []any {
	out := make([]any, c.n)
	for i := range out {
		out[i] = uint64(c.value)
		if c.typ == "Int8" {
			out[i] = int64(int8(c.value))
		}
	}
	return out
}

// decimals are Decimal(18,6), by their integers of 1e-6.
type decimals []int64

func (c decimals) kind() string { return "Decimal(18, 6)" }
func (c decimals) rows() int    { return len(c) }

func (c decimals) append(b []byte) []byte {
	for _, v := range c {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// Values implements Column.
func (c decimals) Values() []any {
	return anys(c, func(v int64) any { return metering.Micros(v).Decimal() })
}

// times are UTC, in milliseconds.
type times []int64

func (c times) kind() string { return "DateTime64(3, 'UTC')" }
func (c times) rows() int    { return len(c) }

func (c times) append(b []byte) []byte { return decimals(c).append(b) }

// Values implements Column.
func (c times) Values() []any { return anys(c, func(v int64) any { return time.UnixMilli(v).UTC() }) }

// numbers are UInt64.
type numbers []uint64

func (c numbers) kind() string { return "UInt64" }
func (c numbers) rows() int    { return len(c) }

func (c numbers) append(b []byte) []byte {
	for _, v := range c {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// Values implements Column.
func (c numbers) Values() []any { return anys(c, func(v uint64) any { return v }) }

// smalls are UInt32.
type smalls []uint32

func (c smalls) kind() string { return "UInt32" }
func (c smalls) rows() int    { return len(c) }

func (c smalls) append(b []byte) []byte {
	for _, v := range c {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// Values implements Column.
func (c smalls) Values() []any { return anys(c, func(v uint32) any { return uint64(v) }) }

// tagged are the tags of each row.
type tagged struct {
	ends   []uint64 // of each row's tags
	keys   symbols
	values texts
}

func (c *tagged) add(tags []metering.Tag) {
	for _, t := range tags {
		c.keys.add(t.Key)
		c.values = append(c.values, t.Value)
	}
	c.ends = append(c.ends, uint64(len(c.values)))
}

func (c *tagged) kind() string { return "Map(LowCardinality(String), String)" }
func (c *tagged) rows() int    { return len(c.ends) }

func (c *tagged) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, dictionaryVersion)
	b = numbers(c.ends).append(b)
	b = c.keys.data(b)
	return c.values.append(b)
}

// Values implements Column.
func (c *tagged) Values() []any {
	from := uint64(0)
	return anys(c.ends, func(end uint64) any {
		row := make(map[string]string, end-from)
		for ; from < end; from++ {
			row[c.keys.words[c.keys.keys[from]]] = c.values[from]
		}
		return row
	})
}

func anys[T any](list []T, f func(T) any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}
