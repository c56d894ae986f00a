package main_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/proc"
	"github.com/meterd/meterd/bench/internal/traffic"
	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/worker"
)

// long asks for the long form of the faults: `make faults`.
func long() bool { return os.Getenv("METERD_FAULTS_LONG") != "" }

// pick is how long or how many: in `make test`, in `make faults`.
func pick[T any](short, longer T) T {
	if long() {
		return longer
	}
	return short
}

// rig is a Redis and a database of one test's own, a proxy before each, the
// accounts, and the oracle that knows what must come of what is sent.
type rig struct {
	t      *testing.T
	result result

	redis    *embedded.Redis
	redisDir string
	engines  *testengine.Engines // ClickHouse
	ch       driver.Conn         // on the test's database
	front    *proxy              // before Redis
	back     *proxy              // before ClickHouse
	sys      *system             // past the proxies

	book   *traffic.Book
	oracle *traffic.Oracle
	work   *traffic.Workload
	over   time.Time // when the fault ended
	heals  bool      // Redis lost data: one heal is allowed
}

// result is a row of docs/reliability.md.
type result struct {
	Order   int    `json:"order"`
	Fault   string `json:"fault"`
	Tried   int    `json:"tried"`
	Records int    `json:"records"`
	Lost    int    `json:"lost"`
	Twice   int    `json:"twice"`
	Seconds string `json:"seconds"`
}

func newRig(t *testing.T, order int, fault string) *rig {
	t.Helper()
	testengine.Bound(t, pick(5*time.Minute, 40*time.Minute)) // each of its waits says sooner what for
	r := &rig{t: t, result: result{Order: order, Fault: fault}, redisDir: t.TempDir(), engines: testengine.StartClickHouse(t)}
	r.ch = r.engines.ClickHouse(t)
	r.startRedis(embedded.RedisOptions{})
	t.Cleanup(r.stopRedis)
	r.front = newProxy(t, "redis", r.redis.Addr())
	r.back = newProxy(t, "clickhouse", strings.TrimPrefix(r.engines.ClickHouseURL, "http://"))
	sys, err := r.direct().open(slog.LevelError)
	require.NoError(t, err)
	t.Cleanup(sys.close)
	r.sys = sys
	_, err = sys.Ledger.Migrate(t.Context())
	require.NoError(t, err)

	// All is some minutes past, so that no clock of a test sees it in the future.
	now := time.Now().UTC().Truncate(time.Minute).Add(-3 * time.Minute)
	r.book = traffic.FourParents(now)
	text, err := os.ReadFile(r.book.File(t))
	require.NoError(t, err)
	file, err := admin.ParseAccountsFile("accounts.yaml", text)
	require.NoError(t, err)
	_, err = sys.admin.Apply(t.Context(), file, false)
	require.NoError(t, err)
	r.oracle = traffic.NewOracle(t, r.book, now)
	r.work = traffic.NewWorkload(r.book, now, uint64(order))
	r.fund()
	return r
}

// begun is a rig with a history that later lines refer to.
func begun(t *testing.T, order int, fault string) *rig {
	t.Helper()
	r := newRig(t, order, fault)
	r.before(pick(120, 400))
	return r
}

// fund moves money, and tells the oracle.
func (r *rig) fund() {
	r.t.Helper()
	for _, m := range []struct {
		kind    metering.TransferKind
		account string
		amount  metering.Micros
	}{
		{metering.TransferTopup, "rom", 700_000_000},
		{metering.TransferTopup, "ccu", 1_500_123_456},
		{metering.TransferAllocate, "rom-budget", 500_000_001},
		{metering.TransferAllocate, "rom-poor", 5_000_000},
		{metering.TransferAllocate, "ccu-pay", 700_000_000},
	} {
		_, err := r.sys.admin.Transfer(r.t.Context(), metering.Transfer{
			Ref: "fund-" + m.account, Kind: m.kind, AccountID: m.account, Amount: m.amount, Actor: admin.OperatorActor,
		})
		require.NoError(r.t, err)
		r.oracle.Balance[m.account] += int64(m.amount)
		if parent := r.book.Account(m.account).Parent; parent != "" {
			r.oracle.Balance[parent] -= int64(m.amount)
		}
	}
}

// startRedis starts redis-server on the rig's folder, at the same address as
// before.
func (r *rig) startRedis(o embedded.RedisOptions) {
	r.t.Helper()
	if r.redis != nil {
		_, port, err := net.SplitHostPort(r.redis.Addr())
		require.NoError(r.t, err)
		o.Port, err = strconv.Atoi(port)
		require.NoError(r.t, err)
		o.Password = r.redis.Password()
	}
	server, err := embedded.StartRedis(context.Background(), r.redisDir, o)
	require.NoError(r.t, err)
	r.redis = server
}

func (r *rig) stopRedis() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	assert.NoError(r.t, r.redis.Stop(ctx))
}

// direct is where the engines are; proxied, where the proxies are.
func (r *rig) direct() address {
	a := address{
		Redis: r.redis.Addr(), RedisPassword: r.redis.Password(),
		ClickHouse:         r.engines.ClickHouseAddress(),
		ClickHousePassword: r.engines.ClickHousePassword, ClickHouseDB: r.engines.Database,
	}
	return a
}

func (r *rig) proxied() address {
	a := r.direct()
	a.Redis = r.front.Listen
	a.ClickHouse = "http://" + r.engines.ClickHouseUser + "@" + r.back.Listen
	return a
}

// alone is where the proxies are, for workers that follow one another, over a
// Redis that can't lose an answered write.
func (r *rig) alone() address {
	a := r.proxied()
	a.Durable, a.Alone = true, true
	return a
}

// worker runs one in this process until stop, which wants a clean end.
func (r *rig) worker(a address, change func(*system, *worker.Options)) (stop func()) {
	r.t.Helper()
	s, err := a.open(slog.LevelError + 4)
	require.NoError(r.t, err)
	o := a.options()
	if change != nil {
		change(s, &o)
	}
	w, err := worker.New(s.Deps, o)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			assert.NoError(r.t, err, "the worker's end")
		case <-time.After(60 * time.Second): // it says itself what it waits for, and sooner
			r.t.Error("the worker doesn't stop")
		}
		s.close()
	}
	r.t.Cleanup(stop)
	select {
	case <-w.Ready():
	case err := <-ended:
		ended <- nil // for stop
		r.t.Fatalf("the worker ended: %v", err)
	case <-time.After(60 * time.Second):
		r.t.Fatal("the worker isn't ready")
	}
	return stop
}

// process runs a worker in a process of its own.
func (r *rig) process(a address) *proc.Process {
	r.t.Helper()
	p := r.launch(a)
	p.WaitReady(r.t)
	return p
}

func (r *rig) launch(a address) *proc.Process {
	r.t.Helper()
	return proc.Launch(r.t, os.Args[0], []string{workerEnv + "=" + a.String()}, "-test.run=^$")
}

// dies runs one until it is killed where its address says.
func (r *rig) dies(a address) {
	r.t.Helper()
	r.launch(a).WaitKilled(r.t)
	r.result.Tried++
	r.ended()
}

// before sends what later lines refer to, and waits until it is stored.
func (r *rig) before(n int) {
	r.t.Helper()
	stop := r.worker(r.direct(), nil)
	r.send(traffic.FirstLines(r.work, r.oracle, n), 0).wait()
	r.drain()
	stop()
}

// lines are n more: of every kind, and such as refer to those before.
func (r *rig) lines(n int) []string {
	second, _ := traffic.SecondLines(r.work, r.oracle, n/3)
	first := traffic.FirstLines(r.work, r.oracle, n-len(second))
	out := make([]string, 0, n)
	for i := range max(len(first), len(second)) { // mixed
		if i < len(second) {
			out = append(out, second[i])
		}
		if i < len(first) {
			out = append(out, first[i])
		}
	}
	return out
}

// sending is a channel service at work.
type sending struct {
	r    *rig
	done chan struct{}
}

// chunk is how many lines are sent, and known to be safe, at once.
func chunk() int { return pick(10, 40) }

// send sends lines beside the caller, pace apart, each chunk until Redis says
// that it has it.
func (r *rig) send(lines []string, pace time.Duration) *sending {
	r.result.Records += len(lines)
	return r.sendAs(r.proxied(), lines, pace)
}

func (r *rig) sendAs(a address, lines []string, pace time.Duration) *sending {
	s := &sending{r: r, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		sys, err := a.open(slog.LevelError)
		if err != nil {
			r.t.Error(err)
			return
		}
		defer sys.close()
		for from := 0; from < len(lines) && r.t.Context().Err() == nil; from += chunk() {
			part := lines[from:min(from+chunk(), len(lines))]
			for deliver(r.t.Context(), sys, part) != nil && r.t.Context().Err() == nil {
				<-time.After(20 * time.Millisecond)
			}
			if pace > 0 {
				<-time.After(pace)
			}
		}
	}()
	return s
}

func deliver(ctx context.Context, sys *system, lines []string) error {
	c, err := jobs.NewClient(sys.redis, jobs.ClientOptions{RecordsMax: chunk()})
	if err != nil {
		return err
	}
	for _, l := range lines {
		if err := c.Add(ctx, []byte(l)); err != nil {
			break // Flush says it again
		}
	}
	return c.Close(ctx)
}

func (s *sending) wait() {
	s.r.t.Helper()
	select {
	case <-s.done:
	case <-time.After(4 * time.Minute):
		s.r.t.Fatal("not every record could be sent")
	}
}

// ended notes that the fault is over: from here the recovery is timed.
func (r *rig) ended() { r.over = time.Now() }

// drainMax bounds the wait until the queues are empty.
func drainMax() time.Duration { return pick(4*time.Minute, 15*time.Minute) }

// drain waits until no task is left, no answer is open and the outbox is empty.
func (r *rig) drain() {
	r.t.Helper()
	r.eventually("the queues drain", drainMax(), func() (bool, string) {
		ctx := r.t.Context()
		if left := r.tasks(); left != "" {
			return false, left + "; open answers: " + r.open()
		}
		open, err := r.sys.Store.OpenAnswers(ctx, 0, 0)
		if err != nil || len(open) > 0 {
			return false, "answers are open"
		}
		facts, err := r.sys.Store.Facts(ctx, 0, 1)
		if err != nil || len(facts) > 0 {
			return false, "the outbox isn't empty"
		}
		var waiting uint64
		err = r.ch.QueryRow(ctx, "SELECT count() FROM waiting FINAL WHERE state != 'done'").Scan(&waiting)
		return err == nil && waiting == 0, "refunds wait"
	})
}

// tasks are those in any queue, in whatever state. asynq's own list of queues
// doesn't outlive a Redis that was emptied, so they are named here.
func (r *rig) tasks() string {
	ctx := r.t.Context()
	var out []string
	for _, q := range append(wire.IngestQueues(wire.IngestShards), wire.QueueRefunds, wire.QueueSuspensions, wire.QueueReports) {
		pipe := r.sys.redis.Pipeline()
		prefix := "asynq:{" + q + "}:"
		counts := map[string]*redis.IntCmd{"pending": pipe.LLen(ctx, prefix+"pending"), "active": pipe.LLen(ctx, prefix+"active")}
		for _, state := range []string{"scheduled", "retry", "archived"} {
			counts[state] = pipe.ZCard(ctx, prefix+state)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err.Error()
		}
		for state, n := range counts {
			if n.Val() > 0 {
				out = append(out, fmt.Sprintf("%s: %d %s", q, n.Val(), state))
			}
		}
	}
	return strings.Join(out, ", ")
}

// open are the tasks that hold answers, and whether they are still there.
func (r *rig) open() string {
	list, err := r.sys.Store.OpenAnswers(r.t.Context(), 0, 0)
	if err != nil {
		return err.Error()
	}
	ctx, inspector := r.t.Context(), asynq.NewInspectorFromRedisClient(r.sys.redis)
	var out []string
	for _, a := range list {
		keys, err := r.sys.redis.Keys(ctx, "asynq:*:t:"+a.Task).Result()
		text := fmt.Sprint(a.Seq, keys, err)
		text += fmt.Sprint(" answer ", r.sys.redis.HMGet(ctx, "{p00}:t:"+a.Task, "k", "s").Val())
		for _, k := range keys {
			queue := strings.TrimSuffix(strings.TrimPrefix(k, "asynq:{"), "}:t:"+a.Task)
			info, err := inspector.GetTaskInfo(queue, a.Task)
			if err != nil {
				text += fmt.Sprintf(" (no task: %v, %v)", err, r.sys.redis.HKeys(ctx, k).Val())
				continue
			}
			lease := r.sys.redis.ZScore(ctx, "asynq:{"+queue+"}:lease", a.Task)
			text += fmt.Sprintf(" (%s, tried %d times, last %q %s ago, lease %v)", info.State, info.Retried, info.LastErr, time.Since(info.LastFailedAt).Round(time.Second), lease)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// eventually polls until ok says so; its text tells what is missing.
func (r *rig) eventually(what string, within time.Duration, ok func() (bool, string)) {
	r.t.Helper()
	why := ""
	if !testengine.Until(within, func() (good bool) { good, why = ok(); return good }) {
		r.t.Fatalf("not within %s: %s (%s)\n%s", within, what, why, busy())
	}
}

// busy is where this process's goroutines are, the most frequent places first: of
// each stack the innermost function of meterd's own.
func busy() string {
	var text strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		return err.Error()
	}
	places := map[string]int{}
	for group := range strings.SplitSeq(text.String(), "\n\n") {
		n, _, _ := strings.Cut(group, " @ ")
		count, err := strconv.Atoi(n[strings.LastIndexByte(n, '\n')+1:])
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(group, "\n") {
			if _, place, ok := strings.Cut(line, "github.com/meterd/meterd/"); ok {
				places[strings.Join(strings.Fields(place), " ")] += count
				break
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(places), func(a, b string) int { return places[b] - places[a] })
	var out strings.Builder
	for _, name := range names[:min(len(names), 20)] {
		_, _ = fmt.Fprintf(&out, "%5d %s\n", places[name], name)
	}
	return out.String()
}
