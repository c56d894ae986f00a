package reports

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"github.com/thedatashed/xlsxreader"
)

// Files are read back by others than wrote them: workbooks by xlsxreader,
// Parquet by ClickHouse.

// xlsxMaps reads the sheets of lines of a detail's workbook.
func xlsxMaps(t *testing.T, b []byte) []map[string]string {
	t.Helper()
	f, err := xlsxreader.NewReader(b)
	require.NoError(t, err)
	require.Equal(t, "About", f.Sheets[len(f.Sheets)-1])
	var out []map[string]string
	for _, sheet := range f.Sheets[:len(f.Sheets)-1] {
		names := map[string]string{}
		for row := range f.ReadRows(sheet) {
			require.NoError(t, row.Error)
			if row.Index == 1 {
				for _, c := range row.Cells {
					names[c.Column] = c.Value
				}
				continue
			}
			line := map[string]string{}
			for _, c := range row.Cells {
				name := names[c.Column]
				require.NotEmpty(t, name)
				line[name] = c.Value
				switch name {
				case "occurred_at":
					require.Equal(t, xlsxreader.TypeDateTime, c.Type, "a time is one")
				case "amount", "refunded", "amount_billable", "units", "price", "fee_non_refundable", "late", "correction", "units_charged", "plan_version", "rule", "call_seconds":
					require.Equal(t, xlsxreader.TypeNumerical, c.Type, "%s is a number", name)
				default:
					require.Equal(t, xlsxreader.TypeString, c.Type, "%s is a text", name)
				}
			}
			out = append(out, line)
		}
	}
	return out
}

func timeOf(t *testing.T, v string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, v)
	require.NoError(t, err)
	return at
}

// columnsOf a detail's Parquet file, as a table that takes it must have them.
func columnsOf(names []string) string {
	var out []string
	for _, n := range names {
		kind := "String"
		switch n {
		case "occurred_at":
			kind = "DateTime64(3, 'UTC')"
		case "amount", "refunded", "amount_billable", "units", "fee_non_refundable", "late", "correction", "units_charged":
			kind = "Decimal(18, 6)"
		case "price":
			kind = "Decimal(18, 8)"
		case "plan_version", "rule", "call_seconds":
			kind = "Int64"
		}
		out = append(out, "`"+n+"` "+kind)
	}
	return strings.Join(out, ", ")
}

// parquetMaps has ClickHouse read a Parquet file into a table of typed columns.
func parquetMaps(t *testing.T, w *world, names []string, b []byte) []map[string]string {
	t.Helper()
	table := w.engine.Database + ".parquet_" + strings.ReplaceAll(strings.ToLower(time.Now().Format("150405.000000")), ".", "_")
	w.http(t, "CREATE TABLE "+table+" (n UInt64 MATERIALIZED rowNumberInAllBlocks(), "+columnsOf(names)+") ENGINE = Memory", nil)
	w.http(t, "INSERT INTO "+table+" FORMAT Parquet", b)
	return jsonMaps(t, []byte(w.http(t, "SELECT * REPLACE (formatDateTime(occurred_at, '%Y-%m-%dT%H:%i:%S.') || leftPad(toString(toUnixTimestamp64Milli(occurred_at) % 1000), 3, '0') || 'Z' AS occurred_at) FROM "+
		table+" SETTINGS output_format_json_quote_64bit_integers = 0, output_format_json_quote_decimals = 1 FORMAT JSONEachRow", nil)))
}

// http sends a statement to ClickHouse as it is.
func (w *world) http(t *testing.T, statement string, body []byte) string {
	t.Helper()
	address := w.engine.ClickHouseURL + "/?" + url.Values{"query": {statement}}.Encode()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, address, bytes.NewReader(body))
	require.NoError(t, err)
	req.SetBasicAuth(w.engine.ClickHouseUser, w.engine.ClickHousePassword)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", text)
	return string(text)
}

// parquetText has what can be read out of a Parquet file: every value, the
// names of its columns and what its footer says.
func parquetText(t *testing.T, b []byte) string {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	var out strings.Builder
	out.WriteString(f.Schema().String() + "\n" + f.Metadata().CreatedBy + "\n")
	for _, kv := range f.Metadata().KeyValueMetadata {
		out.WriteString(kv.Key + "=" + kv.Value + "\n")
	}
	scale := map[int]int32{}
	for i, c := range f.Schema().Fields() {
		if l := c.Type().LogicalType(); l != nil {
			if d, ok := l.Value.(*format.DecimalType); ok {
				scale[i] = d.Scale
			}
		}
	}
	for _, g := range f.RowGroups() {
		rows := g.Rows()
		buf := make([]parquet.Row, 100)
		for {
			n, err := rows.ReadRows(buf)
			for _, r := range buf[:n] {
				for i, v := range r {
					if s, ok := scale[i]; ok {
						out.WriteString(decimal.New(v.Int64(), -s).String() + "\t")
					} else {
						out.WriteString(v.String() + "\t")
					}
				}
				out.WriteString("\n")
			}
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
		}
		require.NoError(t, rows.Close())
	}
	return out.String()
}
