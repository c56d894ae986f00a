package pipeline

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

// TestConflictOfAnotherEpoch: a worker that hasn't noticed a new epoch says of no
// record that it is in conflict with a row: the new one may have charged it.
func TestConflictOfAnotherEpoch(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	stop := h.serve()
	h.Batch().Task(workertest.Message(workertest.Shop, "m", 0)).Wait()
	stop()
	pl := h.byHand()
	run(t, pl)
	old, err := pl.projections.Meta(t.Context(), 0)
	require.NoError(t, err)
	payload, err := pl.codec.EncodeHead(wire.JudgeHeader{Epoch: old.Epoch, Seq: old.Seq + 1}, [][]byte{[]byte(workertest.Line(workertest.Shop, "m", 0, `,"units":2`))})
	require.NoError(t, err)

	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	_, err = h.Projector.Ensure(t.Context(), 0)
	require.NoError(t, err)
	entries := func() (n uint64) {
		require.NoError(t, h.Engines.ClickHouse(t).QueryRow(t.Context(), "SELECT count() FROM quarantine").Scan(&n))
		return n
	}
	require.ErrorIs(t, pl.JudgeTask(t.Context(), "t~j0", payload), balance.ErrEpoch)
	require.Zero(t, entries())
	require.NoError(t, pl.JudgeTask(t.Context(), "t~j0", payload), "it starts over as an ordinary task")
	require.Equal(t, uint64(1), entries(), "the other content stands in this epoch too")
}
