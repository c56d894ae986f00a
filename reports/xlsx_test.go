package reports

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"
)

// What a bill comes to is a number on the first sheet of every statement, under the
// word that its reader knows; days are dates.
func TestEveryStatementsWorkbookHasWhatItComesTo(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	for _, c := range []struct {
		q    Request
		word string
	}{
		{Request{Parent: "acme"}, "Amount drawn"},
		{Request{Parent: "globex"}, "Amount billable"},
		{Request{Parent: "globex", Period: "2026-11-02..2026-11-08"}, "Amount charged"},
		{Request{Parent: "acme", Audience: "acme-marketing"}, "Amount charged"},
		{Request{Parent: "acme", Kind: KindWallet}, "Charged"},
	} {
		f, err := excelize.OpenReader(bytes.NewReader(files(t, w, c.q)[FormatXLSX]))
		require.NoError(t, err)
		first := f.GetSheetList()[0]
		found, err := f.SearchSheet(first, c.word)
		require.NoError(t, err)
		require.NotEmpty(t, found, "%s of %+v", c.word, c.q)
		figure := "B" + found[0][1:]
		kind, err := f.GetCellType(first, figure)
		require.NoError(t, err)
		require.Contains(t, []excelize.CellType{excelize.CellTypeNumber, excelize.CellTypeUnset}, kind)
		shown, err := f.GetCellValue(first, figure)
		require.NoError(t, err)
		require.Regexp(t, `^-?[\d,]+\.\d{2,6}$`, shown, "%+v", c.q)
		unit, err := f.GetCellValue(first, "C"+found[0][1:])
		require.NoError(t, err)
		require.Contains(t, []string{"EUR", "USD"}, unit)
		require.NoError(t, f.Close())
	}
	f, err := excelize.OpenReader(bytes.NewReader(files(t, w, Request{Parent: "acme"})[FormatXLSX]))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for _, sheet := range []string{"Overview", "acme-support"} {
		days, err := f.SearchSheet(sheet, "2026-11-05")
		require.NoError(t, err)
		require.NotEmpty(t, days, sheet)
		for _, at := range days {
			kind, err := f.GetCellType(sheet, at)
			require.NoError(t, err)
			require.Contains(t, []excelize.CellType{excelize.CellTypeNumber, excelize.CellTypeUnset}, kind, "%s %s", sheet, at)
			raw, err := f.GetCellValue(sheet, at, excelize.Options{RawCellValue: true})
			require.NoError(t, err)
			require.Equal(t, "46331", raw)
		}
	}
}
