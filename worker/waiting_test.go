package worker

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/jobs"
)

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
	_, err := asynq.NewClientFromRedisClient(s.rdb).EnqueueContext(s.t.Context(), asynq.NewTask(jobs.TypeIngest, nil), append(jobs.Options(id, s.queue), opts...)...)
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

func (s *shelf) look() held {
	s.t.Helper()
	h, err := lookInto(s.t.Context(), s.rdb, s.queue)
	require.NoError(s.t, err)
	return h
}

// older asserts that the oldest task is so old, give or take the test's own time.
func (s *shelf) older(age time.Duration) {
	s.t.Helper()
	assert.InDelta(s.t, age.Seconds(), s.look().oldest.Seconds(), 60)
}

// TestTheOldestTask is found in whatever list it waits, and is as old as it was there
// before.
func TestTheOldestTask(t *testing.T) {
	t.Parallel()
	s := newShelf(t, jobs.IngestQueue(0))
	assert.Equal(t, held{tasks: map[string]int64{"pending": 0, "active": 0, "scheduled": 0, "retry": 0}}, s.look())
	for _, id := range []string{"a", "b", "c"} {
		s.enqueue(id)
	}
	s.older(0)
	s.aged("b", time.Hour)
	s.older(time.Hour)

	s.take("a")
	s.enqueue("later", asynq.ProcessIn(time.Hour))
	assert.Equal(t, map[string]int64{"pending": 2, "active": 1, "scheduled": 1, "retry": 0}, s.look().tasks)
	s.seen("a", 2*time.Hour)
	s.older(2 * time.Hour) // active
	s.fail("a")
	assert.Equal(t, map[string]int64{"pending": 2, "active": 0, "scheduled": 1, "retry": 1}, s.look().tasks)
	s.older(2 * time.Hour) // waits for its next try
	s.seen("later", 3*time.Hour)
	s.older(3 * time.Hour) // scheduled

	require.NoError(t, s.rdb.Del(t.Context(), s.prefix+"scheduled", s.prefix+"t:later").Err())
	require.EqualValues(t, 1, must(redis.NewScript(recallSource).Run(t.Context(), s.rdb, []string{s.prefix + "retry", s.prefix + "pending"}, s.prefix+"t:", 9).Int64()))
	s.older(2 * time.Hour) // it has come back, and no other is as old
	for _, id := range []string{"b", "c", "a"} {
		s.take(id)
		s.done(id)
	}
	assert.Zero(t, s.look().oldest)
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
	s := newShelf(t, jobs.IngestQueue(0))
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
	assert.EqualValues(t, 5*followedMax, s.look().tasks["retry"])
	s.older(time.Hour)
	assert.EqualValues(t, followedMax, must(s.rdb.ZCard(t.Context(), s.prefix+"meterd:seen").Result()))
}

// TestAFullRedisIsMeasured: when memory is at its end figures count most.
func TestAFullRedisIsMeasured(t *testing.T) {
	t.Parallel()
	s := newShelf(t, jobs.IngestQueue(0))
	s.enqueue("a")
	s.aged("a", time.Hour)
	s.enqueue("b", asynq.ProcessIn(time.Hour))
	require.NoError(t, s.rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	assert.EqualValues(t, 1, s.look().tasks["scheduled"])
	s.older(time.Hour)
}

// gathered are the values of a metric, by its labels.
func gathered(t *testing.T, reg prometheus.Gatherer, name string) map[string]float64 {
	t.Helper()
	all, err := reg.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			out[labels(m)] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

func labels(m *dto.Metric) string {
	text := ""
	for _, l := range m.GetLabel() {
		text += fmt.Sprintf("%s=%s ", l.GetName(), l.GetValue())
	}
	return text
}

// TestCountersBeginAtZero: else the first failure isn't seen, for it makes the series.
func TestCountersBeginAtZero(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	newMetrics(reg)
	assert.Equal(t, map[string]float64{"outcome=delivered ": 0, "outcome=failed ": 0, "outcome=gone ": 0}, gathered(t, reg, "meterd_hook_deliveries_total"))
	assert.Equal(t, map[string]float64{"state=delivered ": 0, "state=failed ": 0, "state=truncated ": 0}, gathered(t, reg, "meterd_report_runs_total"))
	assert.Equal(t, map[string]float64{"outcome=stored ": 0, "outcome=duplicate ": 0, "outcome=quarantined ": 0, "outcome=waiting ": 0}, gathered(t, reg, "meterd_records_total"))
	for _, name := range []string{"meterd_projection_drift_total", "meterd_forced_charges_total", "meterd_requeued_tasks_total"} {
		assert.Equal(t, map[string]float64{"": 0}, gathered(t, reg, name), name)
	}
}

// TestWhatWaitsIsMeasured: by a scheduler, which names its roles and says of when its
// figures are.
func TestWhatWaitsIsMeasured(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	deps, _ := connect(t, h.address())
	reg := prometheus.NewRegistry()
	deps.Metrics = reg
	w, err := New(deps, Options{Roles: []string{RoleScheduler, RoleReports}})
	require.NoError(t, err)
	require.Len(t, gathered(t, reg, "meterd_measured_timestamp_seconds"), 4)
	require.Equal(t, map[string]float64{"partition=0 ": 0}, gathered(t, reg, "meterd_breaker_open"))
	require.Empty(t, gathered(t, reg, "meterd_role"), "it serves nobody yet")

	h.batch().task(message(shop, "m", 0)) // nobody takes it
	w.engine.metrics.measured.Reset()
	require.NoError(t, w.countTasks(t.Context()))
	require.Contains(t, gathered(t, reg, "meterd_measured_timestamp_seconds"), "what=tasks ")
	tasks := gathered(t, reg, "meterd_queue_tasks")
	require.Len(t, tasks, 4*4)
	require.InDelta(t, 1, tasks["queue=ingest state=pending "], 0)
	require.Len(t, gathered(t, reg, "meterd_oldest_task_seconds"), 4)
	require.Positive(t, gathered(t, reg, "meterd_oldest_task_seconds")["queue=ingest "])

	deps, _ = connect(t, h.address())
	reg = prometheus.NewRegistry()
	deps.Metrics = reg
	stop := h.workWith(deps, Options{Roles: []string{RoleIngest, RoleSuspensions}})
	defer stop()
	require.Equal(t, map[string]float64{"role=ingest ": 1, "role=suspensions ": 1}, gathered(t, reg, "meterd_role"))
	for _, name := range []string{"meterd_breaker_open", "meterd_queue_tasks", "meterd_oldest_task_seconds", "meterd_measured_timestamp_seconds"} {
		require.Empty(t, gathered(t, reg, name), "%s is a scheduler's", name)
	}
}
