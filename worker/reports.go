package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// Bounds of scheduled reports.
const (
	// dueMax is how many missed runs of one schedule one look makes up; the
	// next look goes on.
	dueMax = 50
	// deliverMax is how often a destination is tried.
	deliverMax = 5
)

// ReportsDeps are what scheduled reports work with.
type ReportsDeps struct {
	Ledger   *ledger.Ledger
	Snapshot func() *metering.Snapshot
	Reporter *reports.Reporter
	Queue    *asynq.Client
	Clock    clock.Clock
	Log      *slog.Logger
	// Outcome is told the state in which each run ends. Default nil: nobody.
	Outcome func(state string)
}

// Reports runs what parents have scheduled: Due finds what is due, Task makes
// and delivers it. What is due stands in the ledger, so that a missed tick, a
// restart or a lost queue loses nothing; both may run twice.
type Reports struct {
	deps ReportsDeps

	mu    sync.Mutex
	since map[string]sinceOf // by parent
}

// sinceOf is when the schedules of one version of a parent came to be.
type sinceOf struct {
	catalog int64
	at      map[string]time.Time // by name
}

// NewReports returns it; the caller runs Due now and then, and serves
// jobs.TypeReport with Task.
func NewReports(d ReportsDeps) *Reports { return &Reports{deps: d, since: map[string]sinceOf{}} }

// Due makes a run of every report that has become due, and brings runs that
// aren't done to the queue.
func (r *Reports) Due(ctx context.Context) error {
	latest, err := r.deps.Ledger.LatestRuns(ctx)
	if err != nil {
		return err
	}
	snap := r.deps.Snapshot()
	now := r.deps.Clock.Now().UTC()
	var errs []error
	for _, id := range snap.Parents {
		if a := snap.Accounts[id]; len(a.Reports) > 0 {
			errs = append(errs, r.dueOf(ctx, a, latest, now))
		}
	}
	errs = append(errs, r.requeue(ctx))
	return errors.Join(errs...)
}

// dueOf one parent's schedules. The first run of a schedule comes after it was
// applied; its next ones after the newest that has a row.
func (r *Reports) dueOf(ctx context.Context, a *metering.Account, latest map[[2]string]time.Time, now time.Time) error {
	since, err := r.sinceOf(ctx, a)
	if err != nil {
		return err
	}
	for i := range a.Reports {
		s := &a.Reports[i]
		after := since[s.Name]
		if last := latest[[2]string{a.ID, s.Name}]; last.After(after) {
			after = last
		}
		due, err := reports.DueInstants(s, a.Calendar, after, now, dueMax)
		if err != nil {
			return err
		}
		for _, at := range due {
			// The runs of one instant are one insert: all or none stand.
			if err := r.deps.Ledger.InsertReportRuns(ctx, runsOf(a, s, at)); err != nil {
				return err
			}
		}
	}
	return nil
}

// runsOf a schedule at an instant, one for each audience. Their version is the
// lowest, so that whoever finds them due late changes nothing.
func runsOf(a *metering.Account, s *metering.Schedule, due time.Time) []ledger.ReportRun {
	list := make([]ledger.ReportRun, 0, 1)
	for _, audience := range reports.AudiencesOf(s) {
		list = append(list, ledger.ReportRun{
			Run: reports.RunID(a.ID, s.Name, audience, due), ParentID: a.ID, Name: s.Name, Audience: audience,
			Period: reports.PeriodAt(s, a.Calendar, due), Redacted: s.Redacted, Kind: s.Kind, Formats: s.Formats, Destinations: s.Deliver,
			DueAt: due, State: ledger.RunPending, Version: 1,
		})
	}
	return list
}

// sinceOf tells since when each schedule has its present times.
func (r *Reports) sinceOf(ctx context.Context, a *metering.Account) (map[string]time.Time, error) {
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

// requeue makes sure that each run that isn't done has its task.
func (r *Reports) requeue(ctx context.Context) error {
	list, err := r.deps.Ledger.ReportRuns(ctx, ledger.RunFilter{States: []string{ledger.RunPending, ledger.RunRunning}})
	if err != nil {
		return err
	}
	for i := range list {
		if err := r.enqueue(ctx, list[i].Run); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reports) enqueue(ctx context.Context, run string) error {
	task := asynq.NewTask(jobs.TypeReport, []byte(run))
	_, err := r.deps.Queue.EnqueueContext(ctx, task, jobs.Options("report-"+run, jobs.QueueReports)...)
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return fmt.Errorf("enqueue a report: %w", err)
	}
	return nil
}

// Resend has a run made and delivered again, to all its destinations.
func (r *Reports) Resend(ctx context.Context, run string) (*reports.RunInfo, error) {
	row, err := r.run(ctx, run)
	if err != nil {
		return nil, err
	}
	row.Detail, row.Files = "", ""
	if err := r.save(ctx, row, ledger.RunPending, &reports.RunDetail{}); err != nil {
		return nil, err
	}
	info := reports.Info(row)
	return &info, r.enqueue(ctx, run)
}

// ErrUnknownRun says that no report run has this id.
var ErrUnknownRun = errors.New("unknown report run")

func (r *Reports) run(ctx context.Context, run string) (*ledger.ReportRun, error) {
	list, err := r.deps.Ledger.ReportRuns(ctx, ledger.RunFilter{Run: run})
	if err != nil {
		return nil, err
	}
	if run == "" || len(list) == 0 {
		return nil, ErrUnknownRun
	}
	return &list[0], nil
}

// save stores a run's next version.
func (r *Reports) save(ctx context.Context, row *ledger.ReportRun, state string, d *reports.RunDetail) error {
	b, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("note the run: %w", err)
	}
	row.State, row.Detail = state, string(b)
	row.Version = max(row.Version+1, uint64(r.deps.Clock.Now().UnixMicro()))
	return r.deps.Ledger.InsertReportRuns(ctx, []ledger.ReportRun{*row})
}

// Task is the handler of report:run: it makes a run's files and delivers them
// to each destination that doesn't have them yet. A run that is done stays so.
func (r *Reports) Task(ctx context.Context, _ string, payload []byte) error {
	row, err := r.run(ctx, string(payload))
	if errors.Is(err, ErrUnknownRun) {
		r.deps.Log.ErrorContext(ctx, "report job without a run dropped")
		return nil
	}
	if err != nil {
		return err
	}
	if row.State == ledger.RunDelivered || row.State == ledger.RunFailed {
		return nil
	}
	detail := reports.Detail(row)
	detail.Notes, detail.Error = nil, ""
	if len(row.Destinations) == 0 {
		return r.fail(ctx, row, &detail, errors.New("no destination: give deliver in the accounts file"))
	}
	dir, err := os.MkdirTemp("", "meterd-report-")
	if err != nil {
		return fmt.Errorf("make a folder for the report: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the files have been delivered, or are made again
	if err := r.save(ctx, row, ledger.RunRunning, &detail); err != nil {
		return err
	}
	files, err := r.deps.Reporter.Run(ctx, reports.Request{
		Parent: row.ParentID, Period: row.Period, Audience: row.Audience, Redacted: row.Redacted, Kind: row.Kind, Formats: row.Formats, Out: dir,
	})
	if err != nil {
		if forGoodReport(err) {
			return r.fail(ctx, row, &detail, err)
		}
		return err
	}
	return r.deliver(ctx, row, &detail, files)
}

// forGoodReport errors don't pass by trying again.
func forGoodReport(err error) bool {
	for _, e := range []error{
		metering.ErrUnknownAccount, metering.ErrOverflow, reports.ErrPeriod, reports.ErrFormat, reports.ErrKind, reports.ErrNoWallet, reports.ErrFuture,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (r *Reports) fail(ctx context.Context, row *ledger.ReportRun, d *reports.RunDetail, cause error) error {
	d.Error = cause.Error()
	r.deps.Log.WarnContext(ctx, "report failed", slog.String("run", row.Run), slog.Any("error", cause))
	return r.end(ctx, row, ledger.RunFailed, d)
}

func (r *Reports) end(ctx context.Context, row *ledger.ReportRun, state string, d *reports.RunDetail) error {
	if err := r.save(ctx, row, state, d); err != nil {
		return err
	}
	if r.deps.Outcome != nil {
		r.deps.Outcome(state)
	}
	return nil
}

// deliver to each destination. One that fails doesn't hold back the others; it
// is tried again with the task, deliverMax times. Each outcome is noted at once.
func (r *Reports) deliver(ctx context.Context, row *ledger.ReportRun, d *reports.RunDetail, files []reports.File) error {
	made := make([]reports.File, len(files))
	for i, f := range files {
		made[i] = f
		made[i].Path = f.Path[strings.LastIndexByte(f.Path, os.PathSeparator)+1:]
	}
	b, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("note the files: %w", err)
	}
	row.Files = string(b)
	var again error
	state := ledger.RunDelivered
	for i := range d.Destinations {
		x := &d.Destinations[i]
		if x.State == ledger.RunPending {
			if err := r.deliverOne(ctx, row, d, x, files); err != nil {
				return err
			}
		}
		switch x.State {
		case ledger.RunPending:
			again = errors.Join(again, fmt.Errorf("deliver a report: %s", x.Detail))
		case ledger.RunFailed:
			state = ledger.RunFailed
		}
	}
	if again != nil {
		return again
	}
	return r.end(ctx, row, state, d)
}

// deliverOne tries one destination and notes what became of it.
func (r *Reports) deliverOne(ctx context.Context, row *ledger.ReportRun, d *reports.RunDetail, x *reports.Delivery, files []reports.File) error {
	x.Attempts++
	x.Detail = ""
	at := r.deps.Clock.Now().UTC().Truncate(time.Millisecond)
	if err := reports.Deliver(files, x.To); err == nil {
		x.State, x.At = ledger.RunDelivered, &at
	} else {
		x.Detail = err.Error()
		if errors.Is(err, reports.ErrDestination) || x.Attempts >= deliverMax {
			x.State, x.At = ledger.RunFailed, &at
		}
	}
	return r.save(ctx, row, ledger.RunRunning, d)
}
