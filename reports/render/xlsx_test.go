package render

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"
)

// opened is a document's workbook, read back.
func opened(t *testing.T, d *Document) *excelize.File {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, XLSX(&b, d))
	f, err := excelize.OpenReader(&b)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// cell is what a sheet's cell holds, what it shows, and its type.
func cell(t *testing.T, f *excelize.File, sheet, at string) (raw, shown string, kind excelize.CellType) {
	t.Helper()
	raw, err := f.GetCellValue(sheet, at, excelize.Options{RawCellValue: true})
	require.NoError(t, err)
	shown, err = f.GetCellValue(sheet, at)
	require.NoError(t, err)
	kind, err = f.GetCellType(sheet, at)
	require.NoError(t, err)
	return raw, shown, kind
}

func TestHeadlinesAndDaysCanBeCountedWith(t *testing.T) {
	t.Parallel()
	number := []excelize.CellType{excelize.CellTypeNumber, excelize.CellTypeUnset}
	f := opened(t, &Document{
		Title: "T", Digits: 2, Currency: "EUR",
		Facts: []Fact{{Label: "As of", Value: "2026-11-20 10:30 CET", Figure: Figure{Kind: Date, Exact: "2026-11-20 10:30 CET"}}},
		Cards: []Card{
			{Label: "Amount billable", Value: Group("1234567.891"), Unit: "EUR", Hint: "after refunds", Figure: Figure{Money, "1234567.891", "EUR"}},
			{Label: "Messages", Value: Group("4321"), Share: &Share{43, "43 % used"}, Figure: Figure{Kind: Count, Exact: "4321"}},
			{Label: "Credit limit", Value: "none"},
		},
		Sections: []Section{{Sheet: "Days", Title: "Days", Tables: []Table{{
			Caption: "By day", Columns: []Column{{"Day", Date}, {"Share", Percent}, {"Net", Money}}, Rows: []Row{
				{Cells: []string{"2026-11-05", "", "-0.5"}},
				{Cells: []string{"2026-11-06 23:59 CET", "7.5", "123456789.123456"}},
				{Cells: []string{"still", "", ""}},
				{Cells: []string{"Total", "", "1"}, Total: true},
			},
		}}}},
	})
	for _, c := range []struct{ at, raw, shown string }{
		{"B2", "46346.4375", "2026-11-20 10:30"},
		{"B3", "1234567.891", "1,234,567.891"},
		{"B4", "4321", "4,321"},
		{"A11", "46331", "2026-11-05"},
		{"A12", "46332.99930555", "2026-11-06 23:59"},
		{"B12", "7.5", "7.5%"},
		{"C11", "-0.5", "-0.50"},
		{"C12", "123456789.123456", "123,456,789.123456"},
	} {
		raw, shown, kind := cell(t, f, "Days", c.at)
		require.Contains(t, number, kind, c.at)
		require.Equal(t, c.shown, shown, c.at)
		require.Equal(t, c.raw, raw[:min(len(raw), len(c.raw))], c.at)
	}
	for at, text := range map[string]string{"A3": "Amount billable", "C3": "EUR", "D3": "after refunds", "D4": "43 % used", "B5": "none", "A13": "still", "A14": "Total", "C13": ""} {
		_, shown, _ := cell(t, f, "Days", at)
		require.Equal(t, text, shown, at)
	}
}

func TestDatesAreTextsOfDaysAndTimes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"2026-11-05": time.Date(2026, 11, 5, 0, 0, 0, 0, time.UTC), "2026-11-05 14:07 CET": time.Date(2026, 11, 5, 14, 7, 0, 0, time.UTC),
		"still": "still", "2026-11": "2026-11", "2026-11-31": "2026-11-31", "": nil,
	} {
		require.Equal(t, want, typed(Date, text), text)
	}
}

// Each sheet prints: on its side, as wide as the page, with its title, its period and
// its number, and a row that stands again on each page.
func TestSheetsArePagesToPrint(t *testing.T) {
	t.Parallel()
	table := Table{Caption: "C", Columns: []Column{{"Name", Text}, {"Amount", Money}}, Rows: []Row{
		{Cells: []string{"a name that is longer than others", "1.5"}}, {Cells: []string{"b", "2"}}, {Cells: []string{"Total", "123456789.123456"}, Total: true},
	}}
	d := &Document{Title: "Miller & Sons", Subtitle: "Statement for November 2026", Sections: []Section{
		{Sheet: "Bill", Title: "Bill", Tables: []Table{table}},
		{Sheet: "Both", Title: "Both", Tables: []Table{table, table}},
		{Sheet: "Accounts", Title: "Accounts", Tables: []Table{table}},
	}}
	f := opened(t, d)
	titles := map[string]string{}
	for _, n := range f.GetDefinedName() {
		titles[n.Scope+" "+n.Name] = n.RefersTo
	}
	require.Equal(t, map[string]string{
		"Bill _xlnm.Print_Titles": "'Bill'!$6:$6", "Both _xlnm.Print_Titles": "'Both'!$1:$1", "Accounts _xlnm.Print_Titles": "'Accounts'!$1:$1",
		"Accounts _xlnm._FilterDatabase": "'Accounts'!$A$1:$B$3",
	}, titles)
	for _, sheet := range f.GetSheetList() {
		layout, err := f.GetPageLayout(sheet)
		require.NoError(t, err)
		require.Equal(t, "landscape", *layout.Orientation)
		require.Equal(t, []int{paperA4, 1, 0}, []int{*layout.Size, *layout.FitToWidth, *layout.FitToHeight})
		props, err := f.GetSheetProps(sheet)
		require.NoError(t, err)
		require.True(t, *props.FitToPage)
		edges, err := f.GetHeaderFooter(sheet)
		require.NoError(t, err)
		require.Equal(t, "&LMiller && Sons&RStatement for November 2026", edges.OddHeader)
		require.Equal(t, "&L"+sheet+"&RPage &P of &N", edges.OddFooter)
		for column, width := range map[string]float64{"A": 35, "B": 20} { // B by the total, with spaces between thousands
			got, err := f.GetColWidth(sheet, column)
			require.NoError(t, err)
			require.InDelta(t, width, got, 1e-9, "%s %s", sheet, column)
		}
	}
	d.Title, d.Subtitle = strings.Repeat("&", 300), strings.Repeat("🙂", 300)
	edges, err := opened(t, d).GetHeaderFooter("Bill")
	require.NoError(t, err)
	require.LessOrEqual(t, len(utf16.Encode([]rune(edges.OddHeader))), 255)
}

func TestDetailsOfManyAccountsAreOneTableOfAKind(t *testing.T) {
	t.Parallel()
	d := &Document{Title: "T", Sections: []Section{{Sheet: "Overview", Title: "Overview"}}}
	for i := range DetailSheets + 1 {
		id := strings.Repeat("x", i+1)
		d.Sections = append(d.Sections, Section{
			Details: id, Sheet: id, Title: "Name of " + id, Facts: []Fact{{Label: "Account", Value: id}, {Label: "Messages", Value: "1", Figure: Figure{Kind: Count, Exact: "1"}}},
		})
	}
	first, last := &d.Sections[1], &d.Sections[DetailSheets+1]
	first.Tables = []Table{{Caption: "T", Columns: []Column{{"Day", Date}, {"sent", Count}}, Rows: []Row{{Cells: []string{"2026-11-05", "3"}}, {Cells: []string{"Total", "3"}, Total: true}}}}
	last.Tables = []Table{{Caption: "T", Columns: []Column{{"Day", Date}, {"read", Count}, {"sent", Count}}, Rows: []Row{{Cells: []string{"2026-11-06", "4", "5"}}}}}
	last.Facts = append(last.Facts, Fact{Label: "Suspended for", Value: "budget"})
	last.Shares = []Share{{9, "9 % used"}}
	f := opened(t, d)
	require.Equal(t, []string{"Overview", "Details", "T"}, f.GetSheetList())
	rows, err := f.GetRows("T")
	require.NoError(t, err)
	require.Equal(t, [][]string{{"Account", "Name", "Day", "sent", "read"}, {"x", "Name of x", "2026-11-05", "3"}, {last.Details, last.Title, "2026-11-06", "5", "4"}}, rows)
	rows, err = f.GetRows("Details")
	require.NoError(t, err)
	require.Len(t, rows, DetailSheets+2)
	require.Equal(t, []string{"Account", "Name", "State", "Messages", "Suspended for", "Used"}, rows[0])
	require.Equal(t, []string{last.Details, last.Title, "", "1", "budget", "9 % used"}, rows[DetailSheets+1])
}
