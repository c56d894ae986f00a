package pipeline

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/panics"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

// Every try of what can fail comes later than the one before, up to half a
// minute; a task that waits for others isn't late for that.
func TestRetriesBackOff(t *testing.T) {
	t.Parallel()
	var o outage
	for _, err := range []error{errUnstored, ledger.ErrAway, errors.New("not yet: the job waits for others"), errors.New("webhook: answered 500"), &panics.Error{}} {
		require.True(t, o.counts(err), err)
		for n, most := range []float64{1, 2, 4, 8, 16, 30, 30} {
			s := o.delay(n, err).Seconds()
			require.LessOrEqual(t, s, most)
			require.GreaterOrEqual(t, s, most*3/4)
		}
	}
	for _, err := range []error{ErrLater, balance.ErrEpoch, balance.ErrGone, balance.ErrOpen} {
		err = fmt.Errorf("judge: %w", err)
		require.False(t, o.counts(err))
		require.LessOrEqual(t, o.delay(9, err), turnDelay)
		o.away.Store(true)
		require.True(t, o.counts(err), "nobody settles while the ledger is away")
		require.Greater(t, o.delay(9, err), 20*time.Second)
		o.away.Store(false)
	}
}

// Tasks that have backed off come back at once when the ledger answers again.
func TestTasksComeBackWithTheLedger(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	pl := h.byHandWith(h.Deps)
	ctx, queue := t.Context(), asynq.NewClientFromRedisClient(h.Redis)
	const tasks = 1501 // more than one script brings back
	name := wire.IngestQueue(0)
	prefix := "asynq:{" + name + "}:"
	pipe := h.Redis.Pipeline()
	for i := range tasks {
		id := fmt.Sprint("late-", i)
		_, err := queue.EnqueueContext(ctx, asynq.NewTask(wire.TypeIngest, []byte("x")), append(wire.TaskOptions(id, name), asynq.ProcessIn(time.Hour))...)
		require.NoError(t, err)
		pipe.HSet(ctx, prefix+"t:"+id, "state", "retry")
	}
	pipe.Rename(ctx, prefix+"scheduled", prefix+"retry")
	_, err := pipe.Exec(ctx)
	require.NoError(t, err)

	pl.outage.failed(fmt.Errorf("query x: %w", ledger.ErrAway))
	require.NoError(t, pl.look(ctx))
	require.EqualValues(t, tasks, h.Waiting(name), "the ledger was never away")
	gone, cancel := context.WithCancel(ctx)
	cancel()
	pl.outage.failed(errUnstored)
	require.NoError(t, pl.look(gone))
	require.True(t, pl.outage.away.Load())
	stop, recalled := true, false
	rdb := h.Engines.Redis(t)
	looking, cancel := context.WithCancel(ctx)
	rdb.AddHook(workertest.OnCommand(func(cmd redis.Cmder) {
		recalled = recalled || cmd.Name() == "evalsha"
		require.False(t, pl.outage.away.Load(), "who comes back would fail at once, and back off again")
		if stop {
			cancel()
		}
	}))
	pl.redis = rdb
	require.Error(t, pl.look(looking))
	require.EqualValues(t, tasks, h.Waiting(name))
	stop = false
	require.NoError(t, pl.look(ctx), "what was cut off is done again")
	require.True(t, recalled)
	require.Zero(t, h.Waiting(name))
	first, err := h.Redis.LIndex(ctx, prefix+"pending", -1).Result()
	require.NoError(t, err)
	require.Contains(t, first, "late-")
	n, err := h.Redis.LLen(ctx, prefix+"pending").Result()
	require.NoError(t, err)
	require.EqualValues(t, tasks, n)
	require.False(t, pl.outage.away.Load())
}

// Only panics quarantine a task, whatever else it failed by.
func TestTheThirdPanicQuarantines(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	pl := h.byHandWith(h.Deps)
	run(t, pl)
	ctx := t.Context()
	run := pl.Guarded(func(context.Context, string, []byte) error { panic("of a record") })
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	task := asynq.NewTask(wire.TypeIngest, codec.Encode([][]byte{[]byte(workertest.Message("acme", "p", 0))}))
	for range panicsMax - 1 {
		var p *panics.Error
		require.ErrorAs(t, run(ctx, task), &p)
	}
	require.NoError(t, run(ctx, task))
	entries := 0
	require.NoError(t, h.Ledger.Quarantined(ctx, ledger.QuarantineFilter{State: ledger.QuarantineOpen}, func(*ledger.Entry) error {
		entries++
		return nil
	}))
	assert.Equal(t, 1, entries)
}
