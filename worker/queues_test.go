package worker

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/worker/workertest"
)

// send messages, each in a task of its own, as a client of so many shards does.
func (h *harness) send(shards int, ids ...string) *workertest.Batch {
	h.TB.Helper()
	b := h.Batch()
	b.Lines = int64(len(ids))
	client, err := jobs.NewClient(h.Redis, jobs.ClientOptions{Shards: shards, RecordsMax: 1, Run: b.Run})
	require.NoError(h.TB, err)
	for _, id := range ids {
		require.NoError(h.TB, client.Add(h.TB.Context(), []byte(workertest.Message(workertest.Shop, id, 0))))
	}
	require.NoError(h.TB, client.Close(h.TB.Context()))
	return b
}

func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = prefix + strconv.Itoa(i)
	}
	return out
}

// TestAnotherNumberOfShards: nothing is lost, and nobody waits, where clients or the
// worker before had more queues than a worker has, or fewer.
func TestAnotherNumberOfShards(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ctx := t.Context()
	before := h.send(9, numbered("before", 40)...)
	held, err := wire.Holding(ctx, h.Redis, 1)
	require.NoError(t, err)
	require.Len(t, held, 8)
	for _, q := range held { // the worker before has died with a task of each in hand
		prefix := "asynq:{" + q + "}:"
		id, err := h.Redis.LMove(ctx, prefix+"pending", prefix+"active", "RIGHT", "LEFT").Result()
		require.NoError(t, err)
		require.NoError(t, h.Redis.ZAdd(ctx, prefix+"lease", redis.Z{Score: float64(time.Now().Add(time.Minute).Unix()), Member: id}).Err())
	}
	stop := h.work(Options{Shards: 1})
	assert.EqualValues(t, 40, before.Wait().Stored)
	assert.EqualValues(t, 40, h.send(wire.ShardsMax, numbered("while", 40)...).Wait().Stored)
	assert.EqualValues(t, 1, h.Batch().Task(workertest.RefundLine(workertest.Shop, "while0")).Wait().Stored, "it waits for older charges")
	stop()
	h.work(Options{Shards: 9})
	assert.EqualValues(t, 5, h.send(1, numbered("fewer", 5)...).Wait().Stored)
	assert.Equal(t, workertest.RowSums{Usage: 85, Refunds: 1, Identities: 86, Net: metering.Micros(84 * workertest.Price)}, h.Rows(workertest.Shop))
	assert.Zero(t, h.Reconcile())
	held, err = wire.Holding(ctx, h.Redis, 0)
	require.NoError(t, err)
	assert.Empty(t, held)
}
