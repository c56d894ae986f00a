package pipeline

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/worker/workertest"
)

// However many answers are open, a task that waits for them asks Redis little;
// it brings those that hold the oldest to the head of their queues, in their
// order, unless they wait for the ledger.
func TestWhoWaitsAsksLittle(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ctx, pl := t.Context(), h.byHandWith(h.Deps)
	now := clock.NewFake(time.Now()) // how long the commands take is no part of this
	pl.clock = now
	const answers = 5000
	name := wire.IngestQueue(wire.ShardOf("0", 1))
	prefix := "asynq:{" + name + "}:"
	queue := asynq.NewClientFromRedisClient(h.Redis)
	pipe := h.Redis.Pipeline()
	for i := range answers {
		id := fmt.Sprintf("open-%d", i)
		pipe.ZAdd(ctx, "{p00}:open", redis.Z{Score: float64(i + 1), Member: id})
		pipe.HSet(ctx, "{p00}:t:"+id, "k", "o")
	}
	_, err := pipe.Exec(ctx)
	require.NoError(t, err)
	for _, id := range []string{"waits", "open-1", "open-4000", "open-0"} { // oldest last
		_, err := queue.EnqueueContext(ctx, asynq.NewTask(wire.TypeIngest, []byte("x")), wire.TaskOptions(id, name)...)
		require.NoError(t, err)
	}
	_, err = queue.EnqueueContext(ctx, asynq.NewTask(wire.TypeIngest, []byte("x")), append(wire.TaskOptions("open-2", name), asynq.ProcessIn(time.Hour))...)
	require.NoError(t, err)
	require.NoError(t, h.Redis.Rename(ctx, prefix+"scheduled", prefix+"retry").Err())
	require.NoError(t, h.Redis.HSet(ctx, prefix+"t:open-2", "state", "retry").Err())
	_, err = pl.projections.Meta(ctx, 0)
	require.NoError(t, err)
	var count atomic.Int64
	h.Redis.AddHook(workertest.OnCommand(func(redis.Cmder) { count.Add(1) }))
	wait := func() string {
		ok, err := pl.waitSettled(ctx, 0, 2*answers, time.Nanosecond)
		require.NoError(t, err)
		require.False(t, ok)
		list, err := h.Redis.LRange(ctx, prefix+"pending", 0, -1).Result()
		require.NoError(t, err)
		return strings.Join(list, " ")
	}
	pl.outage.wrote(false, now.Now())
	require.Equal(t, "open-0 open-4000 open-1 waits", wait(), "they wait for the ledger")
	pl.outage.wrote(true, now.Now())
	before := count.Load()
	require.Equal(t, "open-4000 waits open-2 open-1 open-0", wait(), "the oldest at the head")
	require.Less(t, count.Load()-before, int64(30), "commands")
	require.NoError(t, h.Redis.LPush(ctx, prefix+"pending", "sentinel").Err())
	before = count.Load()
	wait()
	require.Less(t, count.Load()-before, int64(10), "just now another waiter did so")
	now.Advance(turnDelay)
	before = count.Load()
	wait()
	require.GreaterOrEqual(t, count.Load()-before, int64(10), "that was a while ago")
}
