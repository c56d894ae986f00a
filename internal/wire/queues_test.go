package wire

import (
	"strconv"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
)

// TestMain ends the engines that tests have started.
func TestMain(m *testing.M) { testengine.Main(m) }

// shelf is a queue whose tasks a test moves as asynq does.
type shelf struct {
	t      *testing.T
	rdb    *redis.Client
	queue  string
	prefix string
}

func newShelf(t *testing.T, queue string) *shelf {
	t.Helper()
	return &shelf{t: t, rdb: testengine.StartRedis(t).Redis(t), queue: queue, prefix: "asynq:{" + queue + "}:"}
}

func (s *shelf) enqueue(id string, opts ...asynq.Option) {
	s.t.Helper()
	_, err := asynq.NewClientFromRedisClient(s.rdb).EnqueueContext(s.t.Context(), asynq.NewTask(TypeIngest, nil), append(TaskOptions(id, s.queue), opts...)...)
	require.NoError(s.t, err)
}

// aged has a task that nobody has taken be so old.
func (s *shelf) aged(id string, age time.Duration) {
	s.t.Helper()
	require.NoError(s.t, s.rdb.HSet(s.t.Context(), s.prefix+"t:"+id, "pending_since", time.Now().Add(-age).UnixNano()).Err())
}

// seen has a task that is followed have been first seen so long ago.
func (s *shelf) seen(id string, age time.Duration) {
	s.t.Helper()
	n, err := s.rdb.ZAddXX(s.t.Context(), s.prefix+"meterd:seen", redis.Z{Score: float64(time.Now().Add(-age).UnixMilli()), Member: id}).Result()
	require.NoError(s.t, err)
	require.Zero(s.t, n)
	require.NoError(s.t, s.rdb.ZScore(s.t.Context(), s.prefix+"meterd:seen", id).Err(), "%s isn't followed", id)
}

// take is asynq's taking of the oldest task.
func (s *shelf) take(id string) {
	s.t.Helper()
	got, err := s.rdb.LMove(s.t.Context(), s.prefix+"pending", s.prefix+"active", "RIGHT", "LEFT").Result()
	require.NoError(s.t, err)
	require.Equal(s.t, id, got)
	require.NoError(s.t, s.rdb.HSet(s.t.Context(), s.prefix+"t:"+id, "state", "active").Err())
	require.NoError(s.t, s.rdb.HDel(s.t.Context(), s.prefix+"t:"+id, "pending_since").Err())
}

// fail puts a task off that was taken.
func (s *shelf) fail(id string) {
	s.t.Helper()
	require.NoError(s.t, s.rdb.LRem(s.t.Context(), s.prefix+"active", 0, id).Err())
	require.NoError(s.t, s.rdb.ZAdd(s.t.Context(), s.prefix+"retry", redis.Z{Score: 1e12, Member: id}).Err())
	require.NoError(s.t, s.rdb.HSet(s.t.Context(), s.prefix+"t:"+id, "state", "retry").Err())
}

// done ends a task that was taken.
func (s *shelf) done(id string) {
	s.t.Helper()
	require.NoError(s.t, s.rdb.LRem(s.t.Context(), s.prefix+"active", 0, id).Err())
	require.NoError(s.t, s.rdb.Del(s.t.Context(), s.prefix+"t:"+id).Err())
}

func (s *shelf) look() Held {
	s.t.Helper()
	h, err := Look(s.t.Context(), s.rdb, s.queue)
	require.NoError(s.t, err)
	return h
}

// older asserts that the oldest task is so old, give or take the test's own time.
func (s *shelf) older(age time.Duration) {
	s.t.Helper()
	assert.InDelta(s.t, age.Seconds(), s.look().Oldest.Seconds(), 60)
}

// TestTheOldestTask is found in whatever list it waits, and is as old as it was there
// before.
func TestTheOldestTask(t *testing.T) {
	t.Parallel()
	s := newShelf(t, IngestQueue(0))
	assert.Equal(t, Held{Tasks: map[string]int64{"pending": 0, "active": 0, "scheduled": 0, "retry": 0}}, s.look())
	for _, id := range []string{"a", "b", "c"} {
		s.enqueue(id)
	}
	s.older(0)
	s.aged("b", time.Hour)
	s.older(time.Hour)

	s.take("a")
	s.enqueue("later", asynq.ProcessIn(time.Hour))
	assert.Equal(t, map[string]int64{"pending": 2, "active": 1, "scheduled": 1, "retry": 0}, s.look().Tasks)
	s.seen("a", 2*time.Hour)
	s.older(2 * time.Hour) // active
	s.fail("a")
	assert.Equal(t, map[string]int64{"pending": 2, "active": 0, "scheduled": 1, "retry": 1}, s.look().Tasks)
	s.older(2 * time.Hour) // waits for its next try
	s.seen("later", 3*time.Hour)
	s.older(3 * time.Hour) // scheduled

	require.NoError(t, s.rdb.Del(t.Context(), s.prefix+"scheduled", s.prefix+"t:later").Err())
	require.EqualValues(t, 1, must(Recall(t.Context(), s.rdb, s.queue)))
	s.older(2 * time.Hour) // it has come back, and no other is as old
	for _, id := range []string{"b", "c", "a"} {
		s.take(id)
		s.done(id)
	}
	assert.Zero(t, s.look().Oldest)
	assert.Zero(t, must(s.rdb.Exists(t.Context(), s.prefix+"meterd:seen").Result()), "nothing is followed any more")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestTasksThatAreFollowedAreBounded: and as many others may wait.
func TestTasksThatAreFollowedAreBounded(t *testing.T) {
	t.Parallel()
	s := newShelf(t, IngestQueue(0))
	put := func(from, to int) {
		pipe := s.rdb.Pipeline()
		for i := from; i < to; i++ {
			id := strconv.Itoa(i)
			pipe.HSet(t.Context(), s.prefix+"t:"+id, "state", "retry")
			pipe.ZAdd(t.Context(), s.prefix+"retry", redis.Z{Score: float64(2e9 - i), Member: id}) // the newest is tried first
		}
		_, err := pipe.Exec(t.Context())
		require.NoError(t, err)
	}
	put(0, 10)
	s.look()
	s.seen("3", time.Hour)
	put(10, 5*followedMax)
	assert.EqualValues(t, 5*followedMax, s.look().Tasks["retry"])
	s.older(time.Hour)
	assert.EqualValues(t, followedMax, must(s.rdb.ZCard(t.Context(), s.prefix+"meterd:seen").Result()))
}

// TestAFullRedisIsMeasured: when memory is at its end figures count most.
func TestAFullRedisIsMeasured(t *testing.T) {
	t.Parallel()
	s := newShelf(t, IngestQueue(0))
	s.enqueue("a")
	s.aged("a", time.Hour)
	s.enqueue("b", asynq.ProcessIn(time.Hour))
	require.NoError(t, s.rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	assert.EqualValues(t, 1, s.look().Tasks["scheduled"])
	s.older(time.Hour)
}
