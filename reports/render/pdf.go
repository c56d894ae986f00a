package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"codeberg.org/go-pdf/fpdf"
	"github.com/go-fonts/dejavu/dejavusanscondensed"
	"github.com/go-fonts/dejavu/dejavusanscondensedbold"

	"github.com/meterd/meterd/reports/render/typeset"
)

// Measures of a page, A4 on its side, in millimetres and points.
const (
	pageWidth, pageHeight           = 297.0, 210.0
	pageMargin, pageFoot            = 12.0, 14.0
	pageInner                       = pageWidth - 2*pageMargin
	textSize, smallSize             = 9.0, 7.5
	titleSize, headSize, figureSize = 20.0, 13.0, 14.0
	lineHeight                      = 4.4
)

// fontName is what the document calls its own font, DejaVu Sans Condensed. It has Latin,
// Greek, Cyrillic, Armenian, Georgian, and the letters of Hebrew and Arabic. Other letters
// come from the fonts of the machine, as package typeset finds them.
const fontName = "dejavu"

// PDF writes the document as pages to print or keep, with the pictures of
// HTML. It is dated by the document's AsOf.
func PDF(w io.Writer, d *Document) error {
	return pdfWith(w, d, typeset.System())
}

func pdfWith(w io.Writer, d *Document, fonts *typeset.Book) error {
	set, err := typeset.New(fonts)
	if err != nil {
		return fmt.Errorf("write PDF: %w", err)
	}
	d = d.brief()
	p := &pdf{f: fpdf.New("L", "mm", "A4", ""), doc: d, set: set, sets: map[setKey]*typeset.Text{}}
	p.open()
	p.head()
	for i := range d.Sections {
		p.section(&d.Sections[i])
	}
	p.closing()
	if err := p.f.Output(w); err != nil {
		return fmt.Errorf("write PDF: %w", err)
	}
	return nil
}

// pdf is a document in the making. The font's owner keeps the first error.
type pdf struct {
	f    *fpdf.Fpdf
	doc  *Document
	set  *typeset.Setter
	sets map[setKey]*typeset.Text
	bold bool // of the style that holds
	ink  ink
	path []byte // of a run in the making
	y    float64
}

func (p *pdf) open() {
	f := p.f
	f.SetCatalogSort(true)
	f.SetCreationDate(p.doc.AsOf)
	f.SetModificationDate(p.doc.AsOf)
	f.SetTitle(p.label(p.doc.Title+" · "+p.doc.Subtitle), true)
	f.SetCreator(p.label(p.doc.maker()), true)
	f.SetProducer(p.label(p.doc.maker()), true)
	f.SetLang("en")
	f.SetMargins(pageMargin, pageMargin, pageMargin)
	f.SetAutoPageBreak(false, 0)
	f.SetCellMargin(0)
	f.AddUTF8FontFromBytes(fontName, "", dejavusanscondensed.TTF)
	f.AddUTF8FontFromBytes(fontName, "B", dejavusanscondensedbold.TTF)
	f.AliasNbPages("{pages}")
	f.SetFooterFunc(func() {
		p.style("", smallSize, inkSoft)
		p.at(pageMargin, pageHeight-9, typeset.Isolated(p.doc.Title)+" · "+p.doc.Subtitle, "L", pageInner)
		p.at(pageMargin, pageHeight-9, strconv.Itoa(f.PageNo())+" / {pages}", "R", pageInner)
	})
	p.page()
}

func (p *pdf) page() {
	p.f.AddPage()
	p.y = pageMargin
}

// room makes sure that there is space for h, on a new page if need be, and
// tells whether it is one.
func (p *pdf) room(h float64) bool {
	if p.y+h <= pageHeight-pageFoot {
		return false
	}
	p.page()
	return true
}

// at writes one line of text beside x, cut to a width.
func (p *pdf) at(x, y float64, s, align string, width float64) {
	s = p.cut(p.text(s), width)
	switch align {
	case "R":
		x += width - p.width(s)
	case "C":
		x += (width - p.width(s)) / 2
	}
	_, size := p.f.GetFontSize()
	p.write(x, y+size*0.8, s)
}

// figure writes a figure as at does, smaller where it is too wide: none is ever cut.
func (p *pdf) figure(x, y float64, s, align string, width float64) {
	points, size := p.f.GetFontSize()
	if w := p.width(s); w > width {
		small := points * width / w
		p.f.SetFontSize(small)
		defer p.f.SetFontSize(points)
		y += size * 0.8 * (1 - small/points) // the same line to stand on
	}
	p.at(x, y, s, align, width)
}

// head is what stands above the sections.
func (p *pdf) head() {
	d := p.doc
	p.style("B", textSize, inkSoft)
	p.at(pageMargin, p.y, d.Subtitle, "L", pageInner)
	p.badge(pageMargin+p.width(d.Subtitle)+3, p.y, d.Badge)
	p.y += 6
	p.style("B", titleSize, inkMain)
	p.figure(pageMargin, p.y, d.Title, "L", pageInner)
	p.y += 11
	p.facts(d.Facts)
	p.cards(d.Cards)
	for _, n := range d.Notes {
		p.note(n)
	}
}

// badge is a word on a colour.
func (p *pdf) badge(x, y float64, b Badge) {
	if b.Text == "" {
		return
	}
	c, ground := levelInk(b.Level)
	p.style("B", smallSize, c)
	w := p.width(b.Text) + 4
	p.fill(ground)
	p.f.RoundedRect(x, y-0.5, w, 4.6, 2.3, "1234", "F")
	p.at(x+2, y+0.4, b.Text, "L", w)
}

// facts stand side by side, as many as fit.
func (p *pdf) facts(list []Fact) {
	if len(list) == 0 {
		return
	}
	x := pageMargin
	p.room(10)
	for _, f := range list {
		p.style("", textSize, inkMain)
		w := p.width(f.Value)
		p.style("", smallSize, inkSoft)
		w = min(max(w, p.width(f.Label))+1, pageInner)
		if x+w > pageMargin+pageInner && x > pageMargin {
			x, p.y = pageMargin, p.y+9
			p.room(10)
			p.style("", smallSize, inkSoft)
		}
		p.at(x, p.y, f.Label, "L", w)
		p.style("", textSize, inkMain)
		p.at(x, p.y+3.5, f.Value, "L", w)
		x += w + 7
	}
	p.y += 10
}

// cardsRow is how many cards stand side by side.
const cardsRow = 5

func (p *pdf) cards(list []Card) {
	const height, gap = 19.0, 4.0
	per := max(min(len(list), cardsRow), 3)
	w := (pageInner - gap*float64(per-1)) / float64(per)
	for i, c := range list {
		if i%per == 0 {
			if i > 0 {
				p.y += height + gap
			}
			p.room(height)
		}
		x := pageMargin + float64(i%per)*(w+gap)
		p.f.SetDrawColor(inkLine.r, inkLine.g, inkLine.b)
		p.f.SetLineWidth(0.25)
		p.f.RoundedRect(x, p.y, w, height, 2.5, "1234", "D")
		p.style("", smallSize, inkSoft)
		p.at(x+4, p.y+2.5, c.Label, "L", w-8)
		p.style("B", figureSize, inkMain)
		p.figure(x+4, p.y+6, strings.TrimSpace(c.Value+" "+c.Unit), "L", w-8)
		switch {
		case c.Share != nil:
			p.share(x+4, p.y+12.4, w-8, c.Share)
		case c.Hint != "":
			p.style("", smallSize, inkSoft)
			p.figure(x+4, p.y+13.2, c.Hint, "L", w-8)
		}
	}
	if len(list) > 0 {
		p.y += height + 4
	}
}

// share is a bar that fills up, and its text below.
func (p *pdf) share(x, y, w float64, s *Share) {
	p.track(x, y, w, 1.7, s.Percent)
	p.style("", smallSize, inkSoft)
	p.figure(x, y+2.4, s.Text, "L", w)
}

func (p *pdf) track(x, y, w, h float64, percent int) {
	p.fill(groundPlain)
	p.f.RoundedRect(x, y, w, h, h/2, "1234", "F")
	if part := w * float64(min(max(percent, 0), 100)) / 100; part > h {
		c, _ := levelInk(fullness(percent))
		p.fill(c)
		p.f.RoundedRect(x, y, part, h, h/2, "1234", "F")
	}
}

// note is a sentence on a colour.
func (p *pdf) note(n Note) {
	_, ground := levelInk(n.Level)
	p.style("", textSize, inkMain)
	lines := p.lines(n.Text, pageInner-8)
	h := float64(len(lines))*lineHeight + 2.6
	p.room(h + 2)
	p.fill(ground)
	p.f.RoundedRect(pageMargin, p.y, pageInner, h, 1.5, "1234", "F")
	p.style("", textSize, inkMain)
	for i, l := range lines {
		p.at(pageMargin+4, p.y+1.9+float64(i)*lineHeight, l, "L", pageInner-8)
	}
	p.y += h + 2
}

// section has its heading, facts, pictures and tables. A large one begins a
// page of its own where little of this one is left.
func (p *pdf) section(s *Section) {
	need := 40.0
	if len(s.Charts) > 0 {
		need = 95
	}
	p.y += 4
	if !p.room(need) {
		p.f.SetDrawColor(inkLine.r, inkLine.g, inkLine.b)
		p.f.SetLineWidth(0.25)
		p.f.Line(pageMargin, p.y, pageMargin+pageInner, p.y)
		p.y += 4
	}
	mark := s.Title
	if s.Subtitle != "" && s.Subtitle != s.Title {
		mark = typeset.Isolated(s.Title) + Beside + s.Subtitle
	}
	p.f.Bookmark(p.label(mark), 0, p.y)
	p.style("B", headSize, inkMain)
	p.at(pageMargin, p.y, s.Title, "L", pageInner-40)
	w := p.width(p.cut(p.text(s.Title), pageInner-40))
	p.badge(pageMargin+w+3, p.y+0.6, s.Badge)
	p.y += 8
	p.facts(s.Facts)
	for i := range s.Shares {
		p.room(9)
		p.share(pageMargin, p.y, 110, &s.Shares[i])
		p.y += 8
	}
	if len(s.Charts)+len(s.Tables) == 0 && s.Empty != "" {
		p.style("", textSize, inkSoft)
		p.at(pageMargin, p.y, s.Empty, "L", pageInner)
		p.y += 6
	}
	p.charts(s.Charts)
	for i := range s.Tables {
		p.table(&s.Tables[i])
	}
}

func (p *pdf) closing() {
	if p.doc.Footer == "" {
		return
	}
	p.y += 4
	p.room(6)
	p.style("", smallSize, inkSoft)
	p.at(pageMargin, p.y, p.doc.Footer, "L", pageInner)
}
