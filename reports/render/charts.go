package render

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size of a chart of columns, in its own units; the page scales it.
const (
	chartWidth, chartHeight         = 520, 210
	chartLeft, chartBottom          = 54, 24
	chartTop, chartRight            = 10, 6
	labelHalf                       = 26 // of a label's width
	labelsMax                       = 7
	gridLines                       = 4
	columnMax                       = 44
	columnGap               float64 = 0.24
)

// columnChart draws columns side by side as an SVG picture.
func columnChart(c Chart) template.HTML {
	p := newPlot(c)
	if p == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, chartWidth, chartHeight, escape(c.Caption))
	for _, l := range p.grid {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, chartLeft, chartWidth-chartRight, l, l)
	}
	for _, col := range p.columns {
		fmt.Fprintf(&b, `<g><title>%s</title>`, escape(col.title))
		for _, r := range col.parts {
			fmt.Fprintf(&b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, r.class, r.x, r.y, r.w, r.h)
		}
		b.WriteString(`</g>`)
	}
	for _, t := range p.labels {
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, t.x, t.y, t.anchor, escape(t.text))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // every text in it is escaped
}

// plot is where everything of a chart of columns goes, in its own units: the
// page and the PDF draw the same picture.
type plot struct {
	grid    []float64 // heights of its lines
	columns []plotColumn
	labels  []plotLabel
}

type plotColumn struct {
	title string
	parts []plotPart
}

type plotPart struct {
	class      string // its colour
	x, y, w, h float64
}

type plotLabel struct {
	x, y   float64
	anchor string // start, middle or end
	text   string
}

// newPlot lays out a chart; nil where there is nothing to draw.
func newPlot(c Chart) *plot {
	if len(c.Bars) == 0 {
		return nil
	}
	p := &plot{}
	height := float64(chartHeight - chartTop - chartBottom)
	lines := axis(c)
	bottom, top := lines[0], lines[len(lines)-1]
	at := func(v float64) float64 { return float64(chartTop) + height*(top-v)/(top-bottom) }
	for _, v := range lines {
		p.grid = append(p.grid, at(v))
		p.labels = append(p.labels, plotLabel{chartLeft - 6, at(v) + 4, "end", short(v)})
	}
	step := float64(chartWidth-chartLeft-chartRight) / float64(len(c.Bars))
	width := math.Min(step*(1-columnGap), columnMax)
	every := (len(c.Bars) + labelsMax - 1) / labelsMax
	for i, bar := range c.Bars {
		x := chartLeft + step*(float64(i)+0.5)
		col := plotColumn{title: barTitle(c, bar)}
		up, down := 0.0, 0.0 // how far the parts reach from the line of nothing
		for s := range bar.Values {
			switch v := value(bar.Values[s]); {
			case v > 0:
				col.parts = append(col.parts, plotPart{seriesClass(c, s), x - width/2, at(up + v), width, at(up) - at(up+v)})
				up += v
			case v < 0:
				col.parts = append(col.parts, plotPart{"c-bad", x - width/2, at(down), width, at(down+v) - at(down)})
				down += v
			}
		}
		p.columns = append(p.columns, col)
		if i%every == 0 {
			anchor := "middle"
			if x > chartWidth-labelHalf {
				x, anchor = chartWidth-1, "end"
			}
			p.labels = append(p.labels, plotLabel{x, chartHeight - 7, anchor, dayLabel(bar.Label)})
		}
	}
	return p
}

// axis are the values of a chart's lines: nothing, and round figures above it and, where
// there are bars below it, below.
func axis(c Chart) []float64 {
	low, high := reach(c)
	if len(c.Series) > 1 {
		high = math.Max(high, gridLines)
	}
	if low == 0 {
		top := niceTop(high)
		if len(c.Series) > 1 {
			top = math.Ceil(top/gridLines) * gridLines // counts: no fractions at the axis
		}
		out := make([]float64, gridLines+1)
		for i := range out {
			out[i] = top * float64(i) / gridLines
		}
		return out
	}
	step := niceTop((high - low) / gridLines)
	var out []float64
	for i := math.Floor(low / step); i <= math.Ceil(high/step); i++ {
		out = append(out, i*step)
	}
	return out
}

// lying is one bar of a chart of rows.
type lying struct {
	Label, Text string
	Width       int  // percent of the longest
	Below       bool // it is of less than nothing
}

// barChart has the bars of a chart whose bars lie.
func barChart(c Chart) []lying {
	low, high := reach(c)
	longest := math.Max(high, -low)
	out := make([]lying, len(c.Bars))
	for i, b := range c.Bars {
		sum := 0.0
		for _, v := range b.Values {
			sum += value(v)
		}
		out[i] = lying{Label: b.Label, Text: b.Text, Below: sum < 0}
		if longest > 0 {
			out[i].Width = int(math.Round(100 * math.Abs(sum) / longest))
		}
	}
	return out
}

// reach is the lowest and the highest that a bar comes to, from nothing.
func reach(c Chart) (low, high float64) {
	for _, b := range c.Bars {
		up, down := 0.0, 0.0
		for _, v := range b.Values {
			up += math.Max(value(v), 0)
			down += math.Min(value(v), 0)
		}
		low, high = math.Min(low, down), math.Max(high, up)
	}
	return low, high
}

// niceTop is a round figure that isn't below v.
func niceTop(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10} {
		if m*unit >= v {
			return m * unit
		}
	}
	return 10 * unit
}

// value of a plain decimal, for a picture only.
func value(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return v
}

// short prints a figure beside an axis.
func short(v float64) string {
	if v < 0 {
		return "−" + short(-v)
	}
	for _, u := range []struct {
		of   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= u.of {
			return strconv.FormatFloat(v/u.of, 'g', 3, 64) + u.name
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// dayLabel is a day without its year.
func dayLabel(s string) string {
	if len(s) == len("2026-11-05") && s[4] == '-' {
		if t, err := time.Parse(time.DateOnly, s); err == nil {
			return t.Format("2 Jan")
		}
	}
	return s
}

func barTitle(c Chart, b Bar) string {
	if b.Text != "" {
		return b.Label + ": " + b.Text
	}
	var parts []string
	for i, v := range b.Values {
		if value(v) != 0 {
			parts = append(parts, strings.ReplaceAll(c.Series[i], "_", " ")+" "+Group(v))
		}
	}
	return b.Label + ": " + strings.Join(parts, ", ")
}

// seriesClass gives how messages ended a colour that says it, others one by
// their place.
func seriesClass(c Chart, i int) string {
	switch c.Series[i] {
	case "delivered":
		return "c-good"
	case "read", "answered", "completed":
		return "c-better"
	case "failed", "rejected", "not_allowed":
		return "c-bad"
	case "undelivered", "expired", "busy", "no_answer", "canceled":
		return "c-warn"
	case "queued", "accepted", "unknown", "other", "scheduled", "buffered", "sending":
		return "c-dim"
	}
	if c.Series[i] == "received" {
		return "c-other"
	}
	return "c-main"
}

// Legend of a chart with several series.
func (c Chart) Legend() []LegendItem {
	if len(c.Series) < 2 {
		return nil
	}
	out := make([]LegendItem, len(c.Series))
	for i, s := range c.Series {
		out[i] = LegendItem{Name: strings.ReplaceAll(s, "_", " "), Class: seriesClass(c, i)}
	}
	return out
}

// LegendItem is one entry of a legend.
type LegendItem struct{ Name, Class string }

func escape(s string) string { return template.HTMLEscapeString(s) }
