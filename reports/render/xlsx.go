package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
)

// made is the one time that a workbook names: its bytes tell nothing of when it
// was written.
const made = "2000-01-01T00:00:00Z"

// Widths of columns, in characters, and of what is looked at to find them.
const (
	widthMin, widthMax = 10, 40
	widthRows          = 200
)

// XLSX writes the document as a workbook: a sheet for each section that names
// one, typed cells, a frozen header where a sheet is one table.
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
	first := ""
	for start := 0; start < len(b.doc.Sections); {
		end := start + 1
		for end < len(b.doc.Sections) && b.doc.Sections[end].Sheet == "" {
			end++
		}
		name := b.sheetName(b.doc.Sections[start].Sheet)
		if first == "" {
			first = name
			if err := b.file.SetSheetName("Sheet1", name); err != nil {
				return err
			}
		} else if _, err := b.file.NewSheet(name); err != nil {
			return err
		}
		if err := b.sheet(name, b.doc.Sections[start:end], start == 0); err != nil {
			return fmt.Errorf("sheet %d: %w", len(b.names), err)
		}
		start = end
	}
	return nil
}

func (b *book) makeStyles() error {
	money := "#,##0." + strings.Repeat("0", b.doc.Digits) + strings.Repeat("#", 6-b.doc.Digits)
	if b.doc.Digits == 0 {
		money = "#,##0.######"
	}
	formats := map[Kind]string{Text: "@", Count: "#,##0", Number: "#,##0.######", Money: money, Percent: `0.0"%"`, Price: "#,##0.00######", Time: "yyyy-mm-dd hh:mm:ss.000"}
	b.styles = map[styleKey]int{}
	for _, kind := range []Kind{Text, Count, Number, Money, Percent, Price, Time} {
		for _, bold := range []bool{false, true} {
			format := formats[kind]
			st := &excelize.Style{CustomNumFmt: &format, Font: &excelize.Font{Bold: bold}}
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
			Font: &excelize.Font{Bold: true, Color: "FFFFFF"}, Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"1F4E79"}},
			Alignment: &excelize.Alignment{WrapText: true, Vertical: "center"},
		}},
		{styleKey{Text, true, true}, excelize.Style{Font: &excelize.Font{Bold: true, Size: 14}}},
		{styleKey{"caption", true, true}, excelize.Style{Font: &excelize.Font{Bold: true, Size: 12, Color: "1F4E79"}}},
	} {
		id, err := b.file.NewStyle(&head.style)
		if err != nil {
			return err
		}
		b.styles[head.key] = id
	}
	return nil
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
	sw, err := b.file.NewStreamWriter(name)
	if err != nil {
		return err
	}
	for i, width := range widths(sections) {
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
		p.facts(cardFacts(b.doc.Cards))
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
		}
		for j := range s.Tables {
			p.table(&s.Tables[j], !bare)
		}
		p.row++
	}
	if p.err != nil {
		return p.err
	}
	return sw.Flush()
}

func cardFacts(cards []Card) []Fact {
	out := make([]Fact, len(cards))
	for i, c := range cards {
		out[i] = Fact{c.Label, strings.Join(strings.Fields(c.Value+" "+c.Unit+" "+c.Hint), " ")}
	}
	return out
}

// sheetWriter keeps the next row and the first error.
type sheetWriter struct {
	book   *book
	stream *excelize.StreamWriter
	row    int
	err    error
}

func (p *sheetWriter) write(cells []any) {
	if p.err == nil {
		p.err = p.stream.SetRow("A"+strconv.Itoa(p.row), cells)
	}
	p.row++
}

func (p *sheetWriter) title(s string) {
	p.write([]any{excelize.Cell{StyleID: p.book.styles[styleKey{Text, true, true}], Value: s}})
}

func (p *sheetWriter) facts(list []Fact) {
	for _, f := range list {
		p.write([]any{f.Label, excelize.Cell{StyleID: p.book.styles[styleKey{Text, false, false}], Value: f.Value}})
	}
}

func (p *sheetWriter) table(t *Table, caption bool) {
	if caption {
		p.row++
		p.write([]any{excelize.Cell{StyleID: p.book.styles[styleKey{"caption", true, true}], Value: t.Caption}})
	}
	head := make([]any, len(t.Columns))
	for i, c := range t.Columns {
		head[i] = excelize.Cell{StyleID: p.book.styles[styleKey{"head", true, false}], Value: c.Name}
	}
	p.write(head)
	for _, r := range t.Rows {
		cells := make([]any, len(r.Cells))
		for i, v := range r.Cells {
			kind := t.Columns[i].Kind
			cells[i] = excelize.Cell{StyleID: p.book.styles[styleKey{kind, r.Total, false}], Value: typed(kind, v)}
		}
		p.write(cells)
	}
}

// typed is what a cell holds: a number where the column has numbers. A double
// keeps fifteen digits of a decimal, and a spreadsheet knows no other.
func typed(kind Kind, v string) any {
	if kind == Text || v == "" {
		return v
	}
	if n, err := strconv.ParseFloat(v, 64); err == nil {
		return n
	}
	return v
}

// widths of a sheet's columns, by what stands in their first rows.
func widths(sections []Section) []float64 {
	var out []float64
	see := func(i, n int) {
		for len(out) <= i {
			out = append(out, widthMin)
		}
		out[i] = max(out[i], float64(min(n+2, widthMax)))
	}
	for i := range sections {
		for _, f := range sections[i].Facts {
			see(0, len(f.Label))
		}
		for _, t := range sections[i].Tables {
			for c, col := range t.Columns {
				see(c, len(col.Name))
			}
			for _, r := range t.Rows[:min(len(t.Rows), widthRows)] {
				for c, v := range r.Cells {
					see(c, len(v))
				}
			}
		}
	}
	return out
}
