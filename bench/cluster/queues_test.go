package cluster_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering/balance"
)

// A task that a dead worker held, looked for while its queue is in two places,
// lists here and tasks there, is neither lost nor run on half.
func TestATaskOfADeadWorkerOutlivesAMove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.work()
	ctx := t.Context()
	queue := wire.IngestQueue(0)
	prefix := "asynq:{" + queue + "}:"

	// As a worker leaves it that is killed once its queue moves: active, with a
	// lease that nobody renews.
	require.NoError(t, r.Redis.Set(ctx, prefix+"paused", 1, 0).Err())
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	client := asynq.NewClientFromRedisClient(r.Redis)
	id := "orphan.1"
	for _, id := range []string{id, "orphan.2"} {
		task := asynq.NewTask(wire.TypeIngest, codec.Encode([][]byte{[]byte(r.traffic.next())}))
		_, err = client.EnqueueContext(ctx, task, wire.TaskOptions(id, queue)...)
		require.NoError(t, err)
	}
	require.NoError(t, r.Redis.ZAdd(ctx, prefix+"lease", redis.Z{Score: math.MaxInt32, Member: id}).Err())
	require.NoError(t, r.Redis.HSet(ctx, prefix+"t:"+id, "state", "active").Err())
	require.NoError(t, r.Redis.RPopLPush(ctx, prefix+"pending", prefix+"active").Err())
	slot, from, to := r.nodes.open(prefix + "pending")
	r.nodes.migrate(from, to, []string{prefix + "t:" + id})
	require.NoError(t, from.ZAdd(ctx, prefix+"lease", redis.Z{Score: 1, Member: id}).Err())
	eventually(t, "the task is looked for", time.Minute, func() bool { return r.log.failed("dead workers") })

	list, err := from.ClusterGetKeysInSlot(ctx, slot, 1000).Result()
	require.NoError(t, err)
	r.nodes.migrate(from, to, list)
	r.nodes.close(slot, to)
	require.NoError(t, r.Redis.Del(ctx, prefix+"paused").Err())
	eventually(t, "both tasks are run", time.Minute, func() bool {
		counts, err := r.Store.RunCounts(ctx, wire.RunOf(id))
		return err == nil && counts == balance.Counts{Stored: 2}
	})
	eventually(t, "nothing is left", time.Minute, func() bool { return r.left() == "" })
	r.check()
}

// A client that wants a replica to have its records asks the queue's node, in
// whose place any other would answer for nobody.
func TestAClientWaitsForTheReplicaOfItsQueue(t *testing.T) {
	t.Parallel()
	c := startNodes(t)
	replica := c.start()
	c.meet()
	queue := wire.IngestQueue(0)
	require.NoError(t, replica.ConfigSet(t.Context(), "masterauth", c.password).Err())
	primary := c.owner(wire.PendingKey(queue))
	eventually(t, "the replica follows", 30*time.Second, func() bool {
		return replica.ClusterReplicate(t.Context(), primary.id).Err() == nil
	})
	eventually(t, "the replica is up to date", 30*time.Second, func() bool {
		// WAIT is refused to nobody: it counts those that have it all.
		n, err := primary.Wait(t.Context(), 1, 100*time.Millisecond).Result()
		return err == nil && n == 1
	})
	eventually(t, "the replica's own file is written", 30*time.Second, func() bool {
		// Until it is, a replica refuses to stop.
		info, err := replica.Info(t.Context(), "persistence").Result()
		return err == nil && strings.Contains(info, "aof_rewrite_in_progress:0\r") && strings.Contains(info, "aof_rewrite_scheduled:0\r")
	})
	client, err := jobs.NewClient(c.client(), jobs.ClientOptions{Shards: 1, Replicas: 1})
	require.NoError(t, err)
	for range 20 {
		require.NoError(t, client.SendLine(t.Context(), []byte(`{"id":"a"}`)))
	}
	require.NoError(t, client.Close(t.Context()))
	n, err := primary.LLen(t.Context(), wire.PendingKey(queue)).Result()
	require.NoError(t, err)
	assert.Equal(t, int64(20), n)
	for _, other := range c.all {
		info, err := other.Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		assert.Equal(t, other == primary, strings.Contains(info, "cmdstat_wait:"), "asked to wait")
	}
}
