package jobs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
)

func TestMain(m *testing.M) { testengine.Main(m) }

// TestLinger: only where some company can be expected is it waited for, and
// longer where that makes tasks that cost less.
func TestLinger(t *testing.T) {
	t.Parallel()
	const linger, ms = 10 * time.Millisecond, time.Millisecond
	for _, c := range []struct {
		what   string
		packed int
		since  time.Duration
		want   time.Duration
	}{
		{"the first", 0, time.Duration(1<<63 - 1), ms},
		{"one after long", 1, time.Hour, ms},
		{"50 a second", 1, 20 * ms, ms},
		{"a burst long ago", 8000, time.Hour, ms},
		{"1,000 a second, one at a time", 1, ms, linger},
		{"1,000 a second, in tens", 10, 11 * ms, linger},
		{"10,000 a second", 100, 10 * ms, linger},
		{"20,000 a second", 200, 10 * ms, 20 * ms},
		{"20,000 a second, of those", 400, 20 * ms, 20 * ms},
		{"as fast as can be", 8000, 30 * ms, 40 * ms},
		{"at once", 8000, 0, 40 * ms},
	} {
		require.Equal(t, c.want, lingerOf(linger, c.packed, c.since), c.what)
	}
	require.Equal(t, 100*time.Microsecond, lingerOf(100*time.Microsecond, 0, time.Hour), "a shorter one stays")
	require.Equal(t, 50*ms, lingerOf(50*ms, 8000, 50*ms), "a longer one too")
}

// instead answers every command in Redis's place.
type instead func() error

func (f instead) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f instead) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error { return f() }
}

func (f instead) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return f() }
}

// away is a Redis of which every command comes to this.
func away(t *testing.T, answer func() error) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	rdb.AddHook(instead(answer))
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// silent is a Redis that never answers, until t ends.
func silent(t *testing.T) *redis.Client {
	t.Helper()
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	return away(t, func() error {
		<-ended
		return net.ErrClosed
	})
}

// TestCallsEndWithTheirContext: whether a record's task waits for Redis, for its
// place, or the record for a place in it.
func TestCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient(silent(t), ClientOptions{InFlight: 1, RecordsMax: 1})
		require.NoError(t, err)
		var sends sync.WaitGroup
		for i := range 3 {
			sends.Go(func() {
				patience := time.Duration(i+1) * time.Second
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				began := time.Now()
				assert.ErrorIs(t, c.SendLine(ctx, []byte("{}")), context.DeadlineExceeded)
				assert.Equal(t, patience, time.Since(began))
			})
			synctest.Wait() // on its way, waiting for a place, waiting for a place in a task
		}
		sends.Wait()
		for _, call := range []func(ctx context.Context) error{
			func(ctx context.Context) error { return c.Add(ctx, []byte("{}")) }, c.Flush, c.Close,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			began := time.Now()
			require.ErrorIs(t, call(ctx), context.DeadlineExceeded)
			require.Equal(t, time.Second, time.Since(began))
			cancel()
		}
		require.Zero(t, c.Sent())
		require.ErrorIs(t, c.Add(t.Context(), []byte("{}")), ErrClosed)
	})
}

// TestRecordsWhoseContextIsOverAreNotTaken: their caller keeps them.
func TestRecordsWhoseContextIsOverAreNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient(silent(t), ClientOptions{})
		require.NoError(t, err)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, c.SendLine(over, []byte("{}")), context.Canceled)
		require.ErrorIs(t, c.Add(over, []byte("{}")), context.Canceled)
		require.NoError(t, c.Close(t.Context()), "there is nothing to send")
	})
}

// TestErrorsGoToWhoseRecordsTheyAre: a failed Send is no error of Add's or Flush's,
// and a failed Add is told once.
func TestErrorsGoToWhoseRecordsTheyAre(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient(away(t, func() error { return errors.New("nobody listens") }), ClientOptions{})
		require.NoError(t, err)
		began := time.Now()
		require.ErrorContains(t, c.SendLine(t.Context(), []byte("{}")), "send 1 usage records: ")
		require.LessOrEqual(t, time.Since(began), sendMax+time.Second)
		require.NoError(t, c.Flush(t.Context()))
		require.NoError(t, c.Add(t.Context(), []byte("{}")))
		require.NoError(t, c.Add(t.Context(), []byte("{}")))
		require.ErrorContains(t, c.Flush(t.Context()), "send 2 usage records: ")
		require.NoError(t, c.Add(t.Context(), []byte("{}")))
		<-time.After(2 * sendMax) // of virtual time
		require.ErrorContains(t, c.Add(t.Context(), []byte("{}")), "send 1 usage records: ", "the backlog is told early")
		require.ErrorContains(t, c.Close(t.Context()), "send 1 usage records: ")
		require.NoError(t, c.Close(t.Context()), "closing twice is harmless")
		require.Zero(t, c.Sent())
	})
}

// TestManyGoroutinesShareAClient: each record is in the queue once, however its
// sender, those that add, and one that flushes meanwhile come together.
func TestManyGoroutinesShareAClient(t *testing.T) {
	t.Parallel()
	rdb := testengine.StartRedis(t).Redis(t)
	c, err := NewClient(rdb, ClientOptions{Shards: 2, RecordsMax: 3, InFlight: 2, Linger: 50 * time.Microsecond})
	require.NoError(t, err)
	const goroutines, each = 8, 50
	var calls, flusher sync.WaitGroup
	for g := range goroutines {
		calls.Go(func() {
			for i := range each {
				line := fmt.Appendf(nil, `{"id":"%d-%d"}`, g, i)
				if g%2 == 0 {
					assert.NoError(t, c.SendLine(t.Context(), line))
				} else {
					assert.NoError(t, c.Add(t.Context(), line))
				}
			}
		})
	}
	over := make(chan struct{})
	flusher.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				assert.NoError(t, c.Flush(t.Context()))
			}
		}
	})
	calls.Wait()
	close(over)
	flusher.Wait()
	require.NoError(t, c.Close(t.Context()))
	require.EqualValues(t, goroutines*each, c.Sent())
	require.Len(t, queued(t, rdb, 2), goroutines*each)
}

// replicas answer WAIT in Redis's place, one answer after the other.
type replicas struct {
	instead

	has   []int  // how many of them have it
	asked []any  // the last WAIT
	fails func() // over, before the first is answered
}

func (r *replicas) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (r *replicas) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		wait, ok := cmds[len(cmds)-1].(*redis.Cmd)
		if !ok || wait.Args()[0] != "WAIT" {
			return next(ctx, cmds)
		}
		r.asked = wait.Args()
		if r.fails != nil {
			r.fails()
			r.fails = nil
		}
		wait.SetVal(int64(r.has[0]))
		r.has = r.has[1:]
		return next(ctx, cmds[:len(cmds)-1]) // the write that goes before it
	}
}

// TestReplicasHaveWhatWasSent: a record counts as sent once as many replicas as
// were asked for have its task, which is in the queue once all the same.
func TestReplicasHaveWhatWasSent(t *testing.T) {
	t.Parallel()
	rdb := testengine.StartRedis(t).Redis(t)
	r := &replicas{has: []int{0, 1, 2}}
	rdb.AddHook(r)
	c, err := NewClient(rdb, ClientOptions{Shards: 1, Replicas: 2})
	require.NoError(t, err)
	require.NoError(t, c.SendLine(t.Context(), []byte("{}")))
	require.Empty(t, r.has, "it was asked until enough had it")
	require.Equal(t, []any{"WAIT", 2, 2000}, r.asked)
	require.Equal(t, map[string]bool{"{}": true}, queued(t, rdb, 1))
	require.NoError(t, c.Close(t.Context()))
}

// TestAFailoverWhileReplicasAreWaitedFor: the one that has taken over lacks the task,
// and all its replicas have what it has.
func TestAFailoverWhileReplicasAreWaitedFor(t *testing.T) {
	t.Parallel()
	e := testengine.StartRedis(t)
	rdb, other := e.Redis(t), e.Redis(t)
	r := &replicas{has: []int{1, 1}, fails: func() {
		tasks, err := other.Keys(t.Context(), "asynq:{*}:t:*").Result()
		require.NoError(t, err)
		require.Len(t, tasks, 1)
		require.NoError(t, other.Del(t.Context(), tasks[0], wire.PendingKey(wire.IngestQueue(0))).Err())
		require.NoError(t, other.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
		require.NoError(t, other.ReplicaOf(t.Context(), "NO", "ONE").Err())
	}}
	rdb.AddHook(r)
	c, err := NewClient(rdb, ClientOptions{Shards: 1, Replicas: 1})
	require.NoError(t, err)
	require.NoError(t, c.SendLine(t.Context(), []byte("{}")))
	require.Equal(t, map[string]bool{"{}": true}, queued(t, other, 1))
	require.NoError(t, c.Close(t.Context()))
}

// queued are the lines of all tasks that wait, each once.
func queued(t *testing.T, rdb *redis.Client, shards int) map[string]bool {
	t.Helper()
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	lines := map[string]bool{}
	for _, queue := range wire.IngestQueues(shards) {
		ids, err := rdb.LRange(t.Context(), wire.PendingKey(queue), 0, -1).Result()
		require.NoError(t, err)
		for _, id := range ids {
			info, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo(queue, id)
			require.NoError(t, err)
			in, err := codec.Decode(info.Payload)
			require.NoError(t, err)
			for _, line := range in {
				require.False(t, lines[string(line)], "%s is queued twice", line)
				lines[string(line)] = true
			}
		}
	}
	return lines
}

// TestClientOfOptionsThatCantBe is refused before it takes a record: nobody would look
// into queues of too many shards, and no worker take too large a task.
func TestClientOfOptionsThatCantBe(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = rdb.Close() })
	for _, n := range []int{-1, wire.ShardsMax + 1} {
		_, err := NewClient(rdb, ClientOptions{Shards: n})
		require.ErrorContains(t, err, "from 1 to 256")
	}
	for option, o := range map[string]ClientOptions{
		"RecordsMax": {RecordsMax: wire.LinesMax + 1},
		"BytesMax":   {BytesMax: wire.PayloadMax},
		"Linger":     {Linger: -1},
		"InFlight":   {InFlight: -1},
		"QueueMax":   {QueueMax: -1},
		"Replicas":   {Replicas: -1},
	} {
		_, err := NewClient(rdb, o)
		require.ErrorContains(t, err, "ClientOptions."+option+" is ")
	}
	_, err := NewClient(rdb, ClientOptions{Shards: wire.ShardsMax})
	require.NoError(t, err)
}

// TestWhatWaitsForItsNextTryFillsAQueue: tasks that failed, and those that were put off,
// brake a client just as those that nobody has tried.
func TestWhatWaitsForItsNextTryFillsAQueue(t *testing.T) {
	t.Parallel()
	rdb := testengine.StartRedis(t).Redis(t)
	c, err := NewClient(rdb, ClientOptions{Shards: 1, QueueMax: 3})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	queue := wire.IngestQueue(0)
	require.NoError(t, c.SendLine(t.Context(), []byte("{}"))) // pending
	require.NoError(t, rdb.ZAdd(t.Context(), wire.RetryKey(queue), redis.Z{Score: 1e12, Member: "a"}).Err())
	require.NoError(t, c.room(t.Context(), 0))
	require.NoError(t, rdb.ZAdd(t.Context(), wire.ScheduledKey(queue), redis.Z{Score: 1e12, Member: "b"}).Err())
	require.ErrorIs(t, c.room(t.Context(), 0), ErrQueueFull)
	require.NoError(t, rdb.Del(t.Context(), wire.RetryKey(queue)).Err())
	require.NoError(t, c.room(t.Context(), 0), "they have come back and been stored")
}

// TestSendRefusesWhatCanNeverBeCharged, before Redis hears of it.
func TestSendRefusesWhatCanNeverBeCharged(t *testing.T) {
	t.Parallel()
	c, err := NewClient(silent(t), ClientOptions{})
	require.NoError(t, err)
	whole := metering.Record{ID: "m1", Kind: metering.KindUsage, AccountID: "acme", Channel: "sms", Units: metering.Units(1), OccurredAt: time.Now()}
	for says, without := range map[string]func(r *metering.Record){
		"ID: empty":          func(r *metering.Record) { r.ID = "" },
		"AccountID: empty":   func(r *metering.Record) { r.AccountID = "" },
		"OccurredAt: empty":  func(r *metering.Record) { r.OccurredAt = time.Time{} },
		"Units: below 0":     func(r *metering.Record) { r.Units = metering.Some(metering.Quantity(-1)) },
		"Units: below 0, or": func(r *metering.Record) { r.Units = metering.Units(1_000_000_000_000) },
		"RefersTo: empty":    func(r *metering.Record) { r.Kind = metering.KindRefund },
	} {
		r := whole
		without(&r)
		err := c.Send(t.Context(), &r)
		require.ErrorIs(t, err, ErrRecord)
		require.ErrorContains(t, err, says)
	}
	whole.Units = metering.Optional[metering.Quantity]{} // one of the rule's unit
	require.NoError(t, chargeable(&whole))
}

// roundTrips counts a client's.
type roundTrips struct {
	instead

	n atomic.Int64
}

func (r *roundTrips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.n.Add(1)
		return next(ctx, cmd)
	}
}

func (r *roundTrips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.n.Add(1)
		return next(ctx, cmds)
	}
}

// TestAQueuesLengthIsOneRoundTrip: it is asked with every task.
func TestAQueuesLengthIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	rdb := testengine.StartRedis(t).Redis(t)
	var trips roundTrips
	rdb.AddHook(&trips)
	c, err := NewClient(rdb, ClientOptions{Shards: 1})
	require.NoError(t, err)
	require.NoError(t, c.room(t.Context(), 0))
	connected := trips.n.Load()
	require.NoError(t, c.room(t.Context(), 0))
	require.EqualValues(t, 1, trips.n.Load()-connected)
	require.NoError(t, c.Close(t.Context()))
}
