package render

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"

	"github.com/meterd/meterd/reports/render/typeset"
)

// made is the one time that a workbook names: its bytes tell nothing of when it
// was written.
const made = "2000-01-01T00:00:00Z"

// XLSX writes the document as a workbook: a sheet for each section that names
// one, typed cells, a frozen header where a sheet is one table, pages to print.
// The details of many accounts are tables of all of them.
func XLSX(w io.Writer, d *Document) error {
	f := excelize.NewFile()
	defer func() { _ = f.Close() }() // its temporary files are of no more use
	b := &book{file: f, doc: d, names: map[string]bool{}}
	if err := b.build(); err != nil {
		return fmt.Errorf("write XLSX: %w", err)
	}
	if err := b.save(w); err != nil {
		return fmt.Errorf("write XLSX: %w", err)
	}
	return nil
}

// book is a workbook in the making.
type book struct {
	file   *excelize.File
	doc    *Document
	names  map[string]bool // of sheets, in lower case
	styles map[styleKey]int
}

type styleKey struct {
	kind        Kind
	bold, title bool
}

func (b *book) build() error {
	if err := b.makeStyles(); err != nil {
		return err
	}
	first, sections := "", gathered(b.doc)
	for start := 0; start < len(sections); {
		end := start + 1
		for end < len(sections) && sections[end].Sheet == "" {
			end++
		}
		name := b.sheetName(sections[start].Sheet)
		if first == "" {
			first = name
			if err := b.file.SetSheetName("Sheet1", name); err != nil {
				return err
			}
		} else if _, err := b.file.NewSheet(name); err != nil {
			return err
		}
		if err := b.sheet(name, sections[start:end], start == 0); err != nil {
			return fmt.Errorf("sheet %d: %w", len(b.names), err)
		}
		start = end
	}
	return nil
}

func (b *book) makeStyles() error {
	money := "#,##0." + strings.Repeat("0", b.doc.Digits) + strings.Repeat("#", 6-b.doc.Digits)
	formats := map[Kind]string{Text: "@", Date: "yyyy-mm-dd", dateTime: "yyyy-mm-dd hh:mm", Count: "#,##0", Number: "#,##0.######", Money: money, Percent: `0.0"%"`, Price: "#,##0.00######", Time: "yyyy-mm-dd hh:mm:ss.000"}
	b.styles = map[styleKey]int{}
	for _, kind := range []Kind{Text, Date, dateTime, Count, Number, Money, Percent, Price, Time} {
		for _, bold := range []bool{false, true} {
			format := formats[kind]
			st := &excelize.Style{CustomNumFmt: &format, Font: font(bold, textPoints, "")}
			if kind == Date || kind == dateTime {
				st.Alignment = &excelize.Alignment{Horizontal: "left"} // a date would stand at the right
			}
			if bold {
				st.Border = []excelize.Border{{Type: "top", Color: "888888", Style: 1}}
			}
			id, err := b.file.NewStyle(st)
			if err != nil {
				return err
			}
			b.styles[styleKey{kind, bold, false}] = id
		}
	}
	for _, head := range []struct {
		key   styleKey
		style excelize.Style
	}{
		{styleKey{"head", true, false}, excelize.Style{
			Font: font(true, textPoints, "FFFFFF"), Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"1F4E79"}},
			Alignment: &excelize.Alignment{WrapText: true, Vertical: "center"},
		}},
		{styleKey{"figures", true, false}, excelize.Style{
			Font: font(true, textPoints, "FFFFFF"), Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"1F4E79"}},
			Alignment: &excelize.Alignment{WrapText: true, Vertical: "center", Horizontal: "right"},
		}},
		{styleKey{Text, true, true}, excelize.Style{Font: font(true, 14, "")}},
		{styleKey{"caption", true, true}, excelize.Style{Font: font(true, 12, "1F4E79")}},
	} {
		id, err := b.file.NewStyle(&head.style)
		if err != nil {
			return err
		}
		b.styles[head.key] = id
	}
	return nil
}

const textPoints = 11

// font is the workbook's own, which a style that leaves it out hasn't.
func font(bold bool, points float64, color string) *excelize.Font {
	return &excelize.Font{Bold: bold, Family: "Calibri", Size: points, Color: color}
}

// head is the cell above a column: above figures it stands at the right, as they do.
func (b *book) head(c Column) excelize.Cell {
	style := styleKey{"head", true, false}
	if c.Kind.numeric() {
		style.kind = "figures"
	}
	return excelize.Cell{StyleID: b.styles[style], Value: c.Name}
}

// sheetMax is the longest name of a sheet.
const sheetMax = 31

// sheetName makes a name that is allowed, and used once.
func (b *book) sheetName(want string) string {
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`:\/?*[]'`, r) || unicode.IsControl(r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, want)
	if name == "" {
		name = "Report"
	}
	if strings.EqualFold(name, "history") {
		name += "_" // spreadsheets keep that one for themselves
	}
	short := clipped(name, sheetMax)
	for n := 2; b.names[strings.ToLower(short)]; n++ {
		tail := "~" + strconv.Itoa(n)
		short = clipped(name, sheetMax-len(tail)) + tail
	}
	b.names[strings.ToLower(short)] = true
	return short
}

// clipped has as many letters of s as make n units of UTF-16.
func clipped(s string, n int) string {
	for i, r := range s {
		if n -= utf16.RuneLen(r); n < 0 {
			return s[:i]
		}
	}
	return s
}

// sheet writes the sections of one sheet.
func (b *book) sheet(name string, sections []Section, first bool) error {
	if err := b.page(name, b.doc.Subtitle); err != nil {
		return err
	}
	sw, err := b.file.NewStreamWriter(name)
	if err != nil {
		return err
	}
	widths := b.widths(sections, first)
	for i, width := range slices.Backward(widths) { // each is put before the others
		if err := sw.SetColWidth(i+1, i+1, width); err != nil {
			return err
		}
	}
	p := &sheetWriter{book: b, stream: sw, row: 1}
	// The first row is frozen: the header of a sheet that is one table, else the title.
	bare := len(sections) == 1 && len(sections[0].Tables) == 1 && len(sections[0].Facts) == 0 && !first
	if err := sw.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return err
	}
	if first {
		p.title(b.doc.Title)
		p.facts(b.doc.Facts)
		p.cards(b.doc.Cards)
		for _, n := range b.doc.Notes {
			p.write([]any{n.Text})
		}
		p.row++
	}
	for i := range sections {
		s := &sections[i]
		if !bare {
			p.title(s.Title)
			p.facts(s.Facts)
			for _, x := range s.Shares {
				p.write([]any{x.Text})
			}
		}
		if len(s.Tables) == 0 && s.Empty != "" {
			p.write([]any{s.Empty})
		}
		for j := range s.Tables {
			p.table(&s.Tables[j], !bare)
		}
		p.row++
	}
	if p.err != nil {
		return p.err
	}
	if bare {
		if err := b.filter(name, &sections[0].Tables[0]); err != nil {
			return err
		}
	}
	if err := b.repeat(name, p.headers); err != nil {
		return err
	}
	return sw.Flush()
}

// sheetWriter keeps the next row and the first error.
type sheetWriter struct {
	book    *book
	stream  *excelize.StreamWriter
	row     int
	headers []int // rows of the tables' headers
	err     error
}

func (p *sheetWriter) write(cells []any) {
	if p.err == nil {
		p.err = p.stream.SetRow("A"+strconv.Itoa(p.row), cells)
	}
	p.row++
}

// title of a sheet or a section: a cell's direction is its reader's own matter.
func (p *sheetWriter) title(s string) {
	p.write([]any{excelize.Cell{StyleID: p.book.styles[styleKey{Text, true, true}], Value: typeset.Bare(s)}})
}

func (p *sheetWriter) facts(list []Fact) {
	for _, f := range list {
		p.write(append([]any{f.Label}, p.figure(f.Figure, f.Value)...))
	}
}

func (p *sheetWriter) cards(list []Card) {
	for _, c := range list {
		text, more := strings.TrimSpace(c.Value+" "+c.Unit), c.Hint
		if c.Share != nil {
			more = c.Share.Text
		}
		cells := append([]any{c.Label}, p.figure(c.Figure, text)...)
		if more != "" {
			for len(cells) < 3 { // below each other
				cells = append(cells, nil)
			}
			cells = append(cells, more)
		}
		p.write(cells)
	}
}

// figure is a cell to count with, and its unit's; the text where there is none.
func (p *sheetWriter) figure(f Figure, text string) []any {
	if f.Exact == "" {
		return []any{p.cell(Text, text, false)}
	}
	cells := []any{p.cell(f.Kind, f.Exact, false)}
	if f.Unit != "" {
		cells = append(cells, f.Unit)
	}
	return cells
}

// cell of a kind. A date that isn't one is a text.
func (p *sheetWriter) cell(kind Kind, v string, bold bool) excelize.Cell {
	value := typed(kind, v)
	if at, ok := value.(time.Time); ok && kind == Date && at != at.Truncate(24*time.Hour) {
		kind = dateTime
	}
	return excelize.Cell{StyleID: p.book.styles[styleKey{p.book.shown(kind, v), bold, false}], Value: value}
}

// shown is the kind whose format a figure has: a whole one would have a point without
// digits behind it.
func (b *book) shown(kind Kind, v string) Kind {
	if (kind == Number || kind == Money && b.doc.Digits == 0) && !strings.Contains(v, ".") {
		return Count
	}
	return kind
}

func (p *sheetWriter) table(t *Table, caption bool) {
	if caption {
		p.row++
		p.write([]any{excelize.Cell{StyleID: p.book.styles[styleKey{"caption", true, true}], Value: t.Caption}})
	}
	head := make([]any, len(t.Columns))
	for i, c := range t.Columns {
		head[i] = p.book.head(c)
	}
	p.headers = append(p.headers, p.row)
	p.write(head)
	for _, r := range t.Rows {
		cells := make([]any, len(r.Cells))
		for i, v := range r.Cells {
			cells[i] = p.cell(t.Columns[i].Kind, v, r.Total)
		}
		p.write(cells)
	}
}

// typed is what a cell holds: a number where the column has numbers, a date where it
// has dates. A double keeps fifteen digits of a decimal, and a spreadsheet knows no other.
func typed(kind Kind, v string) any {
	switch {
	case v == "":
		return nil // an empty text is none of a column's figures
	case kind == Text:
		return v
	case kind == Date:
		return dated(v)
	case kind == Time:
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return at
		}
		return v
	}
	if n, err := strconv.ParseFloat(v, 64); err == nil {
		return n
	}
	return v
}
