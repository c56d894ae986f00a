package typeset

import (
	"slices"
	"strings"
	"unicode"

	"github.com/go-text/typesetting/bidi"
	"github.com/go-text/typesetting/harfbuzz"
	"github.com/go-text/typesetting/segmenter"
)

// Characters that set a part of a text apart: its direction is its own, and what stands
// around it isn't turned by it.
const (
	leftIsolate, rightIsolate, firstIsolate, popIsolate = '\u2066', '\u2067', '\u2068', '\u2069'
	leftEmbedding, rightOverride                        = '\u202a', '\u202e'
)

// stand stands for a part that is set apart while the rest is ordered.
const stand = '\ufffc'

// Isolated is a part of a text, set apart where it is written from right to left: a name
// in Hebrew would else turn round the figures after it.
func Isolated(s string) string {
	for _, r := range s {
		if turns(r) {
			return string(firstIsolate) + s + string(popIsolate)
		}
	}
	return s
}

// Bare is a text without what sets its parts apart.
func Bare(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= leftIsolate && r <= popIsolate {
			return -1
		}
		return r
	}, s)
}

// turns tells whether a text with this letter has an order other than from left to right.
func turns(r rune) bool {
	if r < 0x590 {
		return false
	}
	if r >= leftEmbedding && r <= rightOverride || r >= leftIsolate && r <= popIsolate || r == '\u200f' || r == '\u061c' {
		return true
	}
	return r <= 0x8ff || r >= 0xfb1d && r <= 0xfdff || r >= 0xfe70 && r <= 0xfeff || r >= 0x10800 && r <= 0x10fff || r >= 0x1e800 && r <= 0x1efff
}

// joins tells whether a letter depends on its neighbours.
func joins(r rune) bool {
	return unicode.Is(unicode.M, r) || harfbuzz.IsDefaultIgnorable(r)
}

// part is a piece of a text that has one direction.
type part struct {
	letters []rune
	right   bool // it is written from right to left
}

// order cuts a text into parts, from the left to the right of where they are seen.
func order(text []rune) []part {
	outer, inner := setApart(text)
	runs := levels(outer)
	var out []part
	for _, r := range runs {
		out = append(out, unfold(outer[r.Start:r.End], !r.IsLeftToRight(), inner, before(outer, r.Start))...)
	}
	return out
}

// before counts the parts set apart that stand before a place.
func before(text []rune, at int) (n int) {
	for _, r := range text[:at] {
		if r == stand {
			n++
		}
	}
	return n
}

// unfold puts what was set apart into its place again.
func unfold(run []rune, right bool, inner [][]rune, next int) []part {
	var out [][]part
	from := 0
	for i, r := range run {
		if r != stand {
			continue
		}
		out = append(out, []part{{run[from:i], right}}, order(inner[next]))
		from = i + 1
		next++
	}
	out = append(out, []part{{run[from:], right}})
	if right {
		slices.Reverse(out)
	}
	return slices.DeleteFunc(slices.Concat(out...), func(p part) bool { return len(p.letters) == 0 })
}

// setApart takes out the parts that isolates enclose. What would turn text round without
// being a letter is left out: nobody's name may turn what stands beside it. So are isolates
// within isolates.
func setApart(text []rune) (outer []rune, inner [][]rune) {
	depth := 0
	for _, r := range text {
		switch {
		case r >= leftIsolate && r <= firstIsolate:
			if depth++; depth == 1 {
				outer, inner = append(outer, stand), append(inner, nil)
			}
			continue
		case r == popIsolate:
			depth = max(depth-1, 0)
			continue
		case r >= leftEmbedding && r <= rightOverride, r == stand:
			continue
		case r == '\u2028', r == '\u2029', unicode.IsControl(r):
			r = ' ' // a text is one line
		}
		switch {
		case depth > 0:
			inner[len(inner)-1] = append(inner[len(inner)-1], r)
		default:
			outer = append(outer, r)
		}
	}
	return outer, inner
}

// levels are the runs of a text by how deep its directions are nested, in the order in
// which they are seen (rule L2 of UAX #9). The text's own direction is its first letter's.
func levels(text []rune) []bidi.Run {
	var p bidi.Paragraph
	runs := p.Segment(text, bidi.Neutral)
	var out []bidi.Run
	most, right := bidi.Level(0), rightToLeft(text)
	for i := range runs.NumRuns() {
		r := runs.Run(i)
		most = max(most, r.Level)
		// A figure after a word from right to left belongs to it (2), what follows doesn't
		// (0): both run from left to right, so they come as one.
		if r.Level == 2 && !right {
			if end := r.Start + figure(text[r.Start:r.End]); end < r.End {
				out = append(out, bidi.Run{Start: r.Start, End: end, Level: 2})
				r = bidi.Run{Start: end, End: r.End}
			}
		}
		out = append(out, r)
	}
	for level := most; level > 0; level-- {
		for i := 0; i < len(out); i++ {
			from := i
			for i < len(out) && out[i].Level >= level {
				i++
			}
			slices.Reverse(out[from:i])
		}
	}
	return out
}

// figure is how many letters a text has up to the end of the figure that it begins with.
func figure(text []rune) int {
	var p bidi.Paragraph
	runs := p.Segment(text, bidi.RightToLeft)
	if runs.NumRuns() == 0 {
		return 0
	}
	return runs.Run(0).End
}

// rightToLeft tells how a text as a whole is written: a space at its end has that direction.
func rightToLeft(text []rune) bool {
	var p bidi.Paragraph
	runs := p.Segment(append(slices.Clone(text), ' '), bidi.Neutral)
	last := runs.Run(runs.NumRuns() - 1)
	return !last.IsLeftToRight()
}

// Clusters cuts a text between what readers take for letters.
func Clusters(s string) []string {
	var g segmenter.Segmenter
	g.Init([]rune(s))
	var out []string
	for i := g.GraphemeIterator(); i.Next(); {
		out = append(out, string(i.Grapheme().Text))
	}
	return out
}

// Breaks cuts a text where its lines may break.
func Breaks(s string) []string {
	var g segmenter.Segmenter
	g.Init([]rune(s))
	var out []string
	for i := g.LineIterator(); i.Next(); {
		out = append(out, string(i.Line().Text))
	}
	return out
}

// Line is a line of a text in the text's own direction, where that isn't the line's.
func Line(text, line string) string {
	if right := rightToLeft([]rune(text)); right != rightToLeft([]rune(line)) {
		if right {
			return "\u200f" + line
		}
		return "\u200e" + line
	}
	return line
}
