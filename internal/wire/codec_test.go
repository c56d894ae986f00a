package wire

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
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
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err = w.Write(text)
	require.NoError(t, errors.Join(err, w.Close()))
	for _, payload := range [][]byte{codec.Compress(text), zipped.Bytes()} {
		require.Less(t, len(payload), 64<<10)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = codec.Decode(payload)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, ErrLines)
		require.ErrorIs(t, err, ErrPayload)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(len(text)/2), "neither its lines nor its text")
	}
}

// TestUnpackedIsNeverLessThanTheText: what may be unpacked is known before it is.
func TestUnpackedIsNeverLessThanTheText(t *testing.T) {
	t.Parallel()
	codec, err := NewCodec()
	require.NoError(t, err)
	text := bytes.Repeat([]byte("a line of text\n"), 1000)
	streamed := func(w interface {
		io.WriteCloser
		Flush() error
	}, b *bytes.Buffer,
	) []byte {
		_, err := w.Write(text[:100])
		require.NoError(t, err)
		require.NoError(t, w.Flush())
		_, err = w.Write(text[100:])
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	var z, g bytes.Buffer
	zw, err := zstd.NewWriter(&z)
	require.NoError(t, err)
	assert.Equal(t, len(text), Unpacked(codec.Compress(text)))
	assert.Equal(t, len(text), Unpacked(text))
	assert.Equal(t, PayloadMax, Unpacked(streamed(zw, &z)), "its head doesn't say")
	assert.Equal(t, PayloadMax, Unpacked(streamed(gzip.NewWriter(&g), &g)))
	assert.Equal(t, PayloadMax, Unpacked(zstdMagic))
	assert.Zero(t, Unpacked(nil))
}
