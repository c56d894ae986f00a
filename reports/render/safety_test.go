package render

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/thedatashed/xlsxreader"
	"pgregory.net/rapid"
)

// cells are texts as they might come to do harm, and numbers.
func cells() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.StringMatching("[=+\\-@\t\r\n＝＋－＠]{1,3}[A-Z0-9(),\"' ]{0,8}"),
		rapid.StringMatching(`-?[0-9]{1,12}(\.[0-9]{1,6})?`),
		rapid.SampledFrom([]string{"", "=cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1)", "+1", "-", "-.5", "-1.", "\t=1", "\r\n=1", "\"=1\"", "a\rb", "a,b", "a\"b", "\n"}),
	)
}

// asRead is a text after a round trip: line ends become LF, a lone CR is gone.
func asRead(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "")
}

// What is written can be read back by any reader of RFC 4180, and no cell of it
// is a formula.
func TestCSVIsSafeAndExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 4).Draw(t, "width")
		lines := rapid.SliceOfN(rapid.SliceOfN(cells(), width, width), 1, 5).Draw(t, "lines")
		header := make([]string, width)
		columns := make([]Column, width)
		for i := range header {
			header[i] = fmt.Sprint("c", i)
			columns[i] = Column{header[i], Text}
		}
		var whole, streamed bytes.Buffer
		require.NoError(t, CSV(&whole, header, lines))
		w, err := CSVLines(&streamed, columns)
		require.NoError(t, err)
		for _, l := range lines {
			require.NoError(t, w.Line(l))
		}
		require.NoError(t, w.Close())
		require.Equal(t, whole.String(), streamed.String(), "both ways alike")

		got, err := csv.NewReader(bytes.NewReader(whole.Bytes())).ReadAll()
		require.NoError(t, err)
		want := 1
		for _, l := range lines {
			if width == 1 && asRead(SafeCell(l[0])) == "" {
				continue // readers of a single column skip empty lines
			}
			for i, cell := range l {
				read := got[want][i]
				require.Equal(t, asRead(SafeCell(cell)), read)
				require.Equal(t, asRead(cell), asRead(strings.TrimPrefix(read, SafeCell(cell)[:len(SafeCell(cell))-len(cell)])), "but for the apostrophe nothing is lost")
				if first, _ := utf8.DecodeRuneInString(read); strings.ContainsRune(formulaStarts, first) && read != "" {
					require.Regexp(t, `^-[0-9]+(\.[0-9]+)?$`, read)
				}
			}
			want++
		}
		require.Len(t, got, want)
		for i, line := range strings.SplitAfter(whole.String(), "\n") {
			require.True(t, line == "" || strings.HasSuffix(line, "\r\n"), "line %d ends in CRLF", i)
		}
	})
}

func TestJSONLinesAreExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.String(), 2, 2).Draw(t, "texts")
		var b bytes.Buffer
		w, err := JSONLines(&b, []Column{{"a", Text}, {`b"`, Money}, {"n", Count}})
		require.NoError(t, err)
		require.NoError(t, w.Line(append(texts, "12")))
		require.NoError(t, w.Line([]string{"x", "1.50", ""}))
		require.NoError(t, w.Close())
		lines := strings.Split(b.String(), "\n")
		require.Len(t, lines, 3)
		var got struct {
			A string `json:"a"`
			N *int   `json:"n"`
		}
		var raw map[string]any
		require.NoError(t, json.Unmarshal([]byte(lines[0]), &raw))
		if utf8.ValidString(texts[0]) && utf8.ValidString(texts[1]) {
			require.Equal(t, map[string]any{"a": texts[0], `b"`: texts[1], "n": 12.0}, raw)
		}
		require.NoError(t, json.Unmarshal([]byte(lines[1]), &got))
		require.Nil(t, got.N)
	})
}

// A parent with a thousand sub-accounts, some with names that sheets can't have.
func TestAThousandSheets(t *testing.T) {
	t.Parallel()
	d := &Document{Title: "T", Digits: 2, Currency: "EUR"}
	for i := range 1000 {
		name := fmt.Sprintf("Shop.%d", i/2)
		if i%2 == 1 {
			name = strings.ToLower(name)
		}
		d.Sections = append(d.Sections, Section{Sheet: name, Title: name, Facts: []Fact{{Label: "Account", Value: name}}, Tables: []Table{{
			Caption: "C", Columns: []Column{{"Name", Text}, {"Amount", Money}}, Rows: []Row{{Cells: []string{name, fmt.Sprintf("%d.25", i)}}},
		}}})
	}
	for _, name := range []string{"History", strings.Repeat("€", 40), strings.Repeat("🙂", 40), "'x'", "a\x00b", "[*]", "", ""} {
		d.Sections = append(d.Sections, Section{Sheet: cmp.Or(name, "Report"), Title: name})
	}
	var one, two bytes.Buffer
	require.NoError(t, XLSX(&one, d))
	require.NoError(t, XLSX(&two, d))
	require.True(t, bytes.Equal(one.Bytes(), two.Bytes()))
	f, err := xlsxreader.NewReader(one.Bytes())
	require.NoError(t, err)
	require.Len(t, f.Sheets, len(d.Sections))
	seen := map[string]bool{}
	for i, s := range f.Sheets {
		require.False(t, seen[strings.ToLower(s)], s)
		seen[strings.ToLower(s)] = true
		require.LessOrEqual(t, len(utf16.Encode([]rune(s))), 31)
		if i >= 1000 {
			continue
		}
		last := xlsxreader.Row{}
		for row := range f.ReadRows(s) {
			last = row
		}
		require.Equal(t, fmt.Sprintf("%d.25", i), last.Cells[1].Value)
		require.Equal(t, xlsxreader.TypeNumerical, last.Cells[1].Type)
	}
}
