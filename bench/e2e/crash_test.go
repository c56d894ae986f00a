package e2e_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/traffic"
	"github.com/meterd/meterd/internal/testengine"
)

// The crash test: so many kills, and so many lines sent between two of them.
const (
	crashes    = 20
	crashPart  = 3_000
	crashDelay = 600 * time.Millisecond // at most, until the kill
)

// TestCrashSafe kills everything at random moments of the ingest, twenty times
// in a row: no record is lost or counted twice, and nothing had to be healed.
func TestCrashSafe(t *testing.T) {
	t.Parallel()
	testengine.Bound(t, 5*time.Minute) // 20 kills take 90 s on a quiet machine, two minutes with one core busy
	now := minute()
	b := traffic.FourParents(now)
	s := up(t, nil, "--reconcile-every", "1s")
	s.cli().run(t, "accounts", "apply", "-f", b.File(t))
	o := traffic.NewOracle(t, b, now)
	fund(t, s.cli(), o)
	w := traffic.NewWorkload(b, now, 3)
	parts := crashParts(w, o)
	total := o.Totals
	want := totals{Records: total[traffic.Stored], Refused: int64(len(o.Refused))}

	rnd := rand.New(rand.NewPCG(1, 2))
	next := 0
	var slowest time.Duration
	lost := 0
	for i := range crashes {
		// Another process sends until it is told that all is safe in the queue,
		// and sends again what wasn't.
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan int, 1)
		go func() { sent <- s.cli().send(ctx, t, parts[next:next+1]) }()
		safe, done := 0, false
		if rnd.IntN(3) > 0 { // the moment is in the ingest, else while it is sent
			safe, done = <-sent, true
		}
		<-time.After(time.Duration(rnd.Int64N(int64(crashDelay))))
		s.killAll(rnd.IntN(2) == 0)
		killed := time.Now()
		cancel()
		if !done {
			safe = <-sent
		}
		next += safe
		started := time.Now()
		s.start(t)
		slowest = max(slowest, time.Since(started))
		lost += s.lost(t, killed)
		t.Logf("kill %d: %d of %d parts are safe, ready again after %s", i+1, next, len(parts), time.Since(started).Round(time.Millisecond))
	}
	assert.Less(t, slowest, 20*time.Second, "the slowest restart") // a second or two where the machine isn't busy
	assert.Zero(t, lost, "tasks of dead workers that nobody had taken back when the next one was ready")
	for next < len(parts) {
		next += s.cli().send(t.Context(), t, parts[next:])
	}
	if got := s.settle(t, want); got != want {
		waits := s.query(t, "SELECT count(), countIf((account_id, refers_to) IN (SELECT account_id, id FROM meterd.records WHERE kind = 'usage')) FROM meterd.refund_waits FINAL WHERE sign = 1")
		t.Errorf("metered %+v, want %+v; refunds that wait for their message, and whose has come: %s; tasks: %s", got, want, waits, s.tasks(t))
	}
	compareUsage(t, s.cli(), o)
	compareAccounts(t, s.cli(), o)
	compareQuarantine(t, s.cli(), o)
	reconciled(t, s.cli(), len(b.Accounts))
	assert.Zero(t, metric(t, s.info(t).HTTP, "meterd_projection_drift_total"))
	assert.Equal(t, "0", s.query(t, "SELECT count() FROM meterd.findings WHERE kind = 'projection_drift'"), "drifts ever found")
	assert.Equal(t, "0", s.query(t, "SELECT count() - uniqExact(account_id, kind, id) FROM meterd.records FINAL"), "rows beyond one for each identity")
	s.Stop(t)
}

// crashParts are twenty parts and more: messages, with copies of earlier ones
// and refunds of them, refused and malformed lines.
func crashParts(w *traffic.Workload, o *traffic.Oracle) [][]string {
	parts := make([][]string, 0, crashes)
	refunded := map[string]bool{}
	for range crashes {
		lines := traffic.FirstLines(w, o, crashPart-100)
		for len(lines) < crashPart {
			m := w.Older()
			if refunded[m.ID] {
				continue
			}
			refunded[m.ID] = true
			u := w.Refund(m)
			lines = append(lines, u.Line())
			o.Take(u)
		}
		parts = append(parts, lines)
	}
	return parts
}

// send enqueues parts one after another until ctx ends, and says how many are
// safe in the queue.
func (c cli) send(ctx context.Context, tb testing.TB, parts [][]string) int {
	tb.Helper()
	for i, lines := range parts {
		r := c.try(ctx, tb, "enqueue", write(tb, lines), "--batch", "150")
		if r.code != 0 {
			return i
		}
	}
	return len(parts)
}

// redis is the system's; the caller closes it.
func (s *system) redis(tb testing.TB) *redis.Client {
	tb.Helper()
	info := s.info(tb)
	return redis.NewClient(&redis.Options{Addr: info.Redis, Password: info.RedisPassword})
}

// lease is how long asynq leaves a task to a worker that says nothing.
const lease = 30 * time.Second

// lost is how many tasks are still a worker's that was dead at a time.
func (s *system) lost(tb testing.TB, killed time.Time) int {
	tb.Helper()
	rdb := s.redis(tb)
	defer func() { _ = rdb.Close() }()
	queues, err := rdb.SMembers(tb.Context(), "asynq:queues").Result()
	require.NoError(tb, err)
	n := 0
	for _, q := range queues {
		// Leases are whole seconds: one of the second of the kill may be the new worker's.
		old, err := rdb.ZCount(tb.Context(), "asynq:{"+q+"}:lease", "-inf", fmt.Sprint(killed.Add(lease).Unix()-1)).Result()
		require.NoError(tb, err)
		n += int(old)
	}
	return n
}

// tasks tells what is left in the queues, and why.
func (s *system) tasks(tb testing.TB) string {
	tb.Helper()
	rdb := s.redis(tb)
	defer func() { _ = rdb.Close() }()
	asked := asynq.NewInspectorFromRedisClient(rdb)
	queues, err := asked.Queues()
	require.NoError(tb, err)
	var out []string
	for _, q := range queues {
		for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){asked.ListPendingTasks, asked.ListActiveTasks, asked.ListScheduledTasks, asked.ListRetryTasks} {
			tasks, err := list(q, asynq.PageSize(3))
			require.NoError(tb, err)
			for _, i := range tasks {
				out = append(out, fmt.Sprintf("%s %s %s %s, %d tries, next in %s, last error %q", q, i.State, i.Type, i.ID, i.Retried, time.Until(i.NextProcessAt), i.LastErr))
			}
		}
	}
	return strings.Join(out, "\n")
}

// totals tell cheaply whether all is metered.
type totals struct {
	Records int64 // usage and refunds
	Refused int64
}

func number(tb testing.TB, s string) int64 {
	tb.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(tb, err)
	return n
}

// settleMax: where nothing more is metered for so long something is stuck. All of it
// takes 13 s on a quiet machine, and two minutes on one that is ten times as slow.
const settleMax = time.Minute

// settle polls until the totals are as wanted, or don't change for settleMax.
func (s *system) settle(tb testing.TB, want totals) totals {
	tb.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var got totals
	for moved := time.Now(); got != want && time.Since(moved) < settleMax; <-tick.C {
		if now := s.measure(tb); now != got {
			got, moved = now, time.Now()
		}
	}
	return got
}

func (s *system) measure(tb testing.TB) totals {
	tb.Helper()
	return totals{
		Records: number(tb, s.query(tb, "SELECT uniqExact(account_id, kind, id) FROM meterd.records")),
		Refused: number(tb, s.query(tb, "SELECT uniqExact(id) FROM meterd.quarantine")),
	}
}

// query asks the system's ClickHouse.
func (s *system) query(tb testing.TB, q string) string {
	tb.Helper()
	info := s.info(tb)
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, info.ClickHouse+"/?password="+url.QueryEscape(info.ClickHousePassword), strings.NewReader(q))
	require.NoError(tb, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(tb, err)
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	require.NoError(tb, err)
	require.Equal(tb, http.StatusOK, resp.StatusCode, string(out))
	return strings.TrimSpace(string(out))
}
