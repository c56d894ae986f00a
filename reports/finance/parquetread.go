package finance

import (
	"errors"
	"io"
	"math/big"
	"os"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/shopspring/decimal"
)

// eachParquet hands over a file's columns, then each row, its values as a CSV file has
// them, for as long as more are wanted.
func eachParquet(f *os.File, columns func([]string), more func(row) bool) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return err
	}
	fields := file.Schema().Fields()
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].Name()
	}
	columns(names)
	for _, g := range file.RowGroups() {
		wanted, err := eachOfGroup(g, fields, more)
		if err != nil || !wanted {
			return err
		}
	}
	return nil
}

func eachOfGroup(g parquet.RowGroup, fields []parquet.Field, more func(row) bool) (wanted bool, err error) {
	rows := g.Rows()
	defer func() { err = errors.Join(err, rows.Close()) }()
	batch := make([]parquet.Row, rowsBatch)
	for {
		n, err := rows.ReadRows(batch)
		for _, values := range batch[:n] {
			r := row{}
			for _, v := range values {
				field := fields[v.Column()]
				r[field.Name()] = parquetText(v, field.Type().LogicalType())
			}
			if !more(r) {
				return false, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// parquetText is a value as the CSV file has it; "" is null.
func parquetText(v parquet.Value, t *format.LogicalType) string {
	if v.IsNull() {
		return ""
	}
	if t != nil {
		switch is := t.Value.(type) {
		case *format.DecimalType:
			b := v.ByteArray()
			n := new(big.Int).SetBytes(b)
			if len(b) > 0 && b[0]&0x80 != 0 {
				n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
			}
			return decimal.NewFromBigInt(n, -is.Scale).String()
		case *format.TimestampType:
			return time.UnixMilli(v.Int64()).UTC().Format(time.RFC3339Nano)
		}
	}
	if v.Kind() == parquet.ByteArray {
		return string(v.ByteArray())
	}
	return v.String()
}
