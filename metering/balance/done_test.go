package balance

import (
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
)

// What hundreds of thousands of finished tasks leave in Redis is bounded, however
// few records they had: 40 bytes each, less where there are more.
func TestFinishedTasksAreSmall(t *testing.T) {
	t.Parallel()
	rdb, ctx := testengine.StartRedis(t).Redis(t), t.Context()
	const tasks, step, bytesMax = 500_000, 50_000, 40
	memory := func() int64 {
		info, err := rdb.Info(ctx, "memory").Result()
		require.NoError(t, err)
		_, rest, _ := strings.Cut(info, "used_memory:")
		text, _, _ := strings.Cut(rest, "\r")
		n, err := strconv.ParseInt(text, 10, 64)
		require.NoError(t, err)
		return n
	}
	before := memory()
	script := redis.NewScript(source("lib") + `
for i = ARGV[1], ARGV[1] + ARGV[2] - 1 do finished('run-0b0a5f6e-2f0d-4f3a-9d5e-1c2b3a4d5e6f.' .. int(i), 'd') end
return done('run-0b0a5f6e-2f0d-4f3a-9d5e-1c2b3a4d5e6f.' .. int(ARGV[1]))`)
	for i := 0; i < tasks; i += step {
		how, err := script.Run(ctx, rdb, []string{keyMeta(0)}, i, step).Text()
		require.NoError(t, err)
		require.Equal(t, "d", how)
	}
	grown := memory() - before
	t.Logf("%.1f bytes a task", float64(grown)/tasks)
	require.Less(t, grown, int64(bytesMax*tasks))
	key, err := rdb.RandomKey(ctx).Result()
	require.NoError(t, err)
	left, err := rdb.TTL(ctx, key).Result()
	require.NoError(t, err)
	require.Positive(t, left)
}
