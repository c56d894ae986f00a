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

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/worker/pipeline"
	"github.com/meterd/meterd/worker/workertest"
)

// An idle server waits in Redis instead of asking, and takes what comes.
func TestAnIdleServerWaitsInRedis(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	rdb := h.Engines.Redis(t)
	waits, err := waitingClient(rdb)
	require.NoError(t, err)
	t.Cleanup(func() { _ = waits.Close() })
	var asked, waited atomic.Int64 // for a task
	count := workertest.OnCommand(func(cmd redis.Cmder) {
		switch args := cmd.Args(); {
		case cmd.Name() == "blmove":
			waited.Add(1)
		case cmd.Name() == "evalsha" && len(args) > 3 && strings.HasSuffix(fmt.Sprint(args[3]), ":pending"): // its first key
			asked.Add(1)
		}
	})
	rdb.AddHook(count)
	waits.AddHook(count)
	queue := wire.IngestQueue(0)
	taken := make(chan string, 1)
	mux := asynq.NewServeMux()
	mux.HandleFunc(wire.TypeIngest, func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		taken <- id
		return nil
	})
	w := &Worker{redis: rdb, waits: waits, deps: Deps{Log: slog.New(slog.DiscardHandler)}}
	s := w.newServer([]string{queue}, 1, mux)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()

	const rounds = 1
	require.Eventually(t, func() bool { return waited.Load() > rounds }, time.Minute, 10*time.Millisecond)
	require.LessOrEqual(t, asked.Load(), waited.Load()+1, "each question that finds nothing is followed by a wait")
	client := asynq.NewClientFromRedisClient(h.Redis)
	for _, id := range []string{"a", "b"} {
		_, err := client.EnqueueContext(ctx, asynq.NewTask(wire.TypeIngest, []byte("x")), wire.TaskOptions(id, queue)...)
		require.NoError(t, err)
		require.Equal(t, id, <-taken)
	}

	// A stop doesn't wait until an idle wait is over.
	until := waited.Load()
	require.Eventually(t, func() bool { return waited.Load() > until }, time.Minute, time.Millisecond)
	stop()
	require.NoError(t, waits.Close())
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(wire.IdleWait / 2):
		t.Fatal("the stop waits for Redis")
	}
}

// TestWhatWorkLeavesIsAskedForSeldomWithoutAny: each look costs ClickHouse 10 to 30 ms.
func TestWhatWorkLeavesIsAskedForSeldomWithoutAny(t *testing.T) {
	t.Parallel()
	for name, work := range map[string]func(w *pipeline.Work){
		"a charge of any worker":        func(w *pipeline.Work) { w.Charged++ },
		"a task, which charged nothing": func(w *pipeline.Work) { w.Taken++ }, // it may have brought a status
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var done pipeline.Work
			asked := 0
			ask := afterWork(func() pipeline.Work { return done }, time.Hour, func(context.Context) error { asked++; return nil })
			for range 3 {
				require.NoError(t, ask(t.Context()))
			}
			require.Equal(t, 1, asked)
			work(&done)
			for range 2 {
				require.NoError(t, ask(t.Context()))
			}
			require.Equal(t, 3, asked, "after work each time")
		})
	}
}
