package typeset

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// names in scripts that need more than one letter after another.
var names = map[string]string{
	"Hindi": "हिन्दी क्षत्रिय", "Chinese": "骨直商店", "Japanese": "骨直カフェ", "Korean": "한국어 가게", "Thai": "น้ำตกที่นี่",
	"Arabic": "متجر عربي", "Hebrew": "חנות שלום", "Bengali": "শিক্ষা", "Tamil": "தமிழ்", "rare": "𠮷野家",
}

func setter(t *testing.T, folders ...string) *Setter {
	t.Helper()
	book := System()
	if len(folders) > 0 {
		book = NewBook(folders...)
	}
	s, err := New(book)
	require.NoError(t, err)
	return s
}

// glyphs of a text as it is set.
func glyphs(t *Text) []uint32 {
	var out []uint32
	for _, r := range t.Runs {
		for _, g := range r.Glyphs {
			out = append(out, g.ID)
		}
	}
	return out
}

func letters(t *Text) string {
	var b strings.Builder
	for _, r := range t.Runs {
		b.WriteString(r.Letters)
	}
	return b.String()
}

func TestEveryScriptHasAFont(t *testing.T) {
	t.Parallel()
	s := setter(t)
	for script, name := range names {
		known, whole := s.Known(name)
		require.True(t, whole, "no font for %s: run `deploy/setup.sh --tests`", script)
		require.Equal(t, name, known)
		require.False(t, s.Plain(name))
		for _, bold := range []bool{false, true} {
			set := s.Set(name, bold)
			require.NotContains(t, glyphs(set), uint32(0), "%s: a letter that its font lacks", script)
			require.Positive(t, set.Width)
			for _, r := range set.Runs {
				drawn := slices.ContainsFunc(r.Glyphs, func(g Glyph) bool { return len(g.Outline) > 0 })
				require.True(t, drawn || strings.TrimSpace(r.Letters) == "", "%s: %q isn't drawn", script, r.Letters)
			}
		}
		require.NotEqual(t, s.Set(name, false).Runs[0].Glyphs[0].Outline, s.Set(name, true).Runs[0].Glyphs[0].Outline, "%s: headings are bold", script)
	}
}

func TestLettersAreShaped(t *testing.T) {
	t.Parallel()
	s := setter(t)
	ksha := s.Set("क्षि", false)
	require.Less(t, len(glyphs(ksha)), 4, "three letters and a sign become one shape and the sign")
	require.Equal(t, glyphs(s.Set("क", false))[0], glyphs(s.Set("कि", false))[1], "the sign stands before the letter that it follows")

	joined, alone := glyphs(s.Set("ببب", false)), glyphs(s.Set("ب", false))
	require.Len(t, joined, 3)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(append(joined, alone...)))), 4, "first, middle, last and alone are four shapes")

	thai := s.Set("ที่", false).Runs[0]
	require.Less(t, thai.Width, s.Set("ทท", false).Width, "marks take no room")
	require.Equal(t, "SC", languageOf("骨"))
	require.NotEqual(t, s.Set("骨", false).Runs[0].Glyphs[0].Outline, s.Set("骨カ", false).Runs[0].Glyphs[0].Outline, "Japanese has its own shapes")
}

func TestTextStandsInItsDirection(t *testing.T) {
	t.Parallel()
	s := setter(t)
	for text, want := range map[string]string{
		"שלום":                        "םולש",
		"שלום abc":                    "abc םולש",
		"שלום 123":                    "123 םולש",
		"abc שלום 5 def":              "abc 5 םולש def",
		"abc שלום 1,234.50 EUR":       "abc 1,234.50 םולש EUR",
		"חנות (5) abc":                "abc )5( תונח", // drawn as (5)
		Isolated("שלום 5") + " · 7":   "5 םולש · 7",
		"7 · " + Isolated("abc שלום"): "7 · abc םולש",
		Isolated("abc") + " 5":        "abc 5",
		"א " + Isolated("ב ג") + " ד": "ד ג ב א",
		"\u202eabc\u202c 12":          "abc 12",
		"\u2067abc":                   "abc",
		"متجر ٢٠٢٦":                   "٢٠٢٦ رجتم",
		"a\u2029b\nc\x00d":            "a b c d",
		"":                            "",
	} {
		require.Equal(t, want, letters(s.Set(text, false)), "%q", text)
	}
	require.Equal(t, "Łódź", Isolated("Łódź"), "what needs no isolation gets none")
}

func TestBrackets(t *testing.T) {
	t.Parallel()
	s := setter(t)
	left, right := glyphs(s.Set("(a", false))[0], glyphs(s.Set("a)", false))[1]
	require.NotEqual(t, left, right)
	hebrew := glyphs(s.Set("(א)", false))
	require.Equal(t, []uint32{left, right}, []uint32{hebrew[0], hebrew[2]}, "they open at the right, as the text does")
}

func TestLines(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"שלום ", "abc ", "def"}, Breaks("שלום abc def"))
	require.Equal(t, "\u200fabc ", Line("שלום abc def", "abc "), "a line stands as its text does")
	require.Equal(t, "\u200eשלום", Line("abc שלום", "שלום"))
	require.Equal(t, "abc", Line("abc def", "abc"))
	require.Equal(t, []string{"क्षि", "क", "e\u0301", "👩‍👩‍👧"}, Clusters("क्षिकe\u0301👩‍👩‍👧"))
}

func TestWithoutFonts(t *testing.T) {
	t.Parallel()
	s := setter(t, t.TempDir(), filepath.Join(t.TempDir(), "missing"))
	for script, name := range names {
		known, whole := s.Known(name)
		switch script {
		case "Arabic", "Hebrew":
			require.True(t, whole, "%s comes with meterd", script)
		default:
			require.False(t, whole, script)
			require.Contains(t, known, string(Box))
			require.NotContains(t, glyphs(s.Set(name, false)), uint32(1)<<31)
		}
	}
	known, whole := s.Known("Łódź\u00ad\ufe0f 🙂")
	require.False(t, whole)
	require.Equal(t, "Łódź\u00ad\ufe0f "+string(Box), known, "what isn't seen has no box")
}

// TestFoldersThatAreNoFonts: files that lie are passed over, and what goes away while
// it is in use is missing, no more.
func TestFoldersThatAreNoFonts(t *testing.T) {
	t.Parallel()
	font, err := os.ReadFile(filepath.Join(notoTrueType, "NotoSansDevanagari-Regular.ttf"))
	require.NoError(t, err, "run `deploy/setup.sh --tests`")
	dir := t.TempDir()
	for name, text := range map[string][]byte{
		"a.ttf": nil, "b.ttc": []byte("ttcf\x00\x01\x00\x00\xff\xff\xff\xff"), "c.otf": font[:len(font)/2], "d.txt": font, "e.TTF": font[:100],
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	s := setter(t, dir)
	s.Known("हिन्दी")
	s.Set("हिन्दी", true)

	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.ttf"), font, 0o600))
	book := NewBook(dir)
	require.Len(t, book.list(0), 1)
	require.NoError(t, os.Remove(filepath.Join(dir, "x.ttf")))
	s, err = New(book)
	require.NoError(t, err)
	_, whole := s.Known("हिन्दी")
	require.False(t, whole)
}

// TestAFolderOfOnesOwnComesFirst, whatever its fonts are called.
func TestAFolderOfOnesOwnComesFirst(t *testing.T) {
	t.Parallel()
	font, err := os.ReadFile(filepath.Join(notoTrueType, "NotoSerifDevanagari-Regular.ttf"))
	require.NoError(t, err, "run `deploy/setup.sh --tests`")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.ttf"), font, 0o600))
	book := NewBook(dir, notoTrueType, notoOpenType)
	require.Equal(t, filepath.Join(dir, "x.ttf"), book.list(0)[0].path)
	s, err := New(book)
	require.NoError(t, err)
	require.NotEqual(t, s.Set("क", false).Runs[0].Glyphs[0].Outline, setter(t).Set("क", false).Runs[0].Glyphs[0].Outline)
}

// texts are any at all, and those that are known to be hard.
func texts() *rapid.Generator[string] {
	hard := []string{
		"\u202e", "\u2066", "\u2067", "\u2068", "\u2069", "\u200f", "\u200d", "\ufe0f", "\u0301", "\u0e33", "\xff", "\xed\xa0\x80", "🙂", "👩‍👩‍👧", "क्", "ि",
		"ب", "א", "5", "(", ")", "a", " ", "\n", "\u2029", "\x00", "한", "\u1160", "中", "\ufffc", "\ufeff", "𞤀", "\U000e0001", "\ue000", "\U0010ffff",
	}
	return rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.SampledFrom(hard), 0, 30), func(l []string) string { return strings.Join(l, "") }))
}

func TestAnyTextIsSet(t *testing.T) {
	t.Parallel()
	s, twin, none := setter(t), setter(t), setter(t, t.TempDir())
	rapid.Check(t, func(r *rapid.T) {
		text := texts().Draw(r, "text")
		for _, s := range []*Setter{s, none} {
			known, whole := s.Known(text)
			again, _ := s.Known(known)
			require.Equal(r, known, again)
			require.Equal(r, !whole, strings.Count(known, string(Box)) > strings.Count(text, string(Box)))
			if !s.Plain(known) {
				require.GreaterOrEqual(r, s.Set(known, true).Width, 0.0)
			}
		}
		require.Equal(r, s.Set(text, false), twin.Set(text, false))
		require.Equal(r, strings.ToValidUTF8(text, "\ufffd") == text, strings.Join(Clusters(text), "") == text)
		require.Equal(r, strings.Join(Clusters(text), ""), strings.Join(Breaks(text), ""))
	})
}

func TestLongTexts(t *testing.T) {
	t.Parallel()
	s := setter(t)
	for _, part := range []string{"\u0301", "\u2068", "\u2068א", "א5a", "क्षि", "中", "(א", "\u202e", "👩‍"} {
		begun := time.Now()
		text, _ := s.Known(strings.Repeat(part, 3_000))
		s.Set(text, false)
		require.Less(t, time.Since(begun), time.Minute, "%q", part)
	}
}
