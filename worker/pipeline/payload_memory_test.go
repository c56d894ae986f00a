package pipeline

import (
	"bytes"
	"context"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/ledger"
)

// TestPayloadsWaitBeforeTheyAreUnpacked: what is made of one is taken from
// unpackingMax before it is, the slices of its lines too, which take a dozen times the
// text where lines are short.
func TestPayloadsWaitBeforeTheyAreUnpacked(t *testing.T) {
	t.Parallel()
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	for _, lines := range [][]byte{
		bytes.Repeat([]byte("1\n"), wire.LinesMax), bytes.Repeat([]byte("1\n"), 10), []byte("1"), nil,
		bytes.Repeat(append(bytes.Repeat([]byte("x"), 300), '\n'), 500),
	} {
		for _, payload := range [][]byte{lines, codec.Compress(lines)} {
			got, err := codec.Decode(payload)
			require.NoError(t, err)
			made := int64(cap(got)) * int64(unsafe.Sizeof([]byte{}))
			for _, l := range got {
				made += int64(len(l))
			}
			require.LessOrEqual(t, made, unpackedMost(payload))
			require.LessOrEqual(t, unpackedMost(payload), int64(unpackingMax))
		}
	}
	require.LessOrEqual(t, unpackedMost(codec.Compress(bytes.Repeat([]byte("1\n"), wire.PayloadMax))), int64(unpackingMax), "it would wait for ever")
}

// TestRefusedLinesAreBoundedUntilTheyAreStored: a handler that has waited long
// enough lets go of its room, but the lines that it refused stay in memory until
// the ledger has them. No more than asideMax do, however often tasks come.
func TestRefusedLinesAreBoundedUntilTheyAreStored(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	pl := h.byHand() // its writer doesn't run yet
	const all = 8
	pl.aside = semaphore.NewWeighted(all << 10) // instead of asideMax
	raw := bytes.Repeat([]byte("x"), 1<<20)
	batch := func(id string, n int) *ledger.Batch {
		b := &ledger.Batch{}
		for i := range n {
			b.Quarantine = append(b.Quarantine, ledger.Entry{
				ID: id + string(rune('a'+i)), Raw: raw, QuarantinedAt: time.Now(), State: ledger.QuarantineOpen, Version: 1,
			})
		}
		return b
	}
	begin := func(ctx context.Context, key string, b *ledger.Batch) *writing {
		patience, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		return pl.begin(ctx, patience, key, b)
	}
	half := begin(t.Context(), "half", batch("h", all/2))
	require.NotNil(t, half)
	assert.Nil(t, begin(t.Context(), "more", batch("m", all/2+1)), "there is no room")
	assert.Same(t, half, begin(t.Context(), "half", batch("h", all/2)), "its own is on its way")
	_, err := pl.write(t.Context(), "nothing", &ledger.Batch{})
	require.NoError(t, err, "what has no such lines waits for none")

	run(t, pl)
	more := batch("m", all/2+1)
	h.Eventually("there is room again", func() bool {
		_, err = pl.write(t.Context(), "more", more)
		return err == nil
	})
	assert.Empty(t, more.Quarantine, "what is stored is let go of, whoever comes for it")
	<-half.done
	stored := 0
	require.NoError(t, h.Ledger.Quarantined(t.Context(), ledger.QuarantineFilter{State: ledger.QuarantineOpen}, func(*ledger.Entry) error {
		stored++
		return nil
	}))
	assert.Equal(t, all+1, stored)
}
