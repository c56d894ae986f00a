package finance

import (
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// Bounds of a Parquet file in the making.
const (
	rowsGroup   = 100_000 // of a row group: about 50 MB of a wide table's
	rowsBatch   = 256     // handed over at once
	decimalSize = 16      // bytes: holds 38 digits
	precision   = 38
)

// parquetSink writes numbers as DECIMAL(38, scale), instants as TIMESTAMP of UTC
// in milliseconds, texts as UTF-8. Any column may have no value.
type parquetSink struct {
	w       *parquet.GenericWriter[any]
	columns []column
	rows    []parquet.Row
}

// inOrder keeps a group's columns in the table's order: a parquet.Group by
// itself sorts them by name.
type inOrder struct {
	parquet.Group
	columns []column
}

// Fields implements parquet.Node.
func (o inOrder) Fields() []parquet.Field {
	at := func(f parquet.Field) int {
		return slices.IndexFunc(o.columns, func(c column) bool { return c.name == f.Name() })
	}
	fields := o.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int { return at(a) - at(b) })
	return fields
}

func newParquet(w io.Writer, name string, columns []column) *parquetSink {
	g := inOrder{parquet.Group{}, columns}
	for _, c := range columns {
		g.Group[c.name] = parquet.Optional(node(c))
	}
	return &parquetSink{columns: columns, w: parquet.NewGenericWriter[any](w, parquet.NewSchema(name, g),
		parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowsGroup), parquet.CreatedBy("meterd", "1", ""))}
}

func node(c column) parquet.Node {
	switch c.kind {
	case count:
		return parquet.Uint(64)
	case number, money:
		return parquet.Decimal(c.scale, precision, parquet.FixedLenByteArrayType(decimalSize))
	case instant:
		return parquet.Timestamp(parquet.Millisecond)
	case text, document:
	}
	return parquet.String()
}

func (s *parquetSink) write(line []any) error {
	row := make(parquet.Row, len(line))
	for i, v := range line {
		if v == nil {
			row[i] = parquet.NullValue().Level(0, 0, i)
			continue
		}
		x, err := s.value(&s.columns[i], v)
		if err != nil {
			return fmt.Errorf("write Parquet, column %s: %w", s.columns[i].name, err)
		}
		row[i] = x.Level(0, 1, i)
	}
	if s.rows = append(s.rows, row); len(s.rows) < rowsBatch {
		return nil
	}
	return s.flush()
}

func (s *parquetSink) value(c *column, v any) (parquet.Value, error) {
	switch v := v.(type) {
	case uint64:
		return parquet.ValueOf(v), nil
	case time.Time:
		return parquet.Int64Value(v.UnixMilli()), nil
	case decimal.Decimal:
		return fixed(v, c.scale)
	case amount:
		return fixed(v.sum.Decimal(), c.scale)
	default:
		t, _ := plain(v)
		return parquet.ByteArrayValue([]byte(t)), nil
	}
}

// fixed is a decimal as Parquet keeps it: its digits at a scale, in two's
// complement, the highest byte first.
func fixed(d decimal.Decimal, scale int) (parquet.Value, error) {
	n := d.Shift(int32(scale))
	if !n.IsInteger() {
		return parquet.Value{}, fmt.Errorf("more than %d decimals", scale)
	}
	i := n.BigInt()
	if i.BitLen() >= decimalSize*8 {
		return parquet.Value{}, metering.ErrOverflow
	}
	if i.Sign() < 0 {
		i.Add(i, new(big.Int).Lsh(big.NewInt(1), decimalSize*8))
	}
	return parquet.FixedLenByteArrayValue(i.FillBytes(make([]byte, decimalSize))), nil
}

func (s *parquetSink) flush() error {
	if _, err := s.w.WriteRows(s.rows); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	s.rows = s.rows[:0]
	return nil
}

func (s *parquetSink) close() error {
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.w.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}
