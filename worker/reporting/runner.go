package reporting

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/deliver"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// Bounds of scheduled reports.
const (
	// dueMax is how many missed runs of one schedule one look makes up; the
	// next look goes on.
	dueMax = 50
	// insertMax is how many runs one insert holds, about.
	insertMax = 5000
	// enqueueMax tasks are on their way to the queue at once.
	enqueueMax = 16
	// sweepEvery is how often runs without a task are looked for, and sweepAfter
	// how long after its round should have begun one counts as such.
	sweepEvery = 30 * time.Second
	sweepAfter = 15 * time.Second
	// sweepMax bounds one look.
	sweepMax = 2000
	// lookEvery: what is due is looked for this often even when nothing should be.
	lookEvery = 10 * time.Minute
)

// Deps are what scheduled reports work with.
type Deps struct {
	Ledger    *ledger.Ledger
	Snapshot  func() *metering.Snapshot
	Reporter  *reports.Reporter
	Deliverer *deliver.Deliverer
	Queue     wire.Enqueuer
	Clock     clock.Clock
	Log       *slog.Logger
	// Outcome is told the state in which each run ends. Default nil: nobody.
	Outcome func(state string)
}

// Options bound deliveries. Zero values take the defaults.
type Options struct {
	// Retry is how long after each failed try the next one comes; a destination
	// that has failed once more than that has failed for good. Default 5 s,
	// 30 s, 2 min, 10 min, 30 min, 1 h.
	Retry []time.Duration
	// AttachMax bounds a mail's attachments together. Larger: more servers
	// refuse it. Default 10 MB.
	AttachMax int64
	// DeliverTimeout bounds one delivery. Longer: larger files and slower links
	// get through, a server that hangs is noticed later. Default 1 min.
	DeliverTimeout time.Duration
	// Builds is how many reports are made at once. Default 2.
	Builds int
}

// WithDefaults has the defaults where a field is zero.
func (o Options) WithDefaults() Options {
	if o.Retry == nil {
		o.Retry = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}
	}
	if o.AttachMax == 0 {
		o.AttachMax = 10 << 20
	}
	if o.DeliverTimeout == 0 {
		o.DeliverTimeout = time.Minute
	}
	if o.Builds == 0 {
		o.Builds = 2
	}
	return o
}

// Runner runs what is scheduled: Due finds what is due, Task makes and delivers
// it. What is due stands in the ledger, so that a missed tick, a restart or a
// lost queue loses nothing; both may run twice.
type Runner struct {
	deps   Deps
	opts   Options
	saver  runSaver
	builds chan struct{}

	mu    sync.Mutex
	since map[string]sinceOf // by account
	next  time.Time          // when something will be due, as of catalog
	seen  int64              // that catalog
	swept time.Time
}

// sinceOf is when the schedules of one version of an account came to be.
type sinceOf struct {
	catalog int64
	at      map[string]time.Time // by name
}

// New returns a Runner; the caller runs Due now and then, and serves
// wire.TypeReport with Task.
func New(d Deps, o Options) *Runner {
	o = o.WithDefaults()
	return &Runner{deps: d, opts: o, saver: runSaver{insert: d.Ledger.InsertReportRuns}, builds: make(chan struct{}, o.Builds), since: map[string]sinceOf{}}
}

// Due makes a run of every report that has become due, and brings runs whose
// task was lost back to the queue. Where nothing is due it asks the ledger only
// for the latter, now and then.
func (r *Runner) Due(ctx context.Context) error {
	snap := r.deps.Snapshot()
	now := r.deps.Clock.Now().UTC()
	r.mu.Lock()
	idle := r.seen == snap.Catalog && now.Before(r.next)
	sweep := now.Sub(r.swept) >= sweepEvery
	r.mu.Unlock()
	var errs []error
	if !idle {
		errs = append(errs, r.look(ctx, snap, now))
	}
	if sweep {
		errs = append(errs, r.sweep(ctx, now))
	}
	return errors.Join(errs...)
}

// look stores the runs that are due and queues them, then tells when to look
// again. The first run of a schedule comes after it was applied; its next ones
// after the newest that has a row.
func (r *Runner) look(ctx context.Context, snap *metering.Snapshot, now time.Time) error {
	latest, err := r.deps.Ledger.LatestRuns(ctx)
	if err != nil {
		return err
	}
	next := now.Add(lookEvery)
	var list []ledger.ReportRun
	err = reports.Schedules(snap, "", func(a *metering.Account, s *metering.Schedule) error {
		since, err := r.sinceOf(ctx, a)
		if err != nil {
			return err
		}
		after := since[s.Name]
		if last := latest[[2]string{a.ID, s.Name}]; last.After(after) {
			after = last
		}
		due, err := reports.DueInstants(s, a.Calendar, after, now, dueMax)
		if err != nil {
			return err
		}
		for _, at := range due {
			list = append(list, runsOf(snap, a, s, at)...)
		}
		if len(due) == dueMax {
			next = now
		}
		coming, err := reports.DueInstants(s, a.Calendar, now, next, 1)
		if len(coming) > 0 {
			next = coming[0]
		}
		if len(list) >= insertMax && err == nil {
			err = r.begin(ctx, list)
			list = nil
		}
		return err
	})
	if err = errors.Join(err, r.begin(ctx, list)); err != nil {
		return err // looked for again with the next tick
	}
	r.mu.Lock()
	r.next, r.seen = next, snap.Catalog
	r.mu.Unlock()
	return nil
}

// runsOf a schedule at an instant, one for each audience. Their version is the
// lowest, so that whoever finds them due late changes nothing.
func runsOf(snap *metering.Snapshot, a *metering.Account, s *metering.Schedule, due time.Time) []ledger.ReportRun {
	list := make([]ledger.ReportRun, 0, 1)
	owner := ""
	if !a.IsParent() {
		owner = a.ID
	}
	for _, audience := range reports.AudiencesOf(snap, a, s, due) {
		if owner != "" && metering.ReservedID(audience) {
			continue // it would be taken for the parent's
		}
		list = append(list, ledger.ReportRun{
			Run: reports.RunID(a.ID, s.Name, audience, due), ParentID: a.Parent(), Owner: owner, Name: s.Name, Audience: audience,
			Period: reports.PeriodAt(s, a.Calendar, due), Redacted: s.Redacted, Kind: s.Kind, Formats: s.Formats, Destinations: s.Deliver,
			DueAt: due, NextAt: due, State: ledger.RunPending, Version: 1,
		})
	}
	return list
}

// begin stores runs, then queues them. The runs of one instant are one insert:
// all or none stand.
func (r *Runner) begin(ctx context.Context, list []ledger.ReportRun) error {
	if err := r.deps.Ledger.InsertReportRuns(ctx, list); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(enqueueMax) // together they share Redis's writes to disk
	for i := range list {
		g.Go(func() error { return r.enqueue(ctx, list[i].Run, 0, 0) })
	}
	return g.Wait()
}

// sinceOf tells since when each schedule has its present times.
func (r *Runner) sinceOf(ctx context.Context, a *metering.Account) (map[string]time.Time, error) {
	r.mu.Lock()
	known, ok := r.since[a.ID]
	r.mu.Unlock()
	if ok && known.catalog == a.Catalog {
		return known.at, nil
	}
	at, crons := map[string]time.Time{}, map[string]string{}
	err := r.deps.Ledger.Versions(ctx, a.ID, func(v *metering.Account, applied time.Time) error {
		now := map[string]string{}
		for i := range v.Reports {
			s := &v.Reports[i]
			now[s.Name] = s.Cron
			if was, there := crons[s.Name]; !there || was != s.Cron {
				at[s.Name] = applied
			}
		}
		crons = now
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.since[a.ID] = sinceOf{a.Catalog, at}
	r.mu.Unlock()
	return at, nil
}

// sweep makes sure that each run whose round should have begun has its task.
func (r *Runner) sweep(ctx context.Context, now time.Time) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(enqueueMax)
	err := r.deps.Ledger.OpenRuns(ctx, now.Add(-sweepAfter), sweepMax, func(run string, round uint32) error {
		g.Go(func() error { return r.enqueue(gctx, run, round, 0) })
		return nil
	})
	left := removeLeft(os.TempDir(), clock.System().Now()) // by the clock of the files
	if err = errors.Join(err, g.Wait(), left); err != nil {
		return err
	}
	r.mu.Lock()
	r.swept = now
	r.mu.Unlock()
	return nil
}

// enqueue a round of a run; a round has one task, whoever asks for it.
func (r *Runner) enqueue(ctx context.Context, run string, round uint32, after time.Duration) error {
	name := run + "-" + strconv.FormatUint(uint64(round), 10)
	var later []asynq.Option
	if after > 0 {
		later = append(later, asynq.ProcessIn(after))
	}
	return wire.Enqueue(ctx, r.deps.Queue, wire.TypeReport, "report-"+name, wire.QueueReports, []byte(name), later...)
}

// Errors of Resend.
var (
	// ErrUnknownRun says that no report run has this id.
	ErrUnknownRun = errors.New("unknown report run")
	// ErrUnderWay: its tries are in hand; another would deliver twice.
	ErrUnderWay = errors.New("the run is under way: wait until `meterd report list` shows how it ended")
	// ErrNothingFailed: there is nothing to send again.
	ErrNothingFailed = errors.New("no destination of this run has failed")
)

// Resend has a run made and delivered again: to all its destinations, or to
// those that it hasn't reached.
func (r *Runner) Resend(ctx context.Context, run string, failed bool) (*reports.RunInfo, error) {
	row, err := r.run(ctx, run)
	if err != nil {
		return nil, err
	}
	if !row.Ended() && !row.NextAt.After(r.deps.Clock.Now().Add(time.Second)) {
		return nil, ErrUnderWay
	}
	was := reports.Detail(row)
	detail := reports.RunDetail{Resends: was.Resends + 1}
	again := !failed
	for _, x := range was.Destinations {
		if failed && x.State == ledger.RunDelivered {
			detail.Destinations = append(detail.Destinations, x)
		} else {
			again = true
		}
	}
	if !again && row.State != ledger.RunFailed {
		return nil, ErrNothingFailed
	}
	row.Files, row.State, row.NextAt = "", ledger.RunPending, r.deps.Clock.Now().UTC()
	row.Round++
	if err := r.save(ctx, row, &detail); err != nil {
		return nil, err
	}
	info := reports.Info(row)
	return &info, r.enqueue(ctx, run, row.Round, 0)
}

func (r *Runner) run(ctx context.Context, run string) (*ledger.ReportRun, error) {
	list, err := r.deps.Ledger.ReportRuns(ctx, ledger.RunFilter{Run: run})
	if err != nil {
		return nil, err
	}
	if run == "" || len(list) == 0 {
		return nil, ErrUnknownRun
	}
	return &list[0], nil
}
