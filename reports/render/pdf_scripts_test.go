package render

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"codeberg.org/go-pdf/fpdf"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meterd/meterd/reports/render/typeset"
)

// inScripts are names, and how they stand in a page's drawing: from left to right.
func inScripts() [][2]string {
	return [][2]string{
		{"हिन्दी क्षत्रिय", "हिन्दी क्षत्रिय"},
		{"骨直商店", "骨直商店"},
		{"骨直カフェ", "骨直カフェ"},
		{"한국어 가게", "한국어 가게"},
		{"น้ำตกที่นี่", "น้ำตกที่นี่"},
		{"متجر عربي", "يبرع رجتم"},
		{"חנות שלום", "םולש תונח"},
		{"𠮷野家", "𠮷野家"},
		{"Łódź", "Łódź"},
	}
}

func scripts() *Document {
	d := &Document{AsOf: time.Date(2026, 12, 4, 3, 0, 0, 0, time.UTC), Title: "חנות שלום", Subtitle: "Statement", Currency: "EUR", Digits: 2}
	table := Table{Caption: "Accounts", Columns: []Column{{"Account", Text}, {"Name", Text}, {"Amount", Money}}}
	bars := Chart{Caption: "By account", Series: []string{"x"}, Rows: true}
	for _, n := range inScripts() {
		table.Rows = append(table.Rows, Row{Cells: []string{"a", n[0], "12.50"}})
		bars.Bars = append(bars.Bars, Bar{Label: Isolated(n[0]) + " · a", Values: []string{"5"}, Text: "5.00 EUR"})
		d.Facts = append(d.Facts, Fact{Label: "Name", Value: n[0]})
		d.Notes = append(d.Notes, Note{Plain, strings.Repeat(n[0]+" ", 30)})
		d.Sections = append(d.Sections, Section{Title: n[0], Subtitle: "a", Empty: "No messages."})
	}
	d.Sections = append(d.Sections, Section{Title: "Overview", Charts: []Chart{bars}, Tables: []Table{table}})
	return d
}

func TestPDFHasNamesOfEveryScript(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, PDF(&b, scripts()))
	text := pdfText(t, b.Bytes())
	for _, n := range inScripts() {
		require.GreaterOrEqual(t, strings.Count(text, drawn(n[1])), 5, "%s: run `deploy/setup.sh --tests` if its font is missing", n[0])
		require.Contains(t, b.String(), "\xfe\xff"+drawn(Isolated(n[0])+" · a"), "the outline has the names as they are")
	}
	require.NotContains(t, text, drawn(string(typeset.Box)))
	require.Contains(t, b.String(), "/Title (\xfe\xff"+drawn("חנות שלום · Statement"))
	require.Equal(t, strings.Count(text, "BDC"), strings.Count(text, "EMC"))
	require.Equal(t, strings.Count(text, "3 Tr"), strings.Count(text, "0 Tr"))
}

// TestPDFAlone: without fonts the letters that nobody can draw are boxes, the file is
// whole, and what tells of it says so.
func TestPDFAlone(t *testing.T) {
	t.Parallel()
	book := typeset.NewBook(t.TempDir())
	var b bytes.Buffer
	require.NoError(t, pdfWith(&b, scripts(), book))
	text := pdfText(t, b.Bytes())
	require.Contains(t, text, drawn("םולש תונח"))
	require.Contains(t, text, drawn("□□□□"))
	require.Contains(t, b.String(), drawn("骨直商店"), "the outline needs no font")
	lacks, err := lacksOf(book)
	require.NoError(t, err)
	var without []string
	for _, n := range inScripts() {
		if lacks(n[0]) {
			without = append(without, n[0])
		}
	}
	require.Equal(t, []string{"हिन्दी क्षत्रिय", "骨直商店", "骨直カフェ", "한국어 가게", "น้ำตกที่นี่", "𠮷野家"}, without)
}

// TestPDFsAtOnceAreAlike: fonts are shared, documents aren't.
func TestPDFsAtOnceAreAlike(t *testing.T) {
	t.Parallel()
	files := make([]bytes.Buffer, 3)
	errs := make([]error, len(files))
	var all sync.WaitGroup
	for i := range files {
		all.Go(func() { errs[i] = PDF(&files[i], scripts()) })
	}
	all.Wait()
	for i := range files {
		require.NoError(t, errs[i])
		require.True(t, bytes.Equal(files[0].Bytes(), files[i].Bytes()))
	}
}

// page is a PDF that tests write on.
func page(t *testing.T) *pdf {
	t.Helper()
	set, err := typeset.New(typeset.System())
	require.NoError(t, err)
	p := &pdf{f: fpdf.New("L", "mm", "A4", ""), doc: &Document{}, set: set, sets: map[setKey]*typeset.Text{}}
	p.open()
	p.style("", textSize, inkMain)
	return p
}

func TestTextsAreCutBetweenLetters(t *testing.T) {
	t.Parallel()
	p := page(t)
	require.Equal(t, "Plain n…", p.cut("Plain name", p.width("Plain n…")))
	require.Equal(t, "क्षि…", p.cut("क्षिक्षिक्षि", p.width("क्षि…")))
	require.Equal(t, "骨直…", p.cut("骨直商店", p.width("骨直…")+0.1))
	cut := p.cut("שלום שלום שלום", p.width("שלום…")+0.1)
	require.Equal(t, "שלום…", cut)
	require.True(t, strings.HasPrefix(p.setting(cut).Runs[0].Letters, "…"), "the dots stand at the left, where the text goes on")
	for _, name := range []string{"Plain name", "骨直商店骨直", Isolated("חנות שלום")} {
		label := p.beside(name+" · shop-1", 25)
		require.LessOrEqual(t, p.width(label), 25.02)
		require.Regexp(t, "…\u2069?"+" · shop-1$", label)
		require.Equal(t, name+" · shop-1", p.beside(name+" · shop-1", 60))
	}
	require.Equal(t, "a · shop-1", p.beside("a · shop-1", 5), "where there is no room for either")
	require.Equal(t, []string{"שלום", "\u200fabc"}, p.lines("שלום abc", p.width("שלום ")+0.1))
	require.Equal(t, []string{"骨直", "商店"}, p.lines("骨直商店", p.width("骨直")+0.1))
}

func TestAnyTextFitsItsPlace(t *testing.T) {
	t.Parallel()
	p := page(t)
	hard := rapid.SampledFrom([]string{"\u202e", "\u2067", "\u2069", "\u200d", "\u0301", "\xff", "🙂", "क्", "ि", "ب", "א", "5", "(", "a", " ", "\n", "한", "中", "𞤀"})
	texts := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(hard, 0, 40), func(l []string) string { return strings.Join(l, "") }))
	rapid.Check(t, func(r *rapid.T) {
		s := texts.Draw(r, "text")
		width := rapid.Float64Range(1, 60).Draw(r, "width")
		cut := p.cut(p.text(s), width)
		require.True(r, cut == "…" || p.width(cut) <= width+0.02, "%q", cut)
		kept, ended := strings.CutSuffix(cut, "…")
		require.True(r, cut == p.text(s) || ended && strings.HasPrefix(p.text(s), kept))
		lines := p.lines(s, width)
		for _, l := range lines {
			l = strings.Trim(l, "\u200e\u200f")
			require.True(r, p.width(l) <= width*1.2+1 || len(typeset.Clusters(l)) < 3, "%q", l)
		}
		letters := func(s string) string { // without what a line's end swallows, and what turns a line
			return strings.Join(strings.Fields(strings.NewReplacer("\u200e", "", "\u200f", "").Replace(s)), "")
		}
		require.Equal(r, letters(p.text(s)), letters(strings.Join(lines, "")))
		p.at(10, 10, s, "R", width)
		p.figure(10, 10, s, "C", width)
		require.True(r, utf8.ValidString(p.text(s)))
		p.f.Bookmark(p.label(s), 0, 10)
	})
	require.NoError(t, p.f.Output(io.Discard))
}

func TestHTMLSetsTextsApart(t *testing.T) {
	t.Parallel()
	d := scripts()
	var b bytes.Buffer
	require.NoError(t, HTML(&b, d))
	for _, n := range inScripts() {
		for _, place := range []string{
			`<td dir="auto">` + n[0] + `</td>`, `<dd dir="auto">` + n[0] + `</dd>`, `<h2><span dir="auto">` + n[0] + `</span>`,
			`<span dir="auto">` + n[0] + `</span> · a</a>`, `title="` + Isolated(n[0]) + ` · a"><span dir="auto">` + Isolated(n[0]) + `</span><small> · a</small>`,
		} {
			require.Contains(t, b.String(), place)
		}
	}
	require.Contains(t, b.String(), `<h1 dir="auto">חנות שלום</h1>`)
	require.Contains(t, b.String(), `<td class="num">12.50</td>`)
	require.True(t, slices.ContainsFunc(d.Notes, func(n Note) bool { return strings.Contains(b.String(), `dir="auto">`+n.Text+`</p>`) }))
}

// BenchmarkPDFOfNames is of 200 accounts with names that need other fonts, and of as many
// that need none.
func BenchmarkPDFOfNames(b *testing.B) {
	for _, c := range []struct{ name, prefix string }{{"plain", "Account number "}, {"cjk", "株式会社東京商店街"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			d := &Document{AsOf: time.Date(2026, 12, 4, 3, 0, 0, 0, time.UTC), Title: c.prefix, Subtitle: "Statement", Currency: "EUR", Digits: 2}
			t := Table{Caption: "Accounts", Columns: []Column{{"Account", Text}, {"Name", Text}, {"Amount", Money}}}
			d.Sections = make([]Section, 1, 201)
			for i := range 200 {
				name := c.prefix + string(rune('一'+i*7%200)) + strings.Repeat("x", i%3)
				if c.name == "plain" {
					name = c.prefix + strings.Repeat("x", i%7)
				}
				t.Rows = append(t.Rows, Row{Cells: []string{"a", name, "12.50"}})
				d.Sections = append(d.Sections, Section{Title: name, Subtitle: "a", Facts: []Fact{{Label: "Account", Value: "a"}, {Label: "Billable", Value: "12.50 EUR"}}, Tables: []Table{{
					Caption: "By day", Columns: []Column{{"Day", Text}, {"Amount", Money}}, Rows: slices.Repeat([]Row{{Cells: []string{"2026-11-01", "12.50"}}}, 10),
				}}})
			}
			d.Sections[0] = Section{Title: "Overview", Tables: []Table{t}}
			for b.Loop() {
				var out bytes.Buffer
				if err := PDF(&out, d); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(out.Len()), "file-bytes")
			}
		})
	}
}
