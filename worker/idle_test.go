package worker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/jobs"
)

// asking counts how often a client asks for a task, and how often it waits.
type asking struct {
	redis.Hook

	asked, waited atomic.Int64
}

// ProcessHook implements redis.Hook.
func (a *asking) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		switch args := cmd.Args(); {
		case cmd.Name() == "blmove":
			a.waited.Add(1)
		case cmd.Name() == "evalsha" && len(args) > 3 && strings.HasSuffix(fmt.Sprint(args[3]), ":pending"): // its first key
			a.asked.Add(1)
		}
		return next(ctx, cmd)
	}
}

// DialHook implements redis.Hook.
func (a *asking) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (a *asking) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// An idle server waits in Redis instead of asking, and takes what comes.
func TestAnIdleServerWaitsInRedis(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	rdb := redis.NewClient(&redis.Options{Addr: h.engines.RedisAddr, Password: h.engines.RedisPassword})
	t.Cleanup(func() { _ = rdb.Close() })
	count := &asking{}
	rdb.AddHook(count)
	queue := jobs.IngestQueue(0)
	taken := make(chan string, 1)
	mux := asynq.NewServeMux()
	mux.HandleFunc(jobs.TypeIngest, func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		taken <- id
		return nil
	})
	e := &engine{log: slog.New(slog.DiscardHandler)}
	s := e.newServer(rdb, queue, 1, mux)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()

	const rounds = 2
	require.Eventually(t, func() bool { return count.waited.Load() > rounds }, time.Minute, 10*time.Millisecond)
	require.LessOrEqual(t, count.asked.Load(), count.waited.Load()+1, "each question that finds nothing is followed by a wait")
	client := asynq.NewClientFromRedisClient(h.Redis)
	for _, id := range []string{"a", "b"} {
		_, err := client.EnqueueContext(ctx, asynq.NewTask(jobs.TypeIngest, []byte("x")), jobs.Options(id, queue)...)
		require.NoError(t, err)
		require.Equal(t, id, <-taken)
	}
	stop()
	require.NoError(t, <-ended)
}
