package render

import (
	"bytes"
	"compress/zlib"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

var streams = regexp.MustCompile(`(?s)stream\r?\n(.*?)\nendstream`)

// pdfText has the drawing of a PDF's pages, unpacked. Texts in it are UTF-16.
func pdfText(t *testing.T, b []byte) string {
	t.Helper()
	var out strings.Builder
	for _, m := range streams.FindAllSubmatch(b, -1) {
		z, err := zlib.NewReader(bytes.NewReader(m[1]))
		if err != nil {
			continue // a font's file
		}
		text, err := io.ReadAll(z)
		require.NoError(t, err)
		out.Write(text)
	}
	return out.String()
}

// drawn is a text as it stands in a page's drawing.
func drawn(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		for _, c := range []byte{byte(u >> 8), byte(u)} {
			switch c {
			case '\\', '(', ')':
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
	}
	return b.String()
}

func sample() *Document {
	d := &Document{
		AsOf: time.Date(2026, 12, 4, 3, 0, 0, 0, time.UTC), Title: "Ελλάς Кириллица Łódź", Subtitle: "Statement", Digits: 2, Currency: "EUR",
		Badge: Badge{Good, "closed"}, Facts: []Fact{{Label: "Account", Value: "a"}}, Notes: []Note{{Warn, strings.Repeat("A long note. ", 40)}}, Footer: "The end.",
		Cards: []Card{{Label: "Billable", Value: "1", Unit: "EUR", Share: &Share{Percent: 120, Text: "120 % used"}}, {Label: "Hint", Value: "2", Hint: "of it"}},
	}
	long := Table{Caption: "Long", Columns: []Column{{"Day", Text}, {"Share", Percent}, {"Amount", Money}, {"State", Text}}}
	chart := Chart{Caption: "Chart", Series: []string{"delivered", "failed"}}
	for i := range 200 {
		n := strconv.Itoa(i)
		long.Rows = append(long.Rows, Row{Cells: []string{"row " + n, n + ".5", n + ".25", strings.Repeat("word ", i%60)}, Levels: []Level{3: Bad}})
		chart.Bars = append(chart.Bars, Bar{Label: n, Values: []string{n, "3"}})
	}
	wide := Table{Caption: "Wide"}
	row := Row{Total: true}
	for i := range 40 {
		wide.Columns = append(wide.Columns, Column{"Column " + strconv.Itoa(i), Money})
		row.Cells = append(row.Cells, "123456789.123456")
	}
	wide.Rows = []Row{row}
	d.Sections = []Section{
		{Title: "中文 🙂 ok", Tables: []Table{long, wide}, Charts: []Chart{chart, {Rows: true, Caption: "Rows", Series: []string{"x"}, Bars: chart.Bars[:3]}, {}}},
		{Title: "Nothing", Empty: "No messages."},
	}
	return d
}

func TestPDFHasAllOfTheDocument(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, PDF(&b, sample()))
	text := pdfText(t, b.Bytes())
	for _, s := range []string{"Ελλάς Кириллица Łódź", "closed", "120 % used", "Long", "row 0", "row 199", "Wide", "中文 ", "□ ok", "No messages.", "The end.", "delivered", "Rows"} {
		require.Contains(t, text, drawn(s), s)
	}
	require.Equal(t, 40, strings.Count(text, drawn(Group("123456789.123456"))), "no figure is cut, however many stand in a row")
	require.Greater(t, strings.Count(text, drawn("Amount")), 3, "the header stands on every page of a table")
	pages := regexp.MustCompile(`/Count (\d+)`).FindStringSubmatch(b.String())
	require.NotNil(t, pages)
	require.Contains(t, text, drawn("1 / "+pages[1]))
}

func TestPDFIsDatedByItsDocument(t *testing.T) {
	t.Parallel()
	var one, two bytes.Buffer
	require.NoError(t, PDF(&one, sample()))
	require.NoError(t, PDF(&two, sample()))
	require.True(t, bytes.Equal(one.Bytes(), two.Bytes()))
	require.Contains(t, one.String(), "D:20261204030000")
	require.NotContains(t, one.String(), "/ID")
	year := strconv.Itoa(time.Now().Year())
	require.NotContains(t, one.String(), "D:"+year+time.Now().Format("0102"))
}

func TestPagesAndPDFDrawTheSamePicture(t *testing.T) {
	t.Parallel()
	c := sample().Sections[0].Charts[0]
	p := newPlot(c)
	svg := string(columnChart(c))
	parts := 0
	for _, col := range p.columns {
		parts += len(col.parts)
		for _, r := range col.parts {
			require.Contains(t, seriesInks, r.class)
			require.LessOrEqual(t, r.y+r.h, float64(chartHeight))
		}
	}
	require.Equal(t, parts, strings.Count(svg, "<rect"))
	require.Equal(t, len(p.labels), strings.Count(svg, "<text"))
}
