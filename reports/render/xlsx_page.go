package render

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
)

// dateTime is how a Date that has a time is shown.
const dateTime = "date and time"

// dated is a Date's cell: of a text that is none, the text. The zone of a time is the
// document's.
func dated(v string) any {
	if at, err := time.Parse(time.DateOnly, v); err == nil {
		return at
	}
	const minutes = "2006-01-02 15:04"
	if at, err := time.Parse(minutes, v[:min(len(v), len(minutes))]); err == nil {
		return at
	}
	return v
}

const paperA4 = 9

// page sets a sheet up for paper: on its side, as wide as one page, with its title,
// period and number on each. It comes before what is written to the sheet.
func (b *book) page(name, period string) error {
	yes, landscape, paper, wide, high := true, "landscape", paperA4, 1, 0 // 0: as many as it needs
	if err := b.file.SetSheetProps(name, &excelize.SheetPropsOptions{FitToPage: &yes}); err != nil {
		return err
	}
	if err := b.file.SetPageLayout(name, &excelize.PageLayoutOptions{
		Orientation: &landscape, Size: &paper, FitToWidth: &wide, FitToHeight: &high,
	}); err != nil {
		return err
	}
	return b.file.SetHeaderFooter(name, &excelize.HeaderFooterOptions{
		OddHeader: "&L" + headerText(b.doc.Title) + "&R" + headerText(period),
		OddFooter: "&L" + headerText(name) + "&RPage &P of &N",
	})
}

// headerMax keeps two texts and what is between them in the 255 that a header has.
const headerMax = 60

// headerText is a text for a header, in which & begins a command.
func headerText(s string) string {
	return strings.ReplaceAll(clipped(strings.Join(strings.Fields(s), " "), headerMax), "&", "&&")
}

// repeat has a row stand again on every page: the header of the one table, or of many
// the sheet's first row.
func (b *book) repeat(name string, headers []int) error {
	row := "1"
	if len(headers) == 1 {
		row = strconv.Itoa(headers[0])
	}
	return b.file.SetDefinedName(&excelize.DefinedName{
		Name: "_xlnm.Print_Titles", RefersTo: "'" + name + "'!$" + row + ":$" + row, Scope: name,
	})
}

// filter lets a reader choose among the rows of a sheet that is one table.
func (b *book) filter(name string, t *Table) error {
	rows := 1
	for i := range t.Rows {
		if !t.Rows[i].Total {
			rows++
		}
	}
	last, err := excelize.CoordinatesToCellName(max(len(t.Columns), 1), rows)
	if err != nil {
		return err
	}
	return b.file.AutoFilter(name, "A1:"+last, nil)
}

// Widths of columns, in characters, and of what is looked at to find them.
const (
	widthMin, widthMax = 10, 40
	widthRows          = 200
)

// widths of a sheet's columns, by what stands in their first rows and in their last,
// which is the total.
func (b *book) widths(sections []Section, first bool) []float64 {
	var out []float64
	see := func(i int, text string) {
		for len(out) <= i {
			out = append(out, widthMin)
		}
		out[i] = max(out[i], float64(min(utf8.RuneCountInString(text)+2, widthMax)))
	}
	facts := func(list []Fact) {
		for _, f := range list {
			see(0, f.Label)
			if f.Figure.Exact == "" {
				see(1, f.Value)
			} else {
				see(1, Group(f.Figure.Exact))
			}
		}
	}
	if first {
		facts(b.doc.Facts)
		for _, c := range b.doc.Cards {
			facts([]Fact{{Label: c.Label, Value: c.Value, Figure: c.Figure}})
		}
	}
	for i := range sections {
		facts(sections[i].Facts)
		for _, t := range sections[i].Tables {
			for c, col := range t.Columns {
				see(c, col.Name)
			}
			for n := range t.Rows {
				if n >= widthRows && n < len(t.Rows)-1 {
					continue
				}
				for c, v := range t.Rows[n].Cells {
					if t.Columns[c].Kind.numeric() {
						v = Group(v)
					}
					see(c, v)
				}
			}
		}
	}
	return out
}
