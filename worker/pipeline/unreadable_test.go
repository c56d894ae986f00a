package pipeline

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// TestWhatIsQuarantinedWholeKeepsItsKind, and the lines that came, without what
// heads them: so a replay can tell records from what meterd makes itself.
func TestWhatIsQuarantinedWholeKeepsItsKind(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.serve()
	pl := h.byHand()
	run(t, pl)
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	f := func(typ string, head any, line string, kind metering.Kind, raw string) {
		t.Helper()
		payload := codec.Encode([][]byte{[]byte(line)})
		if head != nil {
			payload, err = codec.EncodeHead(head, [][]byte{[]byte(line)})
			require.NoError(t, err)
		}
		require.NoError(t, pl.unreadable(t.Context(), "run-x."+line, typ, payload, errors.New("it panicked"))) //nolint:err113 // any
		var got []ledger.Entry
		require.NoError(t, h.Ledger.Quarantined(t.Context(), ledger.QuarantineFilter{ID: ledger.EntryID("", kind, []byte(raw))}, func(e *ledger.Entry) error {
			got = append(got, *e)
			return nil
		}))
		require.Len(t, got, 1, typ)
		assert.Equal(t, kind, got[0].Kind)
		assert.Equal(t, raw, string(got[0].Raw))
	}
	f(wire.TypeIngest, nil, "a", "", "a")
	f(wire.TypeRefund, wire.RefundHeader{At: 1}, "b", metering.KindRefund, "b")
	f(wire.TypeJudge, wire.JudgeHeader{Epoch: 1}, "c", "", "c")
	f(wire.TypeJudge, wire.JudgeHeader{Epoch: 1, Corrections: true}, "d", metering.KindAdjustment, "d")
	f(wire.TypeCorrect, wire.CorrectionHeader{Ref: "r"}, "e", metering.KindAdjustment, "e")
	f(wire.TypeSuspend, nil, `{"account":"x"}`, metering.Kind(wire.TypeSuspend), `{"account":"x"}`)
	c, err := h.Store.RunCounts(t.Context(), "run-x")
	require.NoError(t, err)
	assert.LessOrEqual(t, c.Quarantined, int64(6), "a head is no line")
}
