package render

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"
)

func TestSafeCell(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "plain": "plain", "-12.50": "-12.50", "-0.000001": "-0.000001", "-": "'-", "-1+2": "'-1+2", "-1.": "'-1.", "=1": "'=1", "+393331234567": "'+393331234567",
		"@x": "'@x", "\t=1": "'\t=1", "\r=1": "'\r=1", "a=1": "a=1",
	} {
		require.Equal(t, want, SafeCell(in), "%q", in)
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, CSV(&b, []string{"a", "b"}, [][]string{{`say "x", y`, "line\nbreak"}, {"-1", "=1"}}))
	require.Equal(t, "a,b\r\n\"say \"\"x\"\", y\",\"line\r\nbreak\"\r\n-1,'=1\r\n", b.String())
}

func TestGroup(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0": "0", "999": "999", "1000": "1 000", "-1234567.891000": "−1 234 567.891000", "12.5": "12.5", "": "", "n/a": "n/a",
	} {
		require.Equal(t, want, strings.ReplaceAll(Group(in), "\u202f", " "), in)
	}
}

func TestSheetsHaveNamesThatAreAllowed(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 40)
	d := &Document{Title: "T", Digits: 2}
	for _, s := range []string{long + "1", long + "2", "x:y/z", "X:Y/Z", "Overview"} {
		d.Sections = append(d.Sections, Section{Sheet: s, Title: s, Tables: []Table{{
			Caption: "C", Columns: []Column{{"Name", Text}, {"Count", Count}}, Rows: []Row{{Cells: []string{"=1+1", "12"}}},
		}}})
	}
	var b bytes.Buffer
	require.NoError(t, XLSX(&b, d))
	f, err := excelize.OpenReader(&b)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	require.Equal(t, []string{long[:31], long[:29] + "~2", "x_y_z", "X_Y_Z~2", "Overview"}, f.GetSheetList())
	formula, err := f.GetCellFormula("Overview", "A2")
	require.NoError(t, err)
	require.Empty(t, formula, "text is never a formula")
	text, err := f.GetCellValue("Overview", "A2")
	require.NoError(t, err)
	require.Equal(t, "=1+1", text)
}

func TestChartsEscapeTheirTexts(t *testing.T) {
	t.Parallel()
	c := Chart{Caption: `<b>&"`, Series: []string{"<i>"}, Bars: []Bar{{Label: "<script>", Values: []string{"3"}}, {Label: "2026-11-05", Values: []string{"-1"}}}}
	svg := string(columnChart(c))
	require.NotContains(t, svg, "<b>")
	require.NotContains(t, svg, "<script>")
	require.Contains(t, svg, "5 Nov")
	require.NotContains(t, svg, `height="-`)
	require.Empty(t, columnChart(Chart{}))
	for v, want := range map[float64]float64{0: 1, 0.03: 0.032, 1: 1, 13: 16, 999: 1000} {
		require.InDelta(t, want, niceTop(v), 1e-9)
	}
}

// TestChartsReachBelowNothing: what is below zero hangs from the line of nothing, and
// each bar's parts have the height of their values.
func TestChartsReachBelowNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(-1_000_000, 1_000_000), 1, 40).Draw(r, "values")
		c := Chart{Series: []string{"Balance"}}
		for i, v := range values {
			c.Bars = append(c.Bars, Bar{Label: strconv.Itoa(i), Values: []string{decimal.New(v, -2).String()}})
		}
		p := newPlot(c)
		lines := axis(c)
		require.Contains(r, lines, 0.0)
		require.Len(r, p.grid, len(lines))
		require.LessOrEqual(r, len(lines), 2*gridLines+2)
		nothing := p.grid[slices.Index(lines, 0)]
		scale := (p.grid[0] - p.grid[len(p.grid)-1]) / (lines[len(lines)-1] - lines[0])
		require.InDelta(r, chartTop, p.grid[len(p.grid)-1], 1e-6)
		require.InDelta(r, chartHeight-chartBottom, p.grid[0], 1e-6)
		for i, v := range values {
			parts := p.columns[i].parts
			if v == 0 {
				require.Empty(r, parts)
				continue
			}
			require.Len(r, parts, 1)
			require.InDelta(r, math.Abs(float64(v))/100*scale, parts[0].h, 1e-6)
			if v > 0 {
				require.InDelta(r, nothing, parts[0].y+parts[0].h, 1e-6)
			} else {
				require.InDelta(r, nothing, parts[0].y, 1e-6)
			}
		}
	})
	bars := barChart(Chart{Bars: []Bar{{Values: []string{"5"}}, {Values: []string{"-10"}}}})
	require.Equal(t, []lying{{Width: 50}, {Width: 100, Below: true}}, bars)
}

// TestFiguresDontBreak: what is a figure is told from what is a text.
func TestFiguresDontBreak(t *testing.T) {
	for value, class := range map[string]string{
		"0.00 EUR": "n", Group("-12345.67") + " EUR": "n", Group("1234567890123.45") + " EUR": "n wide", "18": "n",
		"1 Nov 2026 to 30 Nov 2026": "", "acme": "", "2026-11-30 15:35 CET": "", "": "", "− ": "",
	} {
		require.Equal(t, class, factClass(value), value)
	}
}
