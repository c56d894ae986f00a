package typeset

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/go-text/typesetting/di"
	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/harfbuzz"
	"github.com/go-text/typesetting/language"
	"github.com/go-text/typesetting/shaping"
	"golang.org/x/image/math/fixed"
)

// Box stands for a letter that no font has.
const Box = '□'

// Text is a text as it is drawn.
type Text struct {
	Width float64 // in parts of the letters' size
	Runs  []Run   // from left to right
}

// Run is a part of a text in one font.
type Run struct {
	Letters string  // from left to right as they are seen
	Width   float64 // in parts of the letters' size
	Unit    float64 // of the outlines, in parts of the letters' size
	Glyphs  []Glyph
	face    *font.Font
}

// Glyph is one shape and where it stands from its run's beginning, in units.
type Glyph struct {
	X, Y    float64
	Outline []font.Segment
	ID      uint32 // in its font
}

// Setter sets the texts of one document. It isn't for several goroutines.
type Setter struct {
	book    *Book
	own     [2]*font.Face
	faces   map[*entry]*font.Face // nil where its file can't be read
	found   map[question]*font.Face
	shapes  map[shape][]font.Segment
	plain   map[rune]bool
	shaper  shaping.HarfbuzzShaper
	cutter  shaping.Segmenter
	weight  int    // of the text in hand
	cjk     string // its language
	current *font.Face
}

// question is which font has a letter.
type question struct {
	letter rune
	weight int
	cjk    string
}

// shape is one glyph of a font.
type shape struct {
	face *font.Face
	id   font.GID
}

// New returns what sets a document's texts with a book's fonts.
func New(book *Book) (*Setter, error) {
	fonts, err := own()
	if err != nil {
		return nil, err
	}
	s := &Setter{book: book, faces: map[*entry]*font.Face{}, found: map[question]*font.Face{}, shapes: map[shape][]font.Segment{}, plain: map[rune]bool{}}
	for i, f := range fonts {
		s.own[i] = font.NewFace(f)
	}
	return s, nil
}

// Plain tells whether a text is drawn one letter after another with the own font.
func (s *Setter) Plain(text string) bool {
	for _, r := range text {
		is, known := s.plain[r]
		if !known {
			_, has := s.own[0].NominalGlyph(r)
			is = has && r < 0xFFFF && !turns(r) && !joins(r)
			s.plain[r] = is
		}
		if !is {
			return false
		}
	}
	return true
}

// Known is a text with a box for each letter that no font has, and whether it has none.
func (s *Setter) Known(text string) (known string, whole bool) {
	if s.Plain(text) {
		return text, true
	}
	whole = true
	s.weight, s.cjk = 0, languageOf(text)
	known = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case s.find(r) != nil:
			return r
		case harfbuzz.IsDefaultIgnorable(r):
			if turns(r) {
				return r
			}
			return -1
		}
		whole = false
		return Box
	}, text)
	return known, whole
}

// languageOf Chinese, Japanese and Korean, as their fonts name it.
func languageOf(text string) string {
	for _, r := range text {
		switch {
		case unicode.In(r, unicode.Hiragana, unicode.Katakana):
			return "JP"
		case unicode.Is(unicode.Hangul, r):
			return "KR"
		case unicode.Is(unicode.Bopomofo, r):
			return "TC"
		}
	}
	return "SC"
}

// find gives the font of a letter; nil: there is none.
func (s *Setter) find(r rune) *font.Face {
	q := question{r, s.weight, s.cjk}
	face, known := s.found[q]
	if known {
		return face
	}
	if _, has := s.own[s.weight].NominalGlyph(r); has {
		face = s.own[s.weight]
	} else {
		face = s.ask(r)
	}
	s.found[q] = face
	return face
}

// ask looks for a letter in the book; of fonts for Chinese, Japanese and Korean that of
// the text's language comes first.
func (s *Setter) ask(r rune) *font.Face {
	var other *entry
	for _, e := range s.book.list(s.weight) {
		if _, has := e.letters.Lookup(r); !has {
			continue
		}
		if l := e.cjk(); l != "" && l != s.cjk {
			other = cmp.Or(other, e)
			continue
		}
		if other != nil && other.folder < e.folder {
			break
		}
		if f := s.open(e); f != nil {
			return f
		}
	}
	if other != nil {
		return s.open(other)
	}
	return nil
}

func (s *Setter) open(e *entry) *font.Face {
	face, known := s.faces[e]
	if !known {
		if f, err := e.font(); err == nil { // else as if it weren't there
			face = font.NewFace(f)
		}
		s.faces[e] = face
	}
	return face
}

// ResolveFace gives the font of the next letter: a mark's is that of the letter it stands on.
func (s *Setter) ResolveFace(r rune) *font.Face {
	if s.current != nil && unicode.Is(unicode.M, r) {
		if _, has := s.current.NominalGlyph(r); has {
			return s.current
		}
	}
	if face := s.find(r); face != nil {
		s.current = face
	} else {
		s.current = s.own[s.weight]
	}
	return s.current
}

// Set sets one line of text.
func (s *Setter) Set(text string, bold bool) *Text {
	s.weight, s.cjk = 0, languageOf(text)
	if bold {
		s.weight = 1
	}
	out := &Text{}
	for _, p := range order([]rune(text)) {
		in := shaping.Input{Text: p.letters, RunEnd: len(p.letters), Language: language.NewLanguage("en")}
		if p.right {
			in.Direction = di.DirectionRTL
		}
		s.current = nil
		inputs := slices.Clone(s.cutter.Split(in, s))
		if p.right {
			slices.Reverse(inputs)
		}
		for _, in := range inputs {
			out.add(s.run(in))
		}
	}
	return out
}

// add puts a run behind the others; what is in one font is one run, of whatever scripts.
func (t *Text) add(run Run) {
	t.Width += run.Width
	if n := len(t.Runs); n > 0 && t.Runs[n-1].face == run.face {
		last := &t.Runs[n-1]
		for _, g := range run.Glyphs {
			g.X += last.Width / last.Unit
			last.Glyphs = append(last.Glyphs, g)
		}
		last.Letters += run.Letters
		last.Width += run.Width
		return
	}
	t.Runs = append(t.Runs, run)
}

// run shapes what is of one font, script and direction.
func (s *Setter) run(in shaping.Input) Run {
	in.Size = fixed.I(int(in.Face.Upem())) // so that measures are the font's own units
	shaped := s.shaper.ShapeNoExtents(in)
	unit := 1 / math.Max(float64(in.Face.Upem()), 1)
	run := Run{Unit: unit, face: in.Face.Font, Glyphs: make([]Glyph, 0, len(shaped.Glyphs))}
	at := 0.0
	for i := range shaped.Glyphs {
		g := &shaped.Glyphs[i]
		run.Glyphs = append(run.Glyphs, Glyph{
			X: at + units(g.XOffset), Y: units(g.YOffset), ID: uint32(g.GlyphID), Outline: s.outline(in.Face, g.GlyphID),
		})
		at += units(g.Advance)
	}
	letters := slices.Clone(in.Text[in.RunStart:in.RunEnd])
	if in.Direction == di.DirectionRTL {
		slices.Reverse(letters)
	}
	run.Letters, run.Width = string(letters), at*unit
	return run
}

// outline of a glyph, none for one that isn't seen.
func (s *Setter) outline(face *font.Face, id font.GID) []font.Segment {
	key := shape{face, id}
	path, known := s.shapes[key]
	if !known {
		if o, ok := face.GlyphDataOutline(id); ok {
			path = o.Segments
		}
		s.shapes[key] = path
	}
	return path
}

func units(v fixed.Int26_6) float64 { return float64(v) / 64 }
