package render

import "math"

// ink is a colour. The PDF has those of the page's light form.
type ink struct{ r, g, b int }

//nolint:gochecknoglobals // constant tables
var (
	inkMain, inkSoft, inkLine = ink{0x16, 0x20, 0x2c}, ink{0x5a, 0x6a, 0x7d}, ink{0xdf, 0xe5, 0xec}
	groundPlain               = ink{0xe9, 0xee, 0xf5}
	seriesInks                = map[string]ink{
		"c-main": {0x25, 0x63, 0xb0}, "c-good": {0x15, 0x80, 0x3d}, "c-better": {0x0f, 0x9a, 0x94}, "c-warn": {0xb4, 0x53, 0x09},
		"c-bad": {0xc6, 0x28, 0x28}, "c-other": {0x7c, 0x5c, 0xc4}, "c-dim": {0x9a, 0xa8, 0xb7},
	}
)

// levelInk is a level's colour, and the ground that it stands on.
func levelInk(l Level) (c, ground ink) {
	switch l {
	case Good:
		return seriesInks["c-good"], ink{0xe3, 0xf4, 0xe8}
	case Warn:
		return seriesInks["c-warn"], ink{0xfd, 0xf1, 0xde}
	case Bad:
		return seriesInks["c-bad"], ink{0xfd, 0xe8, 0xe8}
	case Plain:
	}
	return inkSoft, groundPlain
}

func (p *pdf) fill(c ink) { p.f.SetFillColor(c.r, c.g, c.b) }

// Size of a picture, in millimetres.
const (
	pictureWidth  = 118.0
	pictureGap    = 16.0
	pictureScale  = pictureWidth / chartWidth
	pictureHeight = chartHeight * pictureScale
	barHeight     = 4.6
	nameLeast     = 32.0 // for the labels beside its bars
	nameMost      = 52.0
	figuresShare  = 0.45 // of a picture's width, for the figures beside its bars
)

// charts stand two beside each other.
func (p *pdf) charts(list []Chart) {
	x, tallest := pageMargin, 0.0
	for i := range list {
		c := &list[i]
		if len(c.Bars) == 0 {
			continue
		}
		if x > pageMargin+pictureWidth+pictureGap {
			x, p.y, tallest = pageMargin, p.y+tallest+3, 0
		}
		if x == pageMargin {
			p.room(pictureHeight + 14)
		}
		h := 0.0
		if c.Rows {
			h = p.rows(c, x)
		} else {
			h = p.columns(c, x)
		}
		tallest = max(tallest, h)
		x += pictureWidth + pictureGap
	}
	if tallest > 0 {
		p.y += tallest + 3
	}
}

// columns draws a chart of columns and tells how high it is.
func (p *pdf) columns(c *Chart, x float64) float64 {
	p.style("B", smallSize, inkSoft)
	p.at(x, p.y, c.Caption, "L", pictureWidth)
	top := p.y + 5
	plot := newPlot(*c)
	p.f.SetDrawColor(inkLine.r, inkLine.g, inkLine.b)
	p.f.SetLineWidth(0.2)
	for _, y := range plot.grid {
		p.f.Line(x+chartLeft*pictureScale, top+y*pictureScale, x+(chartWidth-chartRight)*pictureScale, top+y*pictureScale)
	}
	for _, col := range plot.columns {
		for _, r := range col.parts {
			p.fill(seriesInks[r.class])
			p.f.Rect(x+r.x*pictureScale, top+r.y*pictureScale, r.w*pictureScale, r.h*pictureScale, "F")
		}
	}
	p.style("", smallSize, inkSoft)
	for _, t := range plot.labels {
		at := x + t.x*pictureScale
		switch t.anchor {
		case "end":
			at -= p.width(t.text)
		case "middle":
			at -= p.width(t.text) / 2
		}
		p.write(at, top+t.y*pictureScale, t.text)
	}
	return 5 + pictureHeight + p.legend(c, x, top+pictureHeight+1)
}

// legend stands below a chart of several series.
func (p *pdf) legend(c *Chart, x, y float64) float64 {
	list := c.Legend()
	if len(list) == 0 {
		return 0
	}
	left, height := x, 5.0
	p.style("", smallSize, inkSoft)
	for _, l := range list {
		w := p.width(l.Name) + 8
		if left+w > x+pictureWidth && left > x {
			left, y, height = x, y+4, height+4
		}
		p.fill(seriesInks[l.Class])
		p.f.RoundedRect(left, y+0.4, 2.4, 2.4, 0.6, "1234", "F")
		p.at(left+3.6, y, l.Name, "L", w)
		left += w
	}
	return height
}

// rows draws a chart whose bars lie and tells how high it is.
func (p *pdf) rows(c *Chart, x float64) float64 {
	p.style("B", smallSize, inkSoft)
	p.at(x, p.y, c.Caption, "L", pictureWidth)
	name, figures := nameLeast, 0.0
	p.style("", smallSize, inkMain)
	bars := barChart(*c)
	for _, b := range bars {
		name = math.Max(name, p.width(b.Label)+2)
		figures = math.Max(figures, p.width(b.Text))
	}
	figures = min(figures, pictureWidth*figuresShare)
	name = min(name, nameMost)
	track := pictureWidth - name - figures - 5
	y := p.y + 6
	for _, b := range bars {
		p.style("", smallSize, inkMain)
		p.at(x, y, p.beside(b.Label, name-2), "L", name-2)
		if w := track * float64(b.Width) / 100; w > 0 {
			p.fill(seriesInks["c-main"])
			if b.Below {
				p.fill(seriesInks["c-bad"])
			}
			p.f.RoundedRect(x+name, y+0.2, max(w, 0.6), 2.6, min(w/2, 0.8), "1234", "F")
		}
		p.figure(x+pictureWidth-figures, y, b.Text, "R", figures)
		y += barHeight
	}
	return y - p.y
}
