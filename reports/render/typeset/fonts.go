package typeset

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"weak"

	"github.com/go-fonts/dejavu/dejavusanscondensed"
	"github.com/go-fonts/dejavu/dejavusanscondensedbold"
	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/font/opentype"
	"github.com/go-text/typesetting/font/opentype/tables"
)

// Folder names the environment variable with a folder of fonts that is looked in first.
const Folder = "METERD_FONTS"

// Where Debian's packages fonts-noto-core and fonts-noto-cjk put theirs.
const notoTrueType, notoOpenType = "/usr/share/fonts/truetype/noto", "/usr/share/fonts/opentype/noto"

// filesMost bounds what is looked through. All that Debian has of Noto is a third of it.
const filesMost = 4000

// The weights of text, and of headings.
const plainWeight, boldWeight = font.WeightNormal, font.WeightBold

// Book knows the fonts of some folders. It may be used by many goroutines.
type Book struct {
	folders []string
	scan    sync.Once
	faces   [2][]*entry // for text, and for headings: the best first
}

// NewBook returns the fonts of these folders, which needn't exist. They are looked
// through when a letter is first asked for that the own font lacks.
func NewBook(folders ...string) *Book { return &Book{folders: folders} }

// System is the machine's fonts.
//
//nolint:gochecknoglobals // what the folders hold is read once
var System = sync.OnceValue(func() *Book {
	return NewBook(os.Getenv(Folder), notoTrueType, notoOpenType)
})

// own are the fonts that the PDF brings along.
//
//nolint:gochecknoglobals // constant
var own = sync.OnceValues(func() ([2]*font.Font, error) {
	var out [2]*font.Font
	for i, file := range [][]byte{dejavusanscondensed.TTF, dejavusanscondensedbold.TTF} {
		face, err := font.ParseTTF(bytes.NewReader(file))
		if err != nil {
			return out, fmt.Errorf("read the font: %w", err)
		}
		out[i] = face.Font
	}
	return out, nil
})

// entry is one font of a file. Of it is kept which letters it has; what draws them only
// as long as a document needs it, for the fonts of Chinese are large.
type entry struct {
	path    string
	at      int // in its file
	folder  int
	about   font.Description
	letters font.Cmap

	mu     sync.Mutex
	loaded weak.Pointer[font.Font]
}

// font gives what draws it, which is read from the file unless a document has it.
func (e *entry) font() (*font.Font, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f := e.loaded.Value(); f != nil {
		return f, nil
	}
	f, err := e.read()
	if err == nil {
		e.loaded = weak.Make(f)
	}
	return f, err
}

var errBroken = errors.New("it is broken, or has changed since it was found")

func (e *entry) read() (f *font.Font, err error) {
	defer func() {
		if recover() != nil { // what reads it trusts it not to be cut short
			f, err = nil, fmt.Errorf("read the font %s: %w", e.path, errBroken)
		}
	}()
	file, err := os.Open(e.path)
	if err != nil {
		return nil, fmt.Errorf("read the font: %w", err)
	}
	defer func() { _ = file.Close() }()
	parts, err := opentype.NewLoaders(file)
	if err == nil && e.at >= len(parts) {
		err = errBroken
	}
	if err != nil {
		return nil, fmt.Errorf("read the font %s: %w", e.path, err)
	}
	if f, err = font.NewFont(parts[e.at]); err != nil {
		return nil, fmt.Errorf("read the font %s: %w", e.path, err)
	}
	return f, nil
}

// cjk is the language of a font for all of Chinese, Japanese and Korean, whose letters
// have one number and several shapes.
func (e *entry) cjk() string {
	_, language, _ := strings.Cut(e.about.Family, " CJK ")
	return language
}

// list has the fonts for text or for headings.
func (b *Book) list(bold int) []*entry {
	b.scan.Do(func() {
		var found []*entry
		for i, folder := range b.folders {
			if folder != "" {
				found = append(found, look(folder, i, filesMost-len(found))...)
			}
		}
		for i, weight := range []font.Weight{plainWeight, boldWeight} {
			b.faces[i] = slices.Clone(found)
			slices.SortStableFunc(b.faces[i], func(x, y *entry) int { return better(x, y, weight) })
		}
	})
	return b.faces[bold]
}

// better is negative where x is to be asked before y. The order is that of the fonts'
// names, not of the files', so that two machines with the same fonts agree.
func better(x, y *entry, weight font.Weight) int {
	odd := func(e *entry) int {
		if strings.Contains(e.about.Family, "Sans") && !strings.Contains(e.about.Family, "Mono") {
			return 0
		}
		return 1
	}
	off := func(e *entry) float64 {
		return math.Abs(float64(e.about.Aspect.Weight-weight)) + 1000*math.Abs(float64(e.about.Aspect.Stretch-font.StretchNormal))
	}
	return cmp.Or(cmp.Compare(x.folder, y.folder), cmp.Compare(odd(x), odd(y)), cmp.Compare(off(x), off(y)),
		strings.Compare(x.about.Family, y.about.Family), strings.Compare(x.path, y.path), cmp.Compare(x.at, y.at))
}

// look finds the fonts below a folder. What can't be read is passed over: its letters
// are those of another font, or missing.
func look(folder string, number, most int) []*entry {
	var out []*entry
	_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // passed over
		}
		if most--; most < 0 {
			return fs.SkipAll
		}
		switch strings.ToLower(filepath.Ext(path)) {
		case ".ttf", ".otf", ".ttc", ".otc":
			for _, e := range parts(path) {
				e.folder = number
				out = append(out, e)
			}
		}
		return nil
	})
	return out
}

// parts are the fonts of a file that texts may be set in.
func parts(path string) (out []*entry) {
	defer func() {
		if recover() != nil { // as in read
			out = nil
		}
	}()
	file, err := os.Open(path) //nolint:gosec // found in a folder that the operator named
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	loaders, err := opentype.NewLoaders(file)
	if err != nil {
		return nil
	}
	for i, l := range loaders {
		about, _ := font.Describe(l, nil)
		if about.Aspect.Style == font.StyleItalic || strings.Contains(about.Family, "Mono CJK") {
			continue
		}
		// Only outlines can be drawn, not the pictures of emoji.
		if !l.HasTable(opentype.MustNewTag("glyf")) && !l.HasTable(opentype.MustNewTag("CFF ")) && !l.HasTable(opentype.MustNewTag("CFF2")) {
			continue
		}
		raw, err := l.RawTable(opentype.MustNewTag("cmap"))
		if err != nil {
			continue
		}
		table, _, err := tables.ParseCmap(raw)
		if err != nil {
			continue
		}
		letters, _, err := font.ProcessCmap(table, tables.FPNone)
		if err != nil {
			continue
		}
		out = append(out, &entry{path: path, at: i, about: about, letters: letters})
	}
	return out
}
