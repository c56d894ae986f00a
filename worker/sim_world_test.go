package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/balance/balancetest"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/worker/metrics"
)

// The simulation runs the real engine, writer, projector and reconciler of
// several processes in one bubble of virtual time. Every command to Redis and
// every statement to ClickHouse parks before it is run; a scheduler, by its
// seed, picks which goes on, which fails, and what else happens meanwhile.

const simAccounts = `
plans:
  - id: dear
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.02", fee: "0.003"}]}]
  - id: cheap
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.005", fee: "0.002"}]}]
  - id: flat
    currency: EUR
    versions:
      - effective_from: 2020-01-01T00:00:00Z
        refund_on: [failed]
        refund_after: 10m
        rules: [{channel: sms, unit: segment, price: "0.01", fee: "0.001"}]
parents:
  - id: acme
    module: enterprise
    timezone: UTC
    plan: flat
    funding: {mode: prepaid}
    hooks: [{url: "http://silent.example/", secret_env: X}]
    sub_accounts:
      - {id: acme-own, channels: [sms], funding: {source: allocated}}
      - {id: acme-shared, channels: [sms], funding: {source: shared, monthly_limit: "0.05"}}
  - id: globex
    module: reseller
    timezone: UTC
    plan: flat
    funding: {mode: postpaid, credit_limit: "0.08"}
    hooks: [{url: "http://answers.example/", secret_env: X}]
    sub_accounts:
      - {id: globex-shop, channels: [sms]}
`

// What goes wrong on the way to an engine.
var (
	errDead  = errors.New("the process is dead")
	errBroke = errors.New("the connection broke")
)

// origins are what schedules begin with.
type origins map[start]*origin

// start tells them apart.
type start struct {
	partitions int
	edge       edge
}

func newOrigins(t *testing.T) origins {
	t.Helper()
	out := origins{}
	for n := range partitionsMax {
		for _, e := range []edge{"", edgeMonth, edgeGrace} {
			out[start{n + 1, e}] = newOrigin(t, e.base(), n+1)
		}
	}
	return out
}

// partitionsMax of a schedule. Of two, each parent has one of its own; of three
// both share one, and two are empty.
const partitionsMax = 3

// origin is what every schedule begins with: accounts applied, epoch 1.
type origin struct {
	redis   *balancetest.Redis
	server  *ledgertest.Server
	codec   *wire.Codec
	metrics *metrics.Set
	base    time.Time

	partitions int
}

func newOrigin(t *testing.T, base time.Time, partitions int) *origin {
	t.Helper()
	o := &origin{server: ledgertest.New(), base: base, partitions: partitions, metrics: metrics.New(prometheus.NewRegistry())}
	now := clock.NewFake(simApplied)
	o.redis = balancetest.New(now.Now)
	var err error
	o.codec, err = wire.NewCodec()
	require.NoError(t, err)
	// The codec makes its channels on first use: not in a schedule's bubble.
	_, err = o.codec.Decode(o.codec.Compress([]byte(simAccounts)))
	require.NoError(t, err)
	s, l := balance.New(o.redis.Client(), partitions), ledger.NewWithServer(o.server)
	log := slog.New(slog.DiscardHandler)
	snapshots := admin.NewSnapshots(l, s, now)
	projector := reconcile.New(s, l, now, log, reconcile.Options{Durable: true, Buckets: 4})
	file, err := admin.ParseAccountsFile("accounts.yaml", []byte(simAccounts))
	require.NoError(t, err)
	service := admin.NewService(l, s, snapshots, now, projector.Ensure)
	_, err = service.Apply(t.Context(), file, false)
	require.NoError(t, err)
	require.NoError(t, service.OpenMonths(t.Context()))
	_, err = service.Transfer(t.Context(), metering.Transfer{Ref: "first", Kind: metering.TransferTopup, AccountID: "acme", Amount: 60_000, Actor: "operator"})
	require.NoError(t, err)
	_, err = service.Transfer(t.Context(), metering.Transfer{Ref: "second", Kind: metering.TransferAllocate, AccountID: "acme-own", Amount: 25_000, Actor: "operator"})
	require.NoError(t, err)
	now.Set(base) // some weeks later
	require.NoError(t, service.OpenMonths(t.Context()))
	meta, err := s.Meta(t.Context(), 0)
	require.NoError(t, err)
	learn(t.Context(), s, meta, snapshots.Months(snapshots.Current().Accounts["acme"]))
	return o
}

// learn has Redis know the scripts, so that the first schedule needs no more
// commands than its replay. All of them are refused.
func learn(ctx context.Context, s *balance.Store, m *balance.Meta, months balance.Months) {
	other := *m
	other.Epoch++
	_, _ = s.Charge(ctx, 0, 1, balance.NewCall("t", 0, nil, nil, &other))
	_, _ = s.Settle(ctx, 0, &other, "t", 1, nil, nil)
	_ = s.Finish(ctx, 0, &other, "t", &balance.Finished{})
	_ = s.GiveUp(ctx, 0, &other, balance.OpenAnswer{Task: "t"}, 0)
	_ = s.Heal(ctx, 0, other.Epoch, 0, months, nil)
	_, _ = s.Roll(ctx, 0, &other, months, []string{"acme"})
	_, _ = s.Close(ctx, 0, &other, "acme", "2026-10")
	_ = s.SetBreaker(ctx, 0, &other, 1)
	_ = s.ReleaseHeld(ctx, 0, &other, months, []string{"acme"})
	_ = s.Adopt(ctx, 0, &other, "x")
	_, _ = s.Read(ctx, 0, nil)
}

// world is one schedule.
type world struct {
	*origin

	plan   plan
	rng    *rand.Rand
	start  time.Time
	redis  *balancetest.Redis
	server *ledgertest.Server
	skew   atomic.Int64 // of Redis's clock, ns

	mu     sync.Mutex
	parked []*step
	ended  []ending
	queue  map[string]*simTask
	late   []lateInsert
	live   int // goroutines that the schedule began
	trace  []string
	errs   []string

	procs    []*process
	acked    []*simTask
	lines    []sentLine
	promised []metering.Transfer   // whose success was reported
	excused  string                // why the projection may differ, until it is healed
	moves    []metering.Transfer   // to be tried again
	hooks    *simHooks             // what they were told, and are to be
	rerates  []admin.RerateRequest // to be made, or tried again
	rated    map[string]int        // reference → tries of a re-rating
	steps    int
	drifted  int
	sent     []string
	given    map[string]int // attempts, by task
	vanished map[string]bool
	// unpromised: tasks whose follow-ups were lost with the queue.
	unpromised map[string]bool
	lost       bool              // Redis lost something, or a new epoch began
	stranded   bool              // rows are to land long after their time
	judging    bool              // judge tasks that were kept back run
	digests    map[string]string // parent → of its closed month, when it was first seen
	ctx        context.Context   //nolint:containedctx // of what the schedule itself asks
	aged       bool              // a day has passed

	backup      *balancetest.Content
	backupQueue map[string]simTask
}

// process is a worker, or a command, that may die.
type process struct {
	w        *world
	name     string
	ctx      context.Context //nolint:containedctx // ends with the process
	stop     context.CancelFunc
	dead     bool
	paused   bool
	ready    bool
	noted    []*ledgertest.Block // without the rule: what waits for its rows
	chores   int
	attempts int
	skew     atomic.Int64 // of its clock, ns
	client   *redis.Client
	telling  map[string]int // parent → tasks of its hooks in hand
	worker   *Worker
}

func (w *world) now() time.Time { return w.base.Add(time.Since(w.start)) }

// redisNow is Redis's clock.
func (w *world) redisNow() time.Time { return w.now().Add(time.Duration(w.skew.Load())) }

// simClock is a process's.
type simClock struct{ p *process }

func (c simClock) Now() time.Time { return c.p.w.now().Add(time.Duration(c.p.skew.Load())) }

type ownerKey struct{}

func owner(ctx context.Context) string {
	s, _ := ctx.Value(ownerKey{}).(string)
	return s
}

// begin starts a process.
func (w *world) begin(name string) *process {
	p := &process{w: w, name: name}
	if w.plan.skew > 0 {
		p.skew.Store(w.rng.Int64N(int64(w.plan.skew)) - int64(w.plan.skew)/2)
	}
	p.ctx, p.stop = context.WithCancel(context.WithValue(context.Background(), ownerKey{}, "main"))
	p.client = w.redis.Client(redisGate{p})
	s, l, c := balance.New(p.client, w.partitions), ledger.NewWithServer(serverGate{p}), simClock{p}
	log := slog.New(slog.DiscardHandler)
	snapshots := admin.NewSnapshots(l, s, c)
	projector := reconcile.New(s, l, c, log, reconcile.Options{Durable: w.plan.durable, Buckets: 4})
	o := Options{Shards: 1, WaitMax: 24 * time.Hour, StatusWaitMax: 24 * time.Hour}
	if w.plan.breaker {
		o.BreakerAccounts = simBreaker
	}
	p.telling = map[string]int{}
	p.worker = build(Deps{Redis: p.client, Store: s, Ledger: l, Snapshots: snapshots, Projector: projector, Clock: c, Log: log}, o,
		seams{queue: simQueue{p}, codec: w.codec, metrics: w.metrics, sender: simSender{w}})
	w.procs = append(w.procs, p)
	writing := context.WithValue(p.ctx, ownerKey{}, "writer")
	w.spawn(func() { _ = p.worker.pipeline.Run(writing) })
	p.run("start", func(ctx context.Context) error {
		for n := range w.partitions {
			if _, err := p.worker.projections.Renew(ctx, n); err != nil {
				return err
			}
		}
		if _, err := snapshots.Refresh(ctx); err != nil {
			return err
		}
		return p.worker.projections.SetBounds(ctx)
	}, func(err error) {
		p.ready = err == nil
		if err != nil && !p.dead {
			w.kill(p) // whoever runs it starts it again
		}
	})
	return p
}

// spawn runs f in a goroutine that the schedule waits for.
func (w *world) spawn(f func()) {
	w.mu.Lock()
	w.live++
	w.mu.Unlock()
	go func() {
		defer func() {
			v := recover()
			w.mu.Lock()
			defer w.mu.Unlock()
			w.live--
			if v != nil {
				w.errs = append(w.errs, fmt.Sprintf("panic: %v", v))
			}
		}()
		f()
	}()
}

// ending is the result of something that ran; then acts on it, in the scheduler.
type ending struct {
	proc *process
	name string
	err  error
	then func(err error)
}

// run runs f for a process; then is called by the scheduler with its result.
func (p *process) run(name string, f func(ctx context.Context) error, then func(err error)) {
	ctx := context.WithValue(p.ctx, ownerKey{}, name)
	p.w.spawn(func() {
		err := f(ctx)
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		p.w.ended = append(p.w.ended, ending{p, name, err, then})
	})
}

// reap acts on what has ended, in an order of its own.
func (w *world) reap() {
	w.mu.Lock()
	list := w.ended
	w.ended = nil
	w.mu.Unlock()
	sort.SliceStable(list, func(i, j int) bool {
		return list[i].proc.name+list[i].name < list[j].proc.name+list[j].name
	})
	for _, e := range list {
		if e.proc.dead {
			w.note("%s/%s ends with it", e.proc.name, e.name) // which of its waits ended first is chance
		} else {
			w.note("%s/%s ends: %v", e.proc.name, e.name, e.err)
		}
		e.then(e.err)
	}
}

// kill ends a process: what it has on its way never comes back to it.
func (w *world) kill(p *process) {
	w.note("%s dies", p.name)
	w.mu.Lock()
	p.dead = true
	var mine []*step
	w.parked = slices.DeleteFunc(w.parked, func(s *step) bool {
		if s.proc == p {
			mine = append(mine, s)
		}
		return s.proc == p
	})
	w.mu.Unlock()
	sort.SliceStable(mine, func(i, j int) bool { return mine[i].key < mine[j].key })
	for _, s := range mine {
		switch {
		case s.block != nil:
			w.hand(s)
		case s.kind == toRedis || s.kind == toQueue:
			// A command may have been on its way: it is run, unheard, or not.
			if w.rng.IntN(2) == 0 {
				s.reply <- unheard
				synctest.Wait()
				continue
			}
		case s.kind == toQuery:
		}
		s.reply <- dies
		synctest.Wait()
	}
	p.stop()
	for _, t := range w.tasks() {
		if t.holders[p] {
			delete(t.holders, p)
			t.state, t.after = pending, w.now().Add(time.Duration(w.rng.IntN(3000))*time.Millisecond)
		}
	}
}

// hand gives an insert that nobody waits for to the late ones.
func (w *world) hand(s *step) {
	until := w.now().Add(5 * time.Minute)
	if w.stranded && s.block.Table() == "records" {
		until = w.now().Add(straggleMax)
	}
	w.late = append(w.late, lateInsert{s.block, until, s.key})
}

func (w *world) note(format string, args ...any) {
	if w.plan.tracing {
		w.trace = append(w.trace, fmt.Sprintf("%s  ", w.now().Format("02 15:04:05.000000"))+fmt.Sprintf(format, args...))
	}
}
