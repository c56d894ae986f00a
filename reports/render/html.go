package render

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

//go:embed page.gohtml
var pageText string

//go:embed page.css
var pageCSS string

// longTable is how many rows a table has at most to be shown unfolded.
const longTable = 12

// navSections is from how many sections on the page has a table of contents.
const navSections = 4

// HTML writes the document as one page that stands alone: styles and pictures
// are inside, nothing is asked for from outside, nothing runs.
func HTML(w io.Writer, d *Document) error {
	many, places := d.details() > OpenDetails, map[string]string{}
	for i := range d.Sections {
		if s := &d.Sections[i]; s.Details != "" {
			places[s.Details] = anchor(i)
		}
	}
	t, err := template.New("page").Funcs(template.FuncMap{
		"css":     func() template.CSS { return template.CSS(pageCSS) }, //nolint:gosec // our own file
		"columns": columnChart,
		"bars":    barChart,
		"named":   func(label string) string { name, _ := splitLabel(label); return name },
		"besides": func(label string) string { _, id := splitLabel(label); return id },
		"cell":    cellText,
		"percent": func(k Kind) bool { return k == Percent },
		"whole":   wholeOf,
		"numeric": Kind.numeric,
		"level":   func(r Row, i int) Level { return levelOf(r, i) },
		"long":    func(t Table) bool { return len(t.Rows) > longTable },
		"folded":  func(s Section) bool { return s.Details != "" && many },
		"many":    func() bool { return many },
		"leads":   func(r Row) string { return places[r.Details] },
		"width":   cardWidth, "factClass": factClass,
		"longNames": longNames,
		"longWord":  func(s string) bool { return utf8.RuneCountInString(s) > longText },
		"capped":    func(n int) int { return min(max(n, 0), 100) },
		"full":      fullness,
		"anchor":    anchor,
		"nav":       func(d *Document) bool { return len(d.Sections) >= navSections },
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("write HTML: %w", err)
	}
	if err := t.Execute(w, d); err != nil {
		return fmt.Errorf("write HTML: %w", err)
	}
	return nil
}

// splitLabel into a name and what stands beside it: that is never cut.
func splitLabel(label string) (name, beside string) {
	if at := strings.LastIndex(label, Beside); at >= 0 {
		return label[:at], label[at:]
	}
	return label, ""
}

// anchor of a section by its index.
func anchor(i int) string { return "s" + strconv.Itoa(i+1) }

// longName is from how many letters on the labels of bars have more room.
const longName = 16

func longNames(c Chart) bool {
	return slices.ContainsFunc(c.Bars, func(b Bar) bool { return utf8.RuneCountInString(b.Label) > longName })
}

// longText is from how many letters on a table's text may break.
const longText = 40

// cardWidth is how wide a card's figure is, in digits: it is set smaller where it is too
// wide for the card, for a figure never breaks.
func cardWidth(c Card) int {
	n := utf8.RuneCountInString(c.Value)
	if c.Unit != "" {
		n += 1 + (utf8.RuneCountInString(c.Unit)*3+4)/5 // smaller letters
	}
	return max(n, 1)
}

// wideFact is from how many letters on a figure has a line of its own on a phone.
const wideFact = 18

// factClass of a figure, which never breaks; "" of other facts.
func factClass(value string) string {
	figure, currency, _ := strings.Cut(value, " ") // of thousands the space is another
	switch {
	case strings.Trim(figure, "−0123456789.\u202f") != "" || !strings.ContainsAny(figure, "0123456789") || len(currency) > len("EUR"):
		return ""
	case utf8.RuneCountInString(value) > wideFact:
		return "n wide"
	}
	return "n"
}

func levelOf(r Row, i int) Level {
	if i < len(r.Levels) && r.Levels[i] != Plain {
		return r.Levels[i]
	}
	return ""
}

// fullness of a bar decides its colour.
func fullness(percent int) Level {
	switch {
	case percent >= 100:
		return Bad
	case percent >= 80:
		return Warn
	default:
		return Good
	}
}

// wholeOf a decimal, without what is after the point.
func wholeOf(v string) int {
	whole, _, _ := strings.Cut(v, ".")
	n, err := strconv.Atoi(whole)
	if err != nil {
		return 0
	}
	return n
}

// cellText is a cell for people: thousands apart; amounts of a column have
// equally many decimals, so that they stand below each other.
func cellText(t Table, column int, v string) string {
	switch t.Columns[column].Kind {
	case Count, Number:
		return Group(v)
	case Money:
		return Group(padded(v, decimals(t, column)))
	case Text, Date, Percent, Price, Time:
	}
	return v
}

// decimals are the most that an amount of a column has.
func decimals(t Table, column int) int {
	most := 0
	for _, r := range t.Rows {
		if _, frac, ok := strings.Cut(r.Cells[column], "."); ok {
			most = max(most, len(frac))
		}
	}
	return most
}

// padded has zeros after its last decimal.
func padded(v string, decimals int) string {
	if v == "" || !plainNumber(v) {
		return v
	}
	_, frac, dot := strings.Cut(v, ".")
	if !dot && decimals > 0 {
		v += "."
	}
	return v + strings.Repeat("0", decimals-len(frac))
}

// Group puts narrow spaces between the thousands of a plain decimal.
func Group(s string) string {
	if !plainNumber(s) {
		return s
	}
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "−", s[1:]
	}
	whole, frac, dot := strings.Cut(s, ".")
	var b strings.Builder
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString("\u202f")
		}
		b.WriteByte(whole[i])
	}
	if dot {
		return sign + b.String() + "." + frac
	}
	return sign + b.String()
}
