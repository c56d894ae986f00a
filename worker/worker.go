package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/deliver"
	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/reports"
	"github.com/meterd/meterd/worker/metrics"
	"github.com/meterd/meterd/worker/pipeline"
	"github.com/meterd/meterd/worker/reporting"
	"github.com/meterd/meterd/worker/suspend"
)

// Deps are the engines that a worker works with.
type Deps struct {
	Redis     redis.UniversalClient
	Store     *balance.Store
	Ledger    *ledger.Ledger
	Snapshots *admin.Snapshots
	Projector *reconcile.Projector
	Clock     clock.Clock
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// Worker serves the queues, relays the outbox and does the chores.
type Worker struct {
	deps        Deps
	opts        Options
	redis       redis.UniversalClient
	waits       redis.UniversalClient // see waitingClient
	metrics     *metrics.Set
	projections *pipeline.Projections
	pipeline    *pipeline.Pipeline
	hooks       *suspend.Hooks
	relay       *suspend.Relay
	breakers    *suspend.Breakers
	report      *reporting.Runner
	closer      *admin.Closer
	reconciler  *reconcile.Reconciler
	admin       *admin.Service
	months      map[string]string // parent → month that its states were judged for
	ready       chan struct{}

	backlogSince time.Time        // since when records wait in the queues, as autoRefunds sees it
	backlogTasks map[string][]any // queue → tasks that were there at its last look
	once         sync.Once
	parts        parts
	stopMax      time.Duration // stopMax; shorter in tests
	name         string        // of its beats
	lacking      lacking
}

// New returns a worker; Run starts it. *OptionError: it can't work with an option.
func New(d Deps, o Options) (*Worker, error) {
	o = o.withDefaults()
	if err := o.Validate(d.Projector.Window()); err != nil {
		return nil, err
	}
	codec, err := wire.NewCodec()
	if err != nil {
		return nil, err
	}
	w := build(d, o, seams{queue: asynq.NewClientFromRedisClient(d.Redis), codec: codec, metrics: metrics.New(d.Metrics)})
	if w.has(RoleScheduler) {
		w.metrics.Schedules(d.Store.Partitions())
	}
	return w, nil
}

// seams are what the simulation has in a form of its own.
type seams struct {
	queue   wire.Enqueuer
	codec   *wire.Codec
	metrics *metrics.Set
	sender  suspend.Sender // nil: to webhooks
}

// build puts a worker's parts together.
func build(d Deps, o Options, s seams) *Worker {
	bound := suspend.Brakes{Accounts: o.BreakerAccounts, Share: o.BreakerShare}.Bound(d.Store, d.Snapshots)
	rdb, projections := wholeQueues(d.Redis), pipeline.NewProjections(d.Store.Partitions(), d.Projector, d.Snapshots, bound)
	telling := suspend.Deps{
		Store: d.Store, Ledger: d.Ledger, Snapshots: d.Snapshots, Projections: projections, Queue: s.queue, Clock: d.Clock, Log: d.Log, Metrics: s.metrics,
	}
	return &Worker{
		deps: d, opts: o, redis: rdb, metrics: s.metrics, months: map[string]string{}, ready: make(chan struct{}), stopMax: stopMax, name: uuid.NewString(),
		projections: projections,
		pipeline: pipeline.New(pipeline.Deps{
			Store: d.Store, Ledger: d.Ledger, Snapshots: d.Snapshots, Projections: projections, Queue: s.queue, Redis: rdb, Codec: s.codec,
			Clock: d.Clock, Log: d.Log, Metrics: s.metrics,
		}, pipeline.Options{Shards: o.Shards, Writer: o.Writer, Crash: o.Crash}),
		hooks: suspend.NewHooks(telling, suspend.HookOptions{Operator: o.Hooks, Mail: o.Mail, Sender: s.sender}),
		relay: &suspend.Relay{Deps: telling}, breakers: &suspend.Breakers{Deps: telling},
		report:     newReporting(d, o.Reports, o.Mail, s),
		admin:      admin.NewService(d.Ledger, d.Store, d.Snapshots, d.Clock, d.Projector.Ensure),
		closer:     admin.NewCloser(d.Ledger, d.Store, d.Snapshots, d.Clock, d.Log, d.Projector.Ensure),
		reconciler: reconcile.NewReconciler(d.Projector, d.Log),
	}
}

// newReporting makes what runs scheduled reports.
func newReporting(d Deps, o reporting.Options, mail *notify.Mail, s seams) *reporting.Runner {
	reporter := reports.NewReporter(reports.Deps{
		Ledger: d.Ledger, Snapshot: d.Snapshots.Current, States: ReportStates(d.Store, d.Clock), Clock: d.Clock,
	})
	return reporting.New(reporting.Deps{
		Ledger: d.Ledger, Snapshot: d.Snapshots.Current, Reporter: reporter, Queue: s.queue, Clock: d.Clock, Log: d.Log,
		Deliverer: deliver.New(deliver.Options{Mail: mail, Timeout: o.DeliverTimeout}),
		Outcome:   func(state string) { s.metrics.Reports.WithLabelValues(state).Inc() },
	}, o)
}

// Ready is closed once the worker serves.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

func (w *Worker) has(role string) bool {
	if len(w.opts.Roles) == 0 {
		return true
	}
	return slices.Contains(w.opts.Roles, role)
}

// showRoles has the metrics name what this worker serves from now on: a role that no
// worker names is missing.
func (w *Worker) showRoles() {
	for _, role := range Roles() {
		if w.has(role) {
			w.metrics.Role.WithLabelValues(role).Set(1)
		}
	}
}

// Run makes the schema and the projection ready, serves until ctx ends, then
// stops cleanly: it takes no more tasks, finishes and stores what is in hand. A
// part that hasn't ended after stopMax is left behind and named in the error.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.prepare(ctx); err != nil {
		return err
	}
	var err error
	if w.waits, err = waitingClient(w.deps.Redis); err != nil {
		return err
	}
	// The writer outlives the servers: they finish what they have in hand.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	var writer sync.WaitGroup
	writer.Go(func() {
		_ = w.parts.run("the writer", func() error { return w.pipeline.Run(writing) })
	})

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		_ = w.waits.Close() // nothing is under way there but waits
		return nil
	})
	serve := func(s *server) {
		g.Go(func() error { return w.parts.run("queue "+s.name, func() error { return s.run(ctx) }) })
	}
	for _, s := range w.servers() {
		serve(s)
	}
	g.Go(func() error {
		return w.parts.run("look for queues", func() error {
			w.serveBeyond(ctx, serve)
			return nil
		})
	})
	if w.has(RoleIngest) {
		g.Go(func() error {
			return w.parts.run("watch of the ledger", func() error { return w.pipeline.Watch(ctx) })
		})
	}
	if w.has(RoleScheduler) {
		token := uuid.NewString()
		for p := range w.deps.Store.Partitions() {
			g.Go(func() error {
				return w.parts.run("relay", func() error { return w.relay.Run(ctx, w.waits, p, token) })
			})
		}
	}
	for _, s := range w.sights() {
		g.Go(func() error { return w.parts.run("look at "+s.name, func() error { s.run(ctx); return nil }) })
	}
	for _, c := range w.chores() {
		g.Go(func() error { return w.parts.run("chore "+c.name, func() error { w.runChore(ctx, c); return nil }) })
	}
	w.showRoles()
	w.once.Do(func() { close(w.ready) })
	ended := make(chan error, 1)
	go func() { // waits for the parts; Run waits for it
		err := g.Wait()
		stopWriting()
		writer.Wait()
		w.leave(ctx)
		ended <- err
	}()
	return w.parts.wait(ctx, ended, w.stopMax)
}

// prepare brings schema, snapshot and projection into a state in which tasks
// can be taken.
func (w *Worker) prepare(ctx context.Context) error {
	if _, err := w.deps.Ledger.Migrate(ctx); err != nil {
		return err
	}
	if err := w.deps.Projector.Identify(ctx); err != nil {
		return err
	}
	if err := w.project(ctx); err != nil {
		return fmt.Errorf("make the projection ready: %w", err)
	}
	if _, err := w.deps.Snapshots.Refresh(ctx); err != nil {
		return err
	}
	if err := w.projections.SetBounds(ctx); err != nil {
		return fmt.Errorf("set the breaker's bound: %w", err)
	}
	if _, err := w.pipeline.LookBeyond(ctx); err != nil {
		return err
	}
	if err := w.pipeline.Requeue(ctx, w.pipeline.AllQueues(), w.opts.Alone); err != nil {
		return err
	}
	return w.beat(ctx)
}

// project makes every partition's projection ready. Whoever is alone may change
// the number of partitions by a restart: nobody else works with the old one.
func (w *Worker) project(ctx context.Context) error {
	if err := w.deps.Store.Fits(ctx); err != nil {
		if _, other := errors.AsType[*balance.PartitionsError](err); !other || !w.opts.Alone {
			return err
		}
		if err := w.deps.Projector.RebuildAll(ctx, "another number of partitions"); err != nil {
			return err
		}
	}
	for p := range w.deps.Store.Partitions() {
		if _, err := w.projections.Renew(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// reportsInHand is how many runs are made or wait for servers to take them; how
// many are made at once is reporting.Options.Builds.
const reportsInHand = 32

// servers are one asynq server for each ingest queue (one goroutine dequeues
// for each server), one for all those beyond, which cost little so, and one for each
// other queue, so that a flood of usage never delays a suspension.
func (w *Worker) servers() []*server {
	var out []*server
	if w.has(RoleIngest) {
		for _, q := range append(wire.IngestQueues(w.opts.Shards), wire.QueueRefunds) {
			out = append(out, w.ingestServer(q))
		}
		if beyond := w.pipeline.Beyond(); len(beyond) > 0 {
			out = append(out, w.ingestServer(beyond...))
		}
	}
	if w.has(RoleSuspensions) {
		mux := asynq.NewServeMux()
		mux.Handle(wire.TypeSuspend, w.pipeline.Guarded(w.hooks.StateTask))
		mux.Handle(wire.TypeResume, w.pipeline.Guarded(w.hooks.StateTask))
		mux.Handle(wire.TypeAlert, w.pipeline.Guarded(w.hooks.AlertTask))
		mux.Handle(wire.TypeBreaker, w.pipeline.Guarded(w.hooks.BreakerTask))
		out = append(out, w.newServer([]string{wire.QueueSuspensions}, suspend.HooksInHand, mux))
	}
	if w.has(RoleReports) {
		mux := asynq.NewServeMux()
		mux.Handle(wire.TypeReport, w.pipeline.Guarded(w.report.Task))
		out = append(out, w.newServer([]string{wire.QueueReports}, reportsInHand, mux))
	}
	return out
}

// ingestServer is the server of queues whose tasks charge.
func (w *Worker) ingestServer(queues ...string) *server {
	mux := asynq.NewServeMux()
	mux.Handle(wire.TypeIngest, w.pipeline.Guarded(w.pipeline.IngestTask))
	mux.Handle(wire.TypeJudge, w.pipeline.Guarded(w.pipeline.JudgeTask))
	mux.Handle(wire.TypeRefund, w.pipeline.Guarded(w.pipeline.RefundTask))
	mux.Handle(wire.TypeCorrect, w.pipeline.Guarded(w.pipeline.CorrectTask))
	return w.newServer(queues, w.opts.Concurrency, mux)
}

// ReportStates reads the live states that reports of open months show.
func ReportStates(s *balance.Store, c clock.Clock) func(ctx context.Context, id string) (reports.AccountState, error) {
	return func(ctx context.Context, id string) (reports.AccountState, error) {
		st, err := s.State(ctx, id)
		if err != nil {
			return reports.AccountState{}, err
		}
		own, inherited := st.Flags(c.Now().UnixMilli())
		return reports.AccountState{Own: own, Inherited: inherited}, nil
	}
}

// landSoon is when most of what is on its way to the ledger has landed.
const landSoon = 5 * time.Second

// reconcileDue reconciles as often as is asked for, and soon after a projection was
// made anew: what was charged by the one before may land after its sums were read, and
// nobody charges that once more.
func (w *Worker) reconcileDue() func(ctx context.Context) error {
	var last time.Time
	var epoch int64
	var again []time.Time
	return func(ctx context.Context) error {
		now := clock.System().Now()
		if newest := w.projections.NewestEpoch(); newest > epoch {
			if epoch > 0 {
				again = []time.Time{now.Add(landSoon), now.Add(metering.LandMax + landSoon)}
			}
			epoch = newest
		}
		sooner := len(again) > 0 && !now.Before(again[0])
		if !sooner && now.Sub(last) < w.opts.ReconcileEvery {
			return nil
		}
		last = now
		err := w.reconcile(ctx)
		switch {
		case errors.Is(err, reconcile.ErrBusy): // open answers: a later round compares
			return nil
		case sooner && err == nil:
			again = again[1:]
		}
		return err
	}
}

// reconcile compares every parent's projection with the ledger.
func (w *Worker) reconcile(ctx context.Context) error {
	res, err := w.reconciler.Run(ctx, w.deps.Snapshots.Current())
	w.metrics.Drift.Add(metrics.Float(res.Drifted))
	if err != nil {
		return err
	}
	// A charge that was given back, or healed, after its budget was swept.
	return w.admin.SweepLeftBudgets(ctx)
}
