package render

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	fastflate "github.com/klauspost/compress/flate"
	"github.com/xuri/excelize/v2"
)

// save writes the workbook. The library would hold all of it in memory and
// writes its parts in an order that changes: it goes to a temporary file, from
// which the parts are taken by their names.
func (b *book) save(w io.Writer) (err error) {
	if err := b.file.SetDocProps(&excelize.DocProperties{
		Title: b.doc.Title, Creator: b.doc.maker(), LastModifiedBy: b.doc.maker(), Created: made, Modified: made,
	}); err != nil {
		return err
	}
	tmp, err := os.CreateTemp("", "meterd-xlsx-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name())) }()
	b.file.SetZipWriter(func(io.Writer) excelize.ZipWriter {
		z := zip.NewWriter(tmp)
		z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
			return fastflate.NewWriter(w, flate.BestSpeed+2)
		})
		return z
	})
	if err := b.file.Write(io.Discard); err != nil {
		return err
	}
	size, err := tmp.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	return repack(w, tmp, size)
}

// repack writes the parts of a workbook in their order of names, as they are.
func repack(w io.Writer, from io.ReaderAt, size int64) error {
	r, err := zip.NewReader(from, size)
	if err != nil {
		return err
	}
	files := slices.Clone(r.File)
	slices.SortFunc(files, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	// Readers look for the list of types first.
	if i := slices.IndexFunc(files, func(f *zip.File) bool { return f.Name == "[Content_Types].xml" }); i > 0 {
		types := files[i]
		files = slices.Insert(slices.Delete(files, i, i+1), 0, types)
	}
	out := zip.NewWriter(w)
	for _, f := range files {
		if err := out.Copy(f); err != nil {
			return err
		}
	}
	return out.Close()
}
