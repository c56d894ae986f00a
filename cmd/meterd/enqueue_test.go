package main

import (
	"bufio"
	"fmt"
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

// TestUnknownFieldsAreTheirNames, and nothing else of the lines, which come in one
// buffer after another.
func TestUnknownFieldsAreTheirNames(t *testing.T) {
	t.Parallel()
	s := &sending{app: &app{}}
	const n = 20_000
	var text strings.Builder
	for i := range n {
		_, _ = fmt.Fprintf(&text, `{"id":"m%d","account_id":"acme","channel":"sms","to":"+39333%07d","occurred_at":"2026-11-01T00:00:00Z","customer_reference":"x%d","campaign_ref":1}`+"\n", i, i, i)
	}
	br := bufio.NewReaderSize(strings.NewReader(text.String()), 16<<10)
	for line, err := readLine(br); err == nil; line, err = readLine(br) {
		s.look(line)
	}
	require.EqualValues(t, n, s.unknownLines)
	got := map[string]int64{}
	for name, count := range s.unknown {
		got[name] = *count
	}
	require.Equal(t, map[string]int64{"customer_reference": n, "campaign_ref": n}, got)

	s = &sending{app: &app{}}
	for i := range 2 * unknownMax {
		s.look(fmt.Appendf(nil, `{"id":"m","account_id":"acme","channel":"sms","occurred_at":"2026-11-01T00:00:00Z","field%d":1}`, i))
	}
	require.Len(t, s.unknown, unknownMax+1)
	require.EqualValues(t, unknownMax, *s.unknown[otherFields])
}
