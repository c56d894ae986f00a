// Package reportstest reads what reports' files say: tests look in it for what must be
// there, and for what must not.
//
// It is a part of meterd, and no stable interface.
package reportstest

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/ledongthuc/pdf"
	"github.com/stretchr/testify/require"
)

// Text has all that can be read out of a file: the parts of a workbook, the pages,
// outline and properties of a PDF, of anything else its bytes.
func Text(tb testing.TB, b []byte) string {
	tb.Helper()
	switch {
	case bytes.HasPrefix(b, []byte("PK\x03\x04")):
		return unzipped(tb, b)
	case bytes.HasPrefix(b, []byte("%PDF-")):
		return pdfText(tb, b)
	}
	return string(b)
}

func unzipped(tb testing.TB, b []byte) string {
	tb.Helper()
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	require.NoError(tb, err)
	var out strings.Builder
	for _, f := range r.File {
		in, err := f.Open()
		require.NoError(tb, err)
		text, err := io.ReadAll(in)
		require.NoError(tb, err)
		out.WriteString(f.Name + "\n" + string(text) + "\n")
	}
	return out.String()
}

// pdfText has a PDF's pages as a reader finds their text, and every object and
// stream of the file, whose texts are UTF-16.
func pdfText(tb testing.TB, b []byte) string {
	tb.Helper()
	r, err := pdf.NewReader(bytes.NewReader(b), int64(len(b)))
	require.NoError(tb, err)
	var out strings.Builder
	for n := range r.NumPage() {
		rows, err := r.Page(n + 1).GetTextByRow()
		require.NoError(tb, err)
		for _, row := range rows {
			for _, w := range row.Content {
				out.WriteString(w.S + "\t")
			}
			out.WriteString("\n")
		}
	}
	for _, s := range pdfStreams.FindAllSubmatch(b, -1) {
		if z, err := zlib.NewReader(bytes.NewReader(s[1])); err == nil {
			text, err := io.ReadAll(z)
			require.NoError(tb, err)
			if bytes.HasPrefix(text, []byte{0, 1, 0, 0}) || len(text) == 1<<17 {
				continue // a font, and which of its letters is which
			}
			out.WriteString(strings.ReplaceAll(string(text), "\x00", ""))
		}
	}
	objects, tail, ok := strings.Cut(pdfStreams.ReplaceAllString(string(b), ""), "\nxref\n")
	require.True(tb, ok)
	_, tail, _ = strings.Cut(tail, "trailer") // without the table of where objects are
	tail, _, _ = strings.Cut(tail, "startxref")
	out.WriteString(strings.ReplaceAll(pdfFigures.ReplaceAllString(objects, "")+tail, "\x00", ""))
	return out.String()
}

// What a PDF holds beside its text: streams are unpacked; how many bytes they have and
// when it was made are figures by chance, as where they are is. A stream may end with a
// carriage return of its own.
var (
	pdfStreams = regexp.MustCompile(`(?s)stream\r?\n(.*?)\nendstream`)
	pdfFigures = regexp.MustCompile(`/Length1? [0-9]+|/(?:Creation|Mod)Date \([^)]*\)`)
)
