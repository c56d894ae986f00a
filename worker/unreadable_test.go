package worker

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
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
	h.work(Options{})
	w := h.byHand()
	runWriter(t, w.engine)
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	f := func(typ string, head any, line string, kind metering.Kind, raw string) {
		t.Helper()
		payload := codec.Encode([][]byte{[]byte(line)})
		if head != nil {
			payload, err = codec.EncodeHead(head, [][]byte{[]byte(line)})
			require.NoError(t, err)
		}
		require.NoError(t, w.engine.unreadable(t.Context(), "run-x."+line, typ, payload, errors.New("it panicked"))) //nolint:err113 // any
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

// TestATaskOfTooManyLines is kept whole, and what comes after it goes on.
func TestATaskOfTooManyLines(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	payload := codec.Compress(bytes.Repeat([]byte("1\n"), wire.LinesMax+1))
	queue := asynq.NewClientFromRedisClient(h.Redis)
	_, err = queue.EnqueueContext(t.Context(), asynq.NewTask(wire.TypeIngest, payload), wire.TaskOptions("bomb.1", wire.IngestQueue(0))...)
	require.NoError(t, err)
	h.eventually("it is in quarantine", func() bool {
		found := false
		require.NoError(t, h.Ledger.Quarantined(t.Context(), ledger.QuarantineFilter{ID: ledger.EntryID("", "", payload)}, func(e *ledger.Entry) error {
			found = bytes.Equal(e.Raw, payload) && strings.Contains(e.Detail, "more than 100000 lines")
			return nil
		}))
		return found
	})
	assert.EqualValues(t, 1, h.batch().task(message(shop, "a", time.Second)).wait().Stored)
}
