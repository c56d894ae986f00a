package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"

	"github.com/meterd/meterd/jobs/importer"
)

func TestLinesOfAFileWithAByteOrderMark(t *testing.T) {
	t.Parallel()
	const text = `{"id":"é1"}` + "\r\n" + `{"id":"2"}`
	for name, e := range map[string]encoding.Encoding{
		"UTF-8":  unicode.UTF8BOM,
		"UTF-16": unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
		"none":   encoding.Nop,
	} {
		encoded, err := e.NewEncoder().String(text)
		require.NoError(t, err)
		var got []string
		require.NoError(t, eachLine("f", strings.NewReader(encoded), func(_ int, line []byte) error {
			got = append(got, string(line))
			return nil
		}))
		require.Equal(t, []string{`{"id":"é1"}`, `{"id":"2"}`}, got, name)
	}
	err := eachLine("f", strings.NewReader("{\x00}\x00"), func(int, []byte) error { return nil })
	require.ErrorIs(t, err, importer.ErrText)
	require.Equal(t, exitInput, exitCode(err))
}
