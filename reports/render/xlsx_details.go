package render

import (
	"slices"
	"strings"

	"github.com/xuri/excelize/v2"

	"github.com/meterd/meterd/reports/render/typeset"
)

// gathered are the sections that a workbook has. The details of more accounts than one
// can leaf through are one sheet of their facts, and one for each of their tables: a row
// begins with its account, and what filters or sums needs no other.
func gathered(d *Document) []Section {
	if d.details() <= DetailSheets {
		return d.Sections
	}
	facts := &gathering{caption: "Details"}
	var tables []*gathering
	var out []Section
	for i := range d.Sections {
		s := &d.Sections[i]
		if s.Details == "" {
			out = append(out, *s)
			continue
		}
		facts.facts(s)
		for j := range s.Tables {
			t := &s.Tables[j]
			at := slices.IndexFunc(tables, func(g *gathering) bool { return g.caption == t.Caption })
			if at < 0 {
				at = len(tables)
				tables = append(tables, &gathering{caption: t.Caption})
			}
			tables[at].table(s, t)
		}
	}
	for _, g := range append([]*gathering{facts}, tables...) {
		out = append(out, g.sections()...)
	}
	return out
}

// gathering is a table of several accounts in the making. A column is one by its name.
type gathering struct {
	caption string
	columns []Column
	rows    [][]string // a row has as many cells as there were columns
}

func (g *gathering) column(c Column) int {
	if at := slices.Index(g.columns, c); at >= 0 {
		return at
	}
	g.columns = append(g.columns, c)
	return len(g.columns) - 1
}

// set puts a cell into the last row.
func (g *gathering) set(c Column, v string) {
	at, row := g.column(c), &g.rows[len(g.rows)-1]
	for len(*row) <= at {
		*row = append(*row, "")
	}
	(*row)[at] = v
}

// begin a row of an account's.
func (g *gathering) begin(s *Section) {
	g.rows = append(g.rows, nil)
	g.set(Column{Name: "Account", Kind: Text}, s.Details)
	g.set(Column{Name: "Name", Kind: Text}, typeset.Bare(s.Title))
}

func (g *gathering) facts(s *Section) {
	g.begin(s)
	g.set(Column{Name: "State", Kind: Text}, s.Badge.Text)
	for _, f := range s.Facts {
		switch {
		case f.Figure.Exact != "":
			g.set(Column{Name: f.Label, Kind: f.Figure.Kind}, f.Figure.Exact)
		case f.Value != s.Details: // it is there
			g.set(Column{Name: f.Label, Kind: Text}, f.Value)
		}
	}
	var shares []string
	for _, x := range s.Shares {
		shares = append(shares, x.Text)
	}
	if len(shares) > 0 {
		g.set(Column{Name: "Used", Kind: Text}, strings.Join(shares, "; "))
	}
}

func (g *gathering) table(s *Section, t *Table) {
	for i := range t.Rows {
		if t.Rows[i].Total {
			continue // the table has rows of one kind
		}
		g.begin(s)
		for c, v := range t.Rows[i].Cells {
			g.set(t.Columns[c], v)
		}
	}
}

// sections are one, or as many as the rows need.
func (g *gathering) sections() []Section {
	var out []Section
	for rows := range slices.Chunk(g.rows, excelize.TotalRows-1) {
		t := Table{Caption: g.caption, Columns: g.columns, Rows: make([]Row, len(rows))}
		for i, cells := range rows {
			t.Rows[i].Cells = cells
		}
		out = append(out, Section{Sheet: g.caption, Title: g.caption, Tables: []Table{t}})
	}
	return out
}
