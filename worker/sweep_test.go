package worker

import (
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
)

// What a dead worker had in hand is taken back from every queue while others
// run, not only when one starts; what somebody still has in hand stays.
func TestADeadWorkersTasksAreTakenBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w, err := New(Deps(h.Deps), Options{})
	require.NoError(t, err)
	ctx, client := t.Context(), asynq.NewClientFromRedisClient(h.Redis)
	served := map[string]bool{}
	for _, s := range w.servers() {
		served[s.name] = true
		prefix := "asynq:{" + s.name + "}:"
		for id, lease := range map[string]time.Time{"dead": time.Now().Add(-time.Minute), "alive": time.Now().Add(time.Minute)} {
			_, err := client.EnqueueContext(ctx, asynq.NewTask("x", nil), wire.TaskOptions(id, s.name)...)
			require.NoError(t, err)
			require.NoError(t, h.Redis.LMove(ctx, prefix+"pending", prefix+"active", "RIGHT", "LEFT").Err())
			require.NoError(t, h.Redis.ZAdd(ctx, prefix+"lease", redis.Z{Score: float64(lease.Unix()), Member: id}).Err())
		}
	}
	for _, q := range append(wire.IngestQueues(wire.IngestShards), wire.QueueRefunds, wire.QueueSuspensions, wire.QueueReports) {
		require.True(t, served[q], q)
	}
	for _, c := range w.chores() {
		if c.name == "dead workers" {
			require.NoError(t, c.run(ctx))
		}
	}
	for q := range served {
		for list, want := range map[string]string{"pending": "dead", "active": "alive"} {
			got, err := h.Redis.LRange(ctx, "asynq:{"+q+"}:"+list, 0, -1).Result()
			require.NoError(t, err)
			require.Equal(t, []string{want}, got, "%s of %s", list, q)
		}
	}
}
