package render

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/meterd/meterd/reports/render/typeset"
)

// settings is how many texts a document remembers as they are set: a text is measured
// more often than it is drawn.
const settings = 2000

// Isolated is a part of a text, as typeset.Isolated.
func Isolated(s string) string { return typeset.Isolated(s) }

// Lacks returns what tells whether a text has letters that a PDF can't show.
func Lacks() (func(text string) bool, error) { return lacksOf(typeset.System()) }

func lacksOf(fonts *typeset.Book) (func(text string) bool, error) {
	set, err := typeset.New(fonts)
	if err != nil {
		return nil, fmt.Errorf("write PDF: %w", err)
	}
	return func(text string) bool {
		_, whole := set.Known(text)
		return !whole
	}, nil
}

// style is how the texts that follow are drawn.
func (p *pdf) style(weight string, size float64, c ink) {
	p.f.SetFont(fontName, weight, size)
	p.f.SetTextColor(c.r, c.g, c.b)
	p.bold, p.ink = weight == "B", c
}

// text is s on one line, with a box for every letter that no font has.
func (p *pdf) text(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return r
	}, s)
	known, _ := p.set.Known(s)
	return known
}

// setting of a text in the style that holds.
func (p *pdf) setting(s string) *typeset.Text {
	key := setKey{s, p.bold}
	if t, ok := p.sets[key]; ok {
		return t
	}
	if len(p.sets) >= settings {
		clear(p.sets)
	}
	t := p.set.Set(s, p.bold)
	p.sets[key] = t
	return t
}

type setKey struct {
	text string
	bold bool
}

// width of a text as write draws it.
func (p *pdf) width(s string) float64 {
	if s = p.text(s); p.set.Plain(s) {
		return p.f.GetStringWidth(s)
	}
	_, size := p.f.GetFontSize()
	return p.setting(s).Width * size
}

// write draws a text that stands on a line.
func (p *pdf) write(x, y float64, s string) {
	if s = p.text(s); p.set.Plain(s) {
		p.f.Text(x, y, s)
		return
	}
	points, size := p.f.GetFontSize()
	for _, run := range p.setting(s).Runs {
		p.outlines(x, y, points, &run)
		p.unseen(x, y, size, &run)
		x += run.Width * size
	}
}

// outlines fills the shapes of a run.
func (p *pdf) outlines(x, y, points float64, run *typeset.Run) {
	k := p.f.GetConversionRatio()
	scale := points * run.Unit
	path := fmt.Appendf(p.path[:0], "q %.3f %.3f %.3f rg %.6f 0 0 %.6f %.2f %.2f cm\n",
		float64(p.ink.r)/255, float64(p.ink.g)/255, float64(p.ink.b)/255, scale, scale, x*k, (pageHeight-y)*k)
	begun := len(path)
	for i := range run.Glyphs {
		path = outline(path, &run.Glyphs[i])
	}
	if len(path) > begun { // else a space
		p.f.RawWriteStr(string(append(path, "f Q"...)))
	}
	p.path = path
}

// unseen puts a run's letters where its shapes are, as wide as these, so that readers
// copy and find them. They turn round themselves what is written from right to left.
func (p *pdf) unseen(x, y, size float64, run *typeset.Run) {
	letters := wide(run.Letters)
	if letters != run.Letters { // the font's map has no letters of four bytes
		p.f.RawWriteStr("/Span <</ActualText <FEFF" + hex(run.Letters) + ">>> BDC")
		defer p.f.RawWriteStr("EMC")
	}
	if w := p.f.GetStringWidth(letters); w > 0 && run.Width > 0 {
		p.f.RawWriteStr(fmt.Sprintf("%.2f Tz", 100*run.Width*size/w))
		defer p.f.RawWriteStr("100 Tz")
	}
	p.f.SetTextRenderingMode(3)
	p.f.Text(x, y, letters)
	p.f.SetTextRenderingMode(0)
}

// cut ends a text that is too wide with dots, between two letters as readers see them.
func (p *pdf) cut(s string, width float64) string {
	if p.width(s) <= width+0.01 {
		return s
	}
	parts := typeset.Clusters(s)
	n := p.fitting(parts, "…", width)
	return strings.Join(parts[:n], "") + "…"
}

// beside cuts a label's name, so that the id behind it stays.
func (p *pdf) beside(s string, width float64) string {
	s = p.text(s)
	name, id := splitLabel(s)
	if id == "" || p.width(s) <= width {
		return s
	}
	rest := width - p.width(id)
	if rest < p.width("…") {
		return s
	}
	return typeset.Isolated(p.cut(typeset.Bare(name), rest)) + id
}

// lineMost is how many parts of a text are tried for one line: more never fit.
const lineMost = 1000

// fitting is how many of a text's parts fit a width with what stands behind them.
func (p *pdf) fitting(parts []string, behind string, width float64) int {
	return sort.Search(min(len(parts), lineMost), func(n int) bool {
		return p.wider(strings.Join(parts[:n+1], "")+behind, width)
	})
}

// wider measures without remembering: most of what is tried is never drawn.
func (p *pdf) wider(s string, width float64) bool {
	if s = p.text(s); p.set.Plain(s) {
		return p.f.GetStringWidth(s) > width
	}
	_, size := p.f.GetFontSize()
	return p.set.Set(s, p.bold).Width*size > width
}

// lines breaks a text where its script lets it, else between any letters.
func (p *pdf) lines(s string, width float64) []string {
	if s = p.text(s); p.set.Plain(s) {
		return p.f.SplitText(s, width)
	}
	var out []string
	for rest := typeset.Breaks(s); len(rest) > 0; {
		n := p.fitting(rest, "", width)
		if n == 0 {
			parts := typeset.Clusters(rest[0])
			n = max(p.fitting(parts, "", width), 1)
			out = append(out, typeset.Line(s, strings.Join(parts[:n], "")))
			if rest[0] = strings.Join(parts[n:], ""); rest[0] == "" {
				rest = rest[1:]
			}
			continue
		}
		out = append(out, typeset.Line(s, strings.TrimRight(strings.Join(rest[:n], ""), " ")))
		rest = rest[n:]
	}
	return out
}

// label is a text where no font draws it: in the file's properties and its outline.
func (p *pdf) label(s string) string {
	return wide(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}

// hex is a text in UTF-16, as a PDF writes it.
func hex(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, "%04X", u)
	}
	return b.String()
}

// wide is a text of which the PDF's writer makes UTF-16: it takes letters of up to three
// bytes, so those of four are given as the two that they are in UTF-16.
func wide(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		if utf16.IsSurrogate(rune(u)) {
			b = append(b, 0xE0|byte(u>>12), 0x80|byte(u>>6)&0x3F, 0x80|byte(u)&0x3F)
			continue
		}
		b = append(b, string(rune(u))...)
	}
	return string(b)
}
