package importer

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"golang.org/x/text/encoding/unicode"
)

// ErrText says that a file isn't text of an encoding that can be told.
var ErrText = errors.New("zero bytes, as in UTF-16 without a byte order mark and in what isn't text: save it as UTF-8")

// Text is what a file holds as UTF-8, without a byte order mark. Spreadsheets and
// Windows write such marks, and UTF-16.
func Text(in io.Reader) (*bufio.Reader, error) {
	r := bufio.NewReaderSize(in, bufferSize)
	head, _ := r.Peek(len("\xef\xbb\xbf")) // what follows tells of an error
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, _ = r.Discard(len(head))
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		utf16 := unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder()
		return bufio.NewReaderSize(utf16.Reader(r), bufferSize), nil
	case bytes.IndexByte(head, 0) >= 0:
		return nil, ErrText
	}
	return r, nil
}
