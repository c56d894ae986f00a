package pipeline

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/worker/workertest"
)

// TestARefundThatWaitedWhenOthersWereCharged: a worker dies between the charge of a task's refunds
// and its end, and meanwhile the message comes that another of them lacked: that one isn't lost. Nor
// does the next attempt wait for messages in the queue, which may wait for it.
func TestARefundThatWaitedWhenOthersWereCharged(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	stop := h.serve()
	h.Batch().Task(workertest.Message(workertest.Shop, "before", time.Hour)).Wait()
	pl := h.byHand()
	run(t, pl)
	payload, err := pl.codec.EncodeHead(wire.RefundHeader{At: h.Clock.Now().UnixMilli()}, [][]byte{
		[]byte(workertest.RefundLine(workertest.Shop, "before")), []byte(workertest.RefundLine(workertest.Shop, "after")), []byte(workertest.RefundLine(workertest.Shop, "never")),
	})
	require.NoError(t, err)
	died := errors.New("it died")
	pl.crash = func(point string) {
		if point == "charged" {
			panic(died)
		}
	}
	require.PanicsWithValue(t, died, func() { _ = pl.RefundTask(t.Context(), "t~r", payload) })
	h.Batch().Task(workertest.Message(workertest.Shop, "after", time.Hour)).Wait()
	stop()

	pl.crash = nil
	h.Batch().Task(workertest.Message(workertest.Shop, "later", time.Hour)) // nobody works
	require.NoError(t, pl.RefundTask(t.Context(), "t~r", payload))
	h.serve()
	h.Eventually("what has a message is refunded", func() bool {
		require.NoError(t, pl.DueRefunds(t.Context(), time.Hour))
		return h.Rows(workertest.Shop) == workertest.RowSums{Usage: 3, Refunds: 2, Identities: 5, Net: workertest.Price}
	})
	assert.EqualValues(t, workertest.Price, h.Used(workertest.Shop))
	assert.Zero(t, h.Reconcile())
}
