package jobs

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFewBytesOfManyLines: a payload of some kilobytes may unpack to millions of
// lines, of each of which a record would be made.
func TestFewBytesOfManyLines(t *testing.T) { //nolint:paralleltest // it measures memory
	codec, err := NewCodec()
	require.NoError(t, err)
	most := bytes.Repeat([]byte("1\n"), LinesMax)
	lines, err := codec.Decode(codec.Compress(most))
	require.NoError(t, err)
	assert.Len(t, lines, LinesMax)

	text := bytes.Repeat([]byte("1\n"), 16<<20)
	payload := codec.Compress(text)
	require.Less(t, len(payload), 64<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = codec.Decode(payload)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, ErrLines)
	require.ErrorIs(t, err, ErrPayload)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4*len(text)), "its text, not its lines")
}
