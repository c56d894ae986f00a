package pipeline

import (
	"context"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/metrics"
	"github.com/meterd/meterd/worker/workertest"
)

func TestMain(m *testing.M) { testengine.Main(m) }

// harness is a rig, and pipelines on it that a test drives by hand.
type harness struct{ *workertest.Rig }

func newHarness(tb testing.TB) *harness {
	tb.Helper()
	return newHarnessOf(tb, 1)
}

// newHarnessOf so many partitions.
func newHarnessOf(tb testing.TB, partitions int) *harness {
	tb.Helper()
	return &harness{workertest.New(tb, partitions)}
}

// byHand is a pipeline that knows the accounts, and that nothing runs.
func (h *harness) byHand() *Pipeline {
	h.TB.Helper()
	d, _ := workertest.Connect(h.TB, h.Address())
	return h.byHandWith(d)
}

func (h *harness) byHandWith(d workertest.Deps) *Pipeline {
	h.TB.Helper()
	_, err := d.Snapshots.Refresh(h.TB.Context())
	require.NoError(h.TB, err)
	codec, err := wire.NewCodec()
	require.NoError(h.TB, err)
	unbound := func(context.Context, int, *balance.Meta) error { return nil }
	return New(Deps{
		Store: d.Store, Ledger: d.Ledger, Snapshots: d.Snapshots, Projections: NewProjections(d.Store.Partitions(), d.Projector, d.Snapshots, unbound),
		Queue: asynq.NewClientFromRedisClient(d.Redis), Redis: d.Redis, Codec: codec, Clock: d.Clock, Log: d.Log,
		Metrics: metrics.New(prometheus.NewRegistry()),
	}, Options{Shards: wire.IngestShards})
}

// running is a pipeline by hand whose writes are stored until the test ends.
func (h *harness) running() *Pipeline {
	h.TB.Helper()
	pl := h.byHand()
	run(h.TB, pl)
	return pl
}

// run has a pipeline's writes stored until the test ends.
func run(tb testing.TB, pl *Pipeline) {
	tb.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = pl.Run(tb.Context())
	}()
	tb.Cleanup(func() { <-ended })
}

// serve takes tasks off the queues until stop is called.
func (h *harness) serve() (stop func()) {
	h.TB.Helper()
	pl := h.running()
	mux := asynq.NewServeMux()
	mux.Handle(wire.TypeIngest, pl.Guarded(pl.IngestTask))
	mux.Handle(wire.TypeJudge, pl.Guarded(pl.JudgeTask))
	mux.Handle(wire.TypeRefund, pl.Guarded(pl.RefundTask))
	mux.Handle(wire.TypeCorrect, pl.Guarded(pl.CorrectTask))
	queues := map[string]int{}
	for _, q := range pl.chargingQueues() {
		queues[q] = 1
	}
	server := asynq.NewServerFromRedisClient(h.Redis, asynq.Config{
		Queues: queues, Concurrency: 16, TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond,
		RetryDelayFunc: func(n int, err error, _ *asynq.Task) time.Duration { return pl.RetryDelay(n, err) },
		IsFailure:      pl.Counts, LogLevel: asynq.FatalLevel,
	})
	require.NoError(h.TB, server.Start(mux))
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			server.Shutdown()
		}
	}
	h.TB.Cleanup(stop)
	return stop
}

// ingest takes a task of lines through all its steps, once.
func (h *harness) ingest(task string, lines ...string) {
	h.TB.Helper()
	assert.NoError(h.TB, h.running().IngestTask(h.TB.Context(), task, workertest.Payload(h.TB, lines...)))
}
