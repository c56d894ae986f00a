package finance

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// table reads a CSV file by the names of its columns.
func table(t *testing.T, path string) []map[string]string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	all, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	var out []map[string]string
	for _, line := range all[1:] {
		m := map[string]string{}
		for i, name := range all[0] {
			m[name] = line[i]
		}
		out = append(out, m)
	}
	return out
}

func d(t *testing.T, s string) decimal.Decimal {
	t.Helper()
	v, err := decimal.NewFromString(s)
	require.NoError(t, err)
	return v
}

func sum(t *testing.T, rows []map[string]string, column string, of func(map[string]string) bool) decimal.Decimal {
	t.Helper()
	total := decimal.Zero
	for _, r := range rows {
		if of(r) {
			total = total.Add(d(t, r[column]))
		}
	}
	return total
}

func same(t *testing.T, want, got decimal.Decimal, what string) {
	t.Helper()
	require.True(t, want.Equal(got), "%s: want %s, got %s", what, want, got)
}

func (b *books) run(q Request) *Manifest {
	b.tb.Helper()
	m, err := b.exporter().Run(b.tb.Context(), q)
	require.NoError(b.tb, err)
	return m
}

// billColumns are the columns of an export's lines that a manifest has the sums of.
var billColumns = []string{"records", "amount", "fees", "refunds", "net", "late", "corrections", "adjustments", "billable"}

// checkBill compares a manifest and lines with what the test says, and each sum of the
// manifest with its column.
func checkBill(t *testing.T, b *books, m *Manifest, rows []map[string]string) {
	t.Helper()
	require.Len(t, m.Months, 2)
	for _, s := range m.Months {
		want := b.bill(s.Parent)
		require.Equal(t, want.records, s.Records)
		require.Equal(t, want.late, s.LateRecords)
		same(t, want.amount, d(t, s.Amount), "amount")
		same(t, want.refunds, d(t, s.Refunds), "refunds")
		same(t, want.adjustments, d(t, s.Adjustments), "adjustments")
		same(t, want.lines, d(t, s.Billable), "billable")
		text, err := json.Marshal(s)
		require.NoError(t, err)
		var of map[string]any
		require.NoError(t, json.Unmarshal(text, &of))
		for _, c := range billColumns {
			same(t, d(t, fmt.Sprint(of[c])), sum(t, rows, c, func(r map[string]string) bool { return r["parent"] == s.Parent }), c)
		}
	}
}

func TestTheLinesOfEachFormatSumToTheBill(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(250)
	dir := t.TempDir()

	path := filepath.Join(dir, "bill.csv")
	m := b.run(Request{From: "2026-11", To: "2026-11", Format: FormatCSV, Out: path})
	rows := table(t, path)
	require.Len(t, rows, m.Rows)
	checkBill(t, b, m, rows)

	path = filepath.Join(dir, "bill.jsonl")
	m = b.run(Request{From: "2026-11", To: "2026-11", Format: FormatJSONL, Out: path})
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var fromJSON []map[string]string
	for line := range strings.Lines(string(text)) {
		var v map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &v))
		row := map[string]string{}
		for name, value := range v {
			row[name] = fmt.Sprint(value)
		}
		fromJSON = append(fromJSON, row)
	}
	checkBill(t, b, m, fromJSON)

	// ClickHouse reads what another library wrote.
	path = filepath.Join(dir, "bill.parquet")
	m = b.run(Request{From: "2026-11", To: "2026-11", Format: FormatParquet, Out: path})
	var fromParquet []map[string]string
	columns := append([]string{"parent"}, billColumns...)
	parquetRows(t, b, path, columns, func(cells []string) {
		row := map[string]string{}
		for i, name := range columns {
			row[name] = cells[i]
		}
		fromParquet = append(fromParquet, row)
	})
	require.Len(t, fromParquet, m.Rows)
	checkBill(t, b, m, fromParquet)
}

// parquetRows reads columns of a Parquet file, as text, with ClickHouse.
func parquetRows(t *testing.T, b *books, path string, columns []string, f func(cells []string)) {
	t.Helper()
	rows, err := b.conn().Query(t.Context(), "SELECT [ifNull(toString("+strings.Join(columns, "), ''), ifNull(toString(")+"), '')] FROM file('"+path+"', 'Parquet')")
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var cells []string
		require.NoError(t, rows.Scan(&cells))
		f(cells)
	}
	require.NoError(t, rows.Err())
}

func TestAClosedMonthsExportKeepsItsBytes(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(60)
	b.money()
	b.clock.Set(time.Date(2026, 12, 5, 0, 0, 0, 0, time.UTC))
	b.closeMonth("acme", "2026-11")
	b.closeMonth("globex", "2026-11")
	dir := t.TempDir()
	export := func(format, name string) *Manifest {
		m := b.run(Request{From: "2026-11", To: "2026-11", Format: format, Out: filepath.Join(dir, name+"."+format)})
		for i := range m.Months {
			require.Equal(t, "closed", m.Months[i].State)
			m.Months[i].File = ""
		}
		return m
	}
	formats := []string{FormatCSV, FormatJSONL, FormatParquet, FormatFOCUS}
	before := map[string]*Manifest{}
	for _, f := range formats {
		before[f] = export(f, "before")
	}
	// Then records come late, and accounts get other names, and pay otherwise.
	b.clock.Set(time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC))
	b.message("acme-own", time.Date(2026, 11, 7, 8, 0, 0, 0, time.UTC), "2026-12")
	b.store(b.clock.Now())
	list := accounts()
	for _, a := range list {
		a.Name += " renamed"
		if a.Mode, a.Source = metering.Postpaid, metering.SourceCredit; a.Parent() == "globex" {
			a.Mode, a.Source = metering.Prepaid, metering.SourceShared
		}
	}
	b.apply(2, list, nil)
	for _, f := range formats {
		after := export(f, "after")
		require.Equal(t, before[f].Files[0].SHA256, after.Files[0].SHA256, f)
		require.Equal(t, before[f].Months, after.Months, f)
	}
	meta := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name+".focus"+MetadataSuffix))
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, meta("before"), meta("after"))
}

func TestSinceTakesTheDaysThatChanged(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(40)
	dir := t.TempDir()
	first := filepath.Join(dir, "first.csv")
	b.run(Request{Format: FormatCSV, Out: first})
	m, err := ReadManifest(first + ManifestSuffix)
	require.NoError(t, err)
	present, err := b.ledger.Now(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, present, m.Watermark, time.Hour)

	// The marks so far are of before the watermark, which is told minutes late; then two days change.
	require.NoError(t, b.conn().Exec(t.Context(), "TRUNCATE TABLE dirty_hours"))
	b.message("acme-own", time.Date(2026, 11, 7, 23, 30, 0, 0, time.UTC), "") // the 8th in Rome
	b.message("globex-shop", time.Date(2026, 10, 30, 12, 0, 0, 0, time.UTC), "2026-11")
	b.store(now)
	second := filepath.Join(dir, "second.csv")
	b.run(Request{Format: FormatCSV, Out: second, Since: m.Watermark})
	changed := table(t, second)
	key := func(r map[string]string) string { return r["account"] + " " + r["day"] }
	days := map[string]bool{}
	for _, r := range changed {
		days[key(r)] = true
	}
	require.Equal(t, map[string]bool{"acme-own 2026-11-08": true, "globex-shop 2026-10-30": true}, days)

	// The first with those days replaced is what a whole export gives now.
	whole := filepath.Join(dir, "whole.csv")
	b.run(Request{Format: FormatCSV, Out: whole})
	var merged []map[string]string
	for _, r := range table(t, first) {
		if !days[key(r)] {
			merged = append(merged, r)
		}
	}
	require.ElementsMatch(t, table(t, whole), append(merged, changed...))
}

func TestAFolderGoesOnWhereItWasCutOff(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(30)
	b.clock.Set(time.Date(2026, 12, 5, 0, 0, 0, 0, time.UTC))
	b.closeMonth("acme", "2026-11")
	b.message("acme", time.Date(2026, 12, 2, 8, 0, 0, 0, time.UTC), "")
	b.store(b.clock.Now())
	dir := t.TempDir()
	q := Request{Format: FormatCSV, Out: dir + "/"}
	m := b.run(q)
	require.Len(t, m.Files, 3) // acme's two months, globex's one
	closed := filepath.Join(dir, "acme-2026-11.csv")
	info, err := os.Stat(closed)
	require.NoError(t, err)

	again := b.run(q)
	require.Equal(t, m.Months, again.Months)
	kept, err := os.Stat(closed)
	require.NoError(t, err)
	require.True(t, os.SameFile(info, kept), "a closed month's file is kept")

	require.NoError(t, os.WriteFile(closed, []byte("half"), 0o600))
	require.NoError(t, os.Remove(filepath.Join(dir, "globex-2026-11.csv")))
	mended := b.run(q)
	require.Equal(t, m.Files, mended.Files)
	require.Len(t, table(t, closed), m.Months[0].Rows)
}

func TestNothingIsLeftOfAnExportThatFails(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	dir := t.TempDir()
	for name, q := range map[string]Request{
		"a future month":   {From: "2027-01", To: "2027-01", Format: FormatCSV},
		"no month":         {From: "2026-13", To: "2026-13", Format: FormatCSV},
		"back to front":    {From: "2026-11", To: "2026-10", Format: FormatCSV},
		"no such parent":   {Parent: "nobody", Format: FormatCSV},
		"a sub-account":    {Parent: "acme-own", Format: FormatCSV},
		"no such format":   {Format: "xml"},
		"no such version":  {Format: FormatFOCUS, FOCUS: FOCUSOptions{Version: "0.5"}},
		"no such category": {Format: FormatFOCUS, FOCUS: FOCUSOptions{Categories: map[string]string{"sms": "Phones"}}},
		"focus by days":    {Format: FormatFOCUS, Since: now},
	} {
		q.Out = filepath.Join(dir, "out")
		_, err := b.exporter().Run(t.Context(), q)
		require.Error(t, err, name)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left, name)
	}
}
