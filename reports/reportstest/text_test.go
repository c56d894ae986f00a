package reportstest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAStreamMayEndWithAnyByte: it is packed.
func TestAStreamMayEndWithAnyByte(t *testing.T) {
	t.Parallel()
	for b := range 256 {
		packed := []byte{'x', byte(b)}
		file := append(append([]byte("1 0 obj\nstream\n"), packed...), "\nendstream\nendobj\nstream\ny\nendstream\n"...)
		found := pdfStreams.FindAllSubmatch(file, -1)
		require.Len(t, found, 2)
		require.Equal(t, packed, found[0][1])
	}
}
