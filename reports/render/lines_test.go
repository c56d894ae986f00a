package render

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/thedatashed/xlsxreader"
)

// More lines than a sheet holds go on on the next one.
func TestLongWorkbooksHaveSeveralSheets(t *testing.T) {
	t.Parallel()
	write := func(n int) []byte {
		var b bytes.Buffer
		w := XLSXLines(&b, Book{
			Title: "T", Sheet: "Messages", SheetRows: 11, Digits: 2, Columns: []Column{{"id", Text}, {"at", Time}, {"amount", Money}},
			About: func(sheets int) []Fact { return []Fact{{Label: "Sheets", Value: strconv.Itoa(sheets)}} },
		})
		for i := range n {
			require.NoError(t, w.Line([]string{"=" + strconv.Itoa(i), "2026-11-03T09:00:00.125Z", strconv.Itoa(i) + ".5"}))
		}
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	for n, want := range map[int][]string{
		0: {"Messages", "About"}, 10: {"Messages", "About"}, 11: {"Messages", "Messages 2", "About"}, 25: {"Messages", "Messages 2", "Messages 3", "About"},
	} {
		b := write(n)
		require.True(t, bytes.Equal(b, write(n)), "the same bytes")
		f, err := xlsxreader.NewReader(b)
		require.NoError(t, err)
		require.Equal(t, want, f.Sheets)
		at := 0
		for _, s := range f.Sheets[:len(f.Sheets)-1] {
			for row := range f.ReadRows(s) {
				require.NoError(t, row.Error)
				if row.Index == 1 {
					require.Equal(t, "amount", row.Cells[2].Value, "each sheet has the header")
					continue
				}
				require.Equal(t, "="+strconv.Itoa(at), row.Cells[0].Value)
				require.Equal(t, xlsxreader.TypeString, row.Cells[0].Type)
				require.Equal(t, strconv.Itoa(at)+".5", row.Cells[2].Value)
				at++
			}
		}
		require.Equal(t, n, at)
		for row := range f.ReadRows("About") {
			if row.Index == 2 {
				require.Equal(t, strconv.Itoa(len(want)-1), row.Cells[1].Value)
			}
		}
	}
}
