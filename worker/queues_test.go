package worker

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
)

// send messages, each in a task of its own, as a client of so many shards does.
func (h *harness) send(shards int, ids ...string) *batch {
	h.tb.Helper()
	b := &batch{h: h, run: "run-" + uuid.NewString(), lines: int64(len(ids))}
	client, err := jobs.NewClient(h.Redis, jobs.ClientOptions{Shards: shards, RecordsMax: 1, Run: b.run})
	require.NoError(h.tb, err)
	for _, id := range ids {
		require.NoError(h.tb, client.Add(h.tb.Context(), []byte(message(shop, id, 0))))
	}
	require.NoError(h.tb, client.Close(h.tb.Context()))
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
	assert.EqualValues(t, 40, before.wait().Stored)
	assert.EqualValues(t, 40, h.send(wire.ShardsMax, numbered("while", 40)...).wait().Stored)
	assert.EqualValues(t, 1, h.batch().task(refundLine(shop, "while0")).wait().Stored, "it waits for older charges")
	stop()
	h.work(Options{Shards: 9})
	assert.EqualValues(t, 5, h.send(1, numbered("fewer", 5)...).wait().Stored)
	assert.Equal(t, rows{Usage: 85, Refunds: 1, Identities: 86, Net: metering.Micros(84 * price)}, h.rows(shop))
	assert.Zero(t, h.reconcile())
	held, err = wire.Holding(ctx, h.Redis, 0)
	require.NoError(t, err)
	assert.Empty(t, held)
}

// TestWhoOnlyDoesChoresKnowsOtherQueues: else an answer whose task waits in one
// would be given up.
func TestWhoOnlyDoesChoresKnowsOtherQueues(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := h.byHand()
	h.send(9, numbered("m", 40)...)
	added, err := w.engine.lookBeyond(t.Context(), h.Redis)
	require.NoError(t, err)
	assert.Equal(t, wire.IngestQueues(9)[wire.IngestShards:], added)
	assert.Subset(t, w.engine.chargingQueues(), wire.IngestQueues(9))
	added, err = w.engine.lookBeyond(t.Context(), h.Redis)
	require.NoError(t, err)
	assert.Empty(t, added, "they are known")
}
