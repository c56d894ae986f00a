package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// TestWhatHoldsNoRecordsIsNotReplayed: its entry would read "replayed", and what it
// holds would be lost.
func TestWhatHoldsNoRecordsIsNotReplayed(t *testing.T) {
	t.Parallel()
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	for _, c := range []struct {
		kind metering.Kind
		raw  string
		want bool
	}{
		{"", `{"id":"a"}`, true},
		{"", "not a record", true}, // its sender's, refused again
		{metering.KindRefund, `{"id":"a"}`, true},
		{"", "\r\n", false},
		{"", string(codec.Compress(bytes.Repeat([]byte("1\n"), wire.LinesMax+1))), false},
		{metering.KindAdjustment, `{"id":"a"}`, false},
		{metering.Kind(wire.TypeSuspend), `{"account":"x"}`, false},
	} {
		assert.Equal(t, c.want, replayable(&ledger.Entry{Kind: c.kind, Raw: []byte(c.raw)}), c)
	}
}
