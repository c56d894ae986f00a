package render

// Measures of a table, in millimetres and points.
const (
	cellSize, cellSizeMin = 8.0, 5.5
	cellPad               = 2.2
	rowHeight             = 4.7
	measuredRows          = 300
	miniWidth             = 9.0
	textLeast             = 16.0 // a column of texts isn't narrower while there are other ways
)

// table writes a table; its header stands again on each page that it goes on
// to.
func (p *pdf) table(t *Table) {
	l := p.layout(t)
	p.y += 2
	p.room(26)
	p.style("B", textSize, inkMain)
	p.at(pageMargin, p.y, t.Caption, "L", pageInner)
	p.y += 6
	p.header(t, l)
	for i := range t.Rows {
		r := &t.Rows[i]
		lines, height := p.wrapped(t, l, r)
		if p.room(height) {
			p.header(t, l)
		}
		p.row(t, l, r, lines)
		p.y += height
	}
	p.y += 3
}

// tableLayout is how a table is set: a size of its text and its columns' widths.
type tableLayout struct {
	size   float64
	widths []float64
	digits []int // decimals of the amounts of a column
}

// layout gives each column what its cells need. Where they need more than the
// page has, the text gets smaller, and then texts break.
func (p *pdf) layout(t *Table) *tableLayout {
	l := &tableLayout{widths: make([]float64, len(t.Columns)), digits: make([]int, len(t.Columns))}
	for c := range t.Columns {
		if t.Columns[c].Kind == Money {
			l.digits[c] = decimals(*t, c)
		}
	}
	for l.size = cellSize; ; l.size -= 0.5 {
		if sum := p.measure(t, l); sum <= pageInner || l.size <= cellSizeMin {
			p.fit(t, l, sum)
			return l
		}
	}
}

// measure finds the widths that the cells want and returns their sum.
func (p *pdf) measure(t *Table, l *tableLayout) float64 {
	sum := 0.0
	for c, col := range t.Columns {
		p.style("B", l.size, inkMain)
		w := p.width(col.Name)
		see := func(r *Row) {
			if c < len(r.Cells) {
				w = max(w, p.width(p.cell(t, l, r, c)))
			}
		}
		for i := range t.Rows[:min(len(t.Rows), measuredRows)] {
			see(&t.Rows[i])
		}
		if n := len(t.Rows); n > 0 {
			see(&t.Rows[n-1]) // a total
		}
		if col.Kind == Percent {
			w += miniWidth + 1
		}
		l.widths[c] = w + 2*cellPad
		sum += l.widths[c]
	}
	return sum
}

// fit takes from the widest texts what is too much, then from all columns alike, whose
// figures are set smaller; or it spreads what is left.
func (p *pdf) fit(t *Table, l *tableLayout, sum float64) {
	for sum > pageInner {
		widest := -1
		for c := range t.Columns {
			if !t.Columns[c].Kind.numeric() && l.widths[c] > textLeast && (widest < 0 || l.widths[c] > l.widths[widest]) {
				widest = c
			}
		}
		if widest < 0 {
			for c := range l.widths {
				l.widths[c] *= pageInner / sum
			}
			return
		}
		cut := min(sum-pageInner, max(l.widths[widest]*0.2, 1), l.widths[widest]-textLeast)
		l.widths[widest] -= cut
		sum -= cut
	}
	// A table keeps together: no column gets more than a little to spare.
	spare := min((pageInner-sum)/float64(max(len(t.Columns), 1)), 6)
	for c := range l.widths {
		l.widths[c] += spare
	}
}

// cell is a cell's text for people.
func (p *pdf) cell(t *Table, l *tableLayout, r *Row, c int) string {
	v := r.Cells[c]
	switch t.Columns[c].Kind {
	case Money:
		return Group(padded(v, l.digits[c]))
	case Count, Number:
		return Group(v)
	case Percent:
		if v != "" {
			v += " %"
		}
	case Text, Date, Price, Time:
	}
	return v
}

func (p *pdf) header(t *Table, l *tableLayout) {
	p.style("B", l.size, inkSoft)
	x := pageMargin
	for c, col := range t.Columns {
		align := "R"
		if !col.Kind.numeric() {
			align = "L"
		}
		p.figure(x+cellPad*lead(c), p.y, col.Name, align, l.widths[c]-cellPad*(1+lead(c)))
		x += l.widths[c]
	}
	p.y += rowHeight
	p.line(x, 0.35)
}

// lead is whether a cell is set in: the first stands at the margin.
func lead(c int) float64 {
	if c == 0 {
		return 0
	}
	return 1
}

func (p *pdf) line(to, width float64) {
	p.f.SetDrawColor(inkLine.r, inkLine.g, inkLine.b)
	p.f.SetLineWidth(width)
	p.f.Line(pageMargin, p.y, to, p.y)
	p.y += 0.6
}

// wrapped breaks the texts of a row that are wider than their columns.
func (p *pdf) wrapped(t *Table, l *tableLayout, r *Row) (lines [][]string, height float64) {
	lines = make([][]string, len(r.Cells))
	most := 1
	p.style(weight(r), l.size, inkMain)
	for c := range r.Cells {
		s := p.text(p.cell(t, l, r, c))
		lines[c] = []string{s}
		if w := l.widths[c] - cellPad*(1+lead(c)); !t.Columns[c].Kind.numeric() && p.width(s) > w {
			lines[c] = p.lines(s, w)
			most = max(most, len(lines[c]))
		}
	}
	return lines, float64(most-1)*l.size*0.42 + rowHeight + 0.6
}

func weight(r *Row) string {
	if r.Total {
		return "B"
	}
	return ""
}

func (p *pdf) row(t *Table, l *tableLayout, r *Row, lines [][]string) {
	x := pageMargin
	top, most := p.y, 1
	for c := range r.Cells {
		colour := inkMain
		if lv := levelOf(*r, c); lv != "" {
			colour, _ = levelInk(lv)
		}
		p.style(weight(r), l.size, colour)
		align, w := "R", l.widths[c]-cellPad*(1+lead(c))
		if !t.Columns[c].Kind.numeric() {
			align = "L"
		}
		if t.Columns[c].Kind == Percent && r.Cells[c] != "" {
			p.track(x+cellPad*lead(c)+w-p.width(lines[c][0])-miniWidth-1, top+1.2, miniWidth, 1.5, wholeOf(r.Cells[c]))
		}
		for i, s := range lines[c] {
			if y := top + 0.4 + float64(i)*l.size*0.42; !t.Columns[c].Kind.numeric() {
				p.at(x+cellPad*lead(c), y, s, align, w)
			} else {
				p.figure(x+cellPad*lead(c), y, s, align, w)
			}
		}
		most = max(most, len(lines[c]))
		x += l.widths[c]
	}
	p.y = top + float64(most-1)*l.size*0.42 + rowHeight
	p.line(x, 0.15)
	p.y = top // the caller moves on
}
