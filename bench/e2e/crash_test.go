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
		cancel()
		if !done {
			safe = <-sent
		}
		next += safe
		started := time.Now()
		s.start(t)
		slowest = max(slowest, time.Since(started))
		t.Logf("kill %d: %d of %d parts are safe, ready again after %s", i+1, next, len(parts), time.Since(started).Round(time.Millisecond))
	}
	assert.Less(t, slowest, 20*time.Second, "the slowest restart") // a second or two where the machine isn't busy
	restarted := time.Now()
	defer func() { t.Logf("all metered %s after the last restart", time.Since(restarted)) }()
	for next < len(parts) {
		next += s.cli().send(t.Context(), t, parts[next:])
	}
	if got := s.settle(t, want); got != want {
		t.Errorf("metered %+v, want %+v; refunds that wait for their message: %s, of which it has come: %s; tasks: %s",
			got, want, s.query(t, "SELECT count() FROM meterd.refund_waits FINAL WHERE sign = 1"),
			s.query(t, "SELECT count() FROM meterd.refund_waits FINAL WHERE sign = 1 AND (account_id, refers_to) IN (SELECT account_id, id FROM meterd.records WHERE kind = 'usage')"), s.tasks(t))
	}
	// asynq's own recovery takes 80 s and more: on a machine where a restart takes one,
	// all is metered after 13 s, with what was yet to send.
	assert.Less(t, time.Since(restarted), 40*slowest, "from the last restart until all is metered")

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

// tasks tells what is left in the queues, and why.
func (s *system) tasks(tb testing.TB) string {
	tb.Helper()
	info := s.info(tb)
	asked := asynq.NewInspector(asynq.RedisClientOpt{Addr: info.Redis, Password: info.RedisPassword})
	defer func() { _ = asked.Close() }()
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

// settle polls until the totals are as wanted, or for a minute.
func (s *system) settle(tb testing.TB, want totals) totals {
	tb.Helper()
	deadline := time.After(2 * time.Minute) // it takes 13 s on a quiet machine, a minute where three others compute
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		got := s.measure(tb)
		if got == want {
			return got
		}
		select {
		case <-tick.C:
		case <-deadline:
			return got
		}
	}
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
