package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/meterd/meterd/bench/internal/traffic"
	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/internal/quietlog"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/worker"
)

// logged is what a worker writes, as `meterd worker` does but for the time after which
// it sums up.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(strings.Lines(l.text.String()))
}

// find is the number of the first line after from that has all the words, or -1.
func (l *logged) find(from int, words ...string) int {
	for i, line := range l.lines() {
		if i >= from && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return i
		}
	}
	return -1
}

// linesMax is what a worker may log in a minute of an outage.
const linesMax = 20

// TestLogsOfOutages: whatever is away, a worker under load says in its first lines what
// it is and where, says when it is back, writes few lines, and none of what it was sent.
func TestLogsOfOutages(t *testing.T) {
	t.Parallel()
	signal := func(s unix.Signal) func(*rig) {
		return func(r *rig) { require.NoError(r.t, unix.Kill(r.redis.PID(), s)) }
	}
	memory := func(most string) func(*rig) {
		return func(r *rig) { require.NoError(r.t, r.sys.redis.ConfigSet(r.t.Context(), "maxmemory", most).Err()) }
	}
	restart := func(r *rig) { r.startRedis(embedded.RedisOptions{}) }
	silent := func(r *rig) { r.back.toxic("timeout", "downstream", `{"timeout":0}`) }
	heard := func(r *rig) { r.back.cut(); r.back.clean(); r.back.mend() }
	for i, c := range []struct {
		name, engine, why string
		begin, end        func(*rig)
	}{
		{"Redis killed", "redis", "connection refused", (*rig).killRedis, restart},
		{"Redis paused", "redis", "no answer within 5s", signal(unix.SIGSTOP), signal(unix.SIGCONT)},
		{"Redis out of memory", "redis", "OOM", memory("1mb"), memory("0")},
		{"ClickHouse killed", "clickhouse", "connection refused", func(r *rig) { r.back.cut() }, func(r *rig) { r.back.mend() }},
		{"ClickHouse paused", "clickhouse", "no answer within 5s", silent, heard},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 90+i, c.name)
			out, lines := &logged{}, traffic.FirstLines(r.work, r.oracle, pick(1500, 20_000))
			stop := r.logging(out)
			r.send(lines, 30*time.Millisecond)
			r.eventually("records are stored", time.Minute, func() (bool, string) {
				var n uint64
				err := r.ch.QueryRow(t.Context(), "SELECT count() FROM records").Scan(&n)
				return err == nil && n > 0, "none is"
			})
			before := len(out.lines())
			c.begin(r)
			<-time.After(pick(16*time.Second, 90*time.Second))
			during := len(out.lines())
			c.end(r)
			r.eventually("that it is back is said", 30*time.Second, func() (bool, string) {
				return out.find(during, "an engine can be used again", "over="+c.engine) >= 0, strings.Join(out.lines(), "")
			})
			if c.name == "Redis killed" { // what the runbook says is seen
				r.eventually("what became of the projection is said", 30*time.Second, func() (bool, string) {
					return out.find(during, "projection", "redis restarted") >= 0, strings.Join(out.lines(), "")
				})
			}
			stop()
			text := strings.Join(out.lines(), "")
			t.Log(text)
			if testing.Verbose() {
				t.Logf("%s: %d lines before, %d in it, %d after", c.name, before, during-before, len(out.lines())-during)
			}
			cause := out.find(before, "an engine can't be used", "cause="+c.engine, "address=127.0.0.1:", c.why)
			require.GreaterOrEqual(t, cause, before, "what is away isn't said")
			assert.Less(t, cause-before, 5, "the cause is among the first five lines")
			assert.LessOrEqual(t, during-before, linesMax*pick(1, 2))
			for what := range secrets(t, lines) {
				assert.NotContains(t, text, what)
			}
		})
	}
}

// logging runs a worker that writes to out, until stop, which flushes it.
func (r *rig) logging(out *logged) (stop func()) {
	h := quietlog.New(slog.NewTextHandler(out, nil), quietlog.Options{Every: pick(10*time.Second, time.Minute)})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	a := r.proxied()
	a.Redis = r.redis.Addr() // it is killed and paused itself
	end := r.worker(a, func(s *system, _ *worker.Options) {
		s.Log, s.Metrics = slog.New(h), prometheus.NewRegistry()
		s.Projector = reconcile.New(s.Store, s.Ledger, s.Clock, s.Log, reconcile.Options{Durable: a.Durable})
	})
	return func() {
		end()
		cancel()
		running.Wait()
	}
}

// secrets are what may be in no line of a log: ids, receivers, senders and amounts of
// the records that were sent.
func secrets(t *testing.T, lines []string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, l := range lines {
		var u traffic.Usage
		if json.Unmarshal([]byte(l), &u) != nil {
			continue // malformed on purpose
		}
		for _, text := range []string{u.ID, strings.TrimPrefix(u.To, "+"), u.From, u.Amount} {
			if len(text) > 4 { // shorter ones are anywhere
				all[text] = true
			}
		}
	}
	require.Greater(t, len(all), len(lines)/2)
	return all
}
