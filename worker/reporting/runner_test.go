package reporting

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/deliver"
	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/schematest"
	"github.com/meterd/meterd/reports"
)

// scheduled is a parent with schedules, on engines of a test's own.
type scheduled struct {
	t      testing.TB
	ledger *ledger.Ledger
	clock  *clock.Fake
	snap   *metering.Snapshot
	queue  *asynq.Inspector
	runner *Runner
	ended  []string
	own    []metering.Schedule // of acme-shop
	mail   *notify.Mail
	opts   Options
	redis  redis.UniversalClient
	log    safeBuffer
}

// safeBuffer takes the log of many goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newScheduled(tb testing.TB, list ...metering.Schedule) *scheduled {
	tb.Helper()
	e := testengine.Start(tb)
	schematest.Make(tb, e)
	l, err := ledger.Open(ledger.Options{
		URL:      e.ClickHouseAddress(),
		Password: e.ClickHousePassword, Database: e.Database,
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	rdb := e.Redis(tb)
	s := &scheduled{t: tb, ledger: l, clock: clock.NewFake(time.Date(2026, 10, 20, 8, 0, 0, 0, time.UTC)), queue: asynq.NewInspectorFromRedisClient(rdb)}
	s.redis, s.opts = rdb, Options{Retry: []time.Duration{5 * time.Second, time.Minute}}
	s.apply(1, list...)
	s.runner = s.scheduler()
	return s
}

// scheduler is one of perhaps several.
func (s *scheduled) scheduler() *Runner {
	snapshot := func() *metering.Snapshot { return s.snap }
	return New(Deps{
		Ledger: s.ledger, Snapshot: snapshot, Clock: s.clock, Queue: asynq.NewClientFromRedisClient(s.redis), Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		Reporter:  reports.NewReporter(reports.Deps{Ledger: s.ledger, Snapshot: snapshot, Clock: s.clock}),
		Deliverer: deliver.New(deliver.Options{Rest: time.Millisecond, Mail: s.mail}),
		Outcome:   func(state string) { s.ended = append(s.ended, state) },
	}, s.opts)
}

func (s *scheduled) apply(number int64, list ...metering.Schedule) {
	s.t.Helper()
	at := s.clock.Now()
	acme := &metering.Account{
		ID: "acme", Name: "Acme", Module: metering.Reseller, Currency: "EUR", Mode: metering.Prepaid, Source: metering.SourceWallet,
		Zones: []metering.ZoneFrom{{Zone: "Europe/Rome"}}, CreatedAt: at, Reports: list,
	}
	shop := &metering.Account{
		ID: "acme-shop", ParentID: "acme", Name: "Shop", Module: metering.Reseller, Currency: "EUR", Mode: metering.Prepaid,
		Source: metering.SourceShared, CreatedAt: at, Reports: s.own,
	}
	require.NoError(s.t, s.ledger.SaveCatalog(s.t.Context(), number, []*metering.Account{acme, shop}, nil, at))
	var err error
	s.snap, err = s.ledger.Snapshot(s.t.Context())
	require.NoError(s.t, err)
}

func (s *scheduled) at(text string) {
	s.t.Helper()
	now, err := time.Parse(time.RFC3339, text)
	require.NoError(s.t, err)
	s.clock.Set(now)
	require.NoError(s.t, s.runner.Due(s.t.Context()))
}

// runs are the rows, oldest first.
func (s *scheduled) runs() []ledger.ReportRun {
	s.t.Helper()
	list, err := s.ledger.ReportRuns(s.t.Context(), ledger.RunFilter{Parent: "acme"})
	require.NoError(s.t, err)
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// serve runs each task that is queued now once, as a server would, and returns
// the errors. One that is to come later counts: its time has come.
func (s *scheduled) serve() error {
	s.t.Helper()
	pending, err := s.queue.ListPendingTasks(wire.QueueReports, asynq.PageSize(1000))
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return nil
	}
	require.NoError(s.t, err)
	scheduled, err := s.queue.ListScheduledTasks(wire.QueueReports, asynq.PageSize(1000))
	require.NoError(s.t, err)
	var errs []error
	for _, task := range append(pending, scheduled...) {
		require.Equal(s.t, wire.TypeReport, task.Type)
		if err := s.runner.Task(s.t.Context(), task.ID, task.Payload); err != nil {
			errs = append(errs, err)
			continue
		}
		require.NoError(s.t, s.queue.DeleteTask(wire.QueueReports, task.ID))
	}
	return errors.Join(errs...)
}

// tries serves and lets the time of each next try come, until all have ended.
func (s *scheduled) tries() {
	s.t.Helper()
	for range 20 {
		require.NoError(s.t, s.serve())
		open := false
		for _, r := range s.runs() {
			if !r.Ended() {
				open = true
				s.clock.Set(r.NextAt.Add(time.Second))
			}
		}
		if !open {
			return
		}
	}
	s.t.Fatal("some runs never end")
}

func TestScheduledReportsAreMadeUpAndDeliveredOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newScheduled(t, metering.Schedule{
		Name: "monthly", Cron: "0 6 1 * *", Period: reports.PeriodLastMonth, Audiences: []string{"parent", "acme-shop"},
		Formats: []string{"csv", "pdf"}, Deliver: []string{"file:" + dir},
	})
	s.at("2026-11-01T04:59:59Z")
	require.Empty(t, s.runs(), "not due before 6 o'clock in Rome, and not for what was before the schedule")
	s.at("2026-11-01T05:00:00Z")
	s.at("2026-11-01T05:00:10Z")
	require.Len(t, s.runs(), 2, "one for each audience, however often is asked")
	require.NoError(t, s.serve())
	for _, r := range s.runs() {
		require.Equal(t, ledger.RunDelivered, r.State)
		require.Equal(t, "2026-10", r.Period)
		info := reports.Info(&r)
		require.Empty(t, info.Notes)
		require.Len(t, info.Files, 2)
		require.Len(t, info.Destinations, 1)
		require.Equal(t, 1, info.Destinations[0].Attempts)
		require.Empty(t, info.ForAccount().Parent)
		require.Empty(t, info.ForAccount().Destinations)
	}
	names := func() []string {
		list, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		for i := range list {
			list[i] = filepath.Base(list[i])
		}
		return list
	}
	require.Equal(t, []string{"acme-2026-10-statement.csv", "acme-2026-10-statement.pdf", "acme-shop-2026-10-activity.csv", "acme-shop-2026-10-activity.pdf"}, names())
	require.NoError(t, s.runner.Task(t.Context(), "", []byte(s.runs()[0].Run+"-0")), "a run that is done stays so")
	require.Equal(t, []string{ledger.RunDelivered, ledger.RunDelivered}, s.ended)

	// Down for two months: both runs are made up.
	s.at("2027-01-03T00:00:00Z")
	require.NoError(t, s.serve())
	require.Len(t, s.runs(), 6)
	require.Contains(t, names(), "acme-2026-12-statement.csv")
	require.Contains(t, names(), "acme-shop-2026-11-activity.csv")
	s.at("2027-01-03T00:00:10Z")
	require.Len(t, s.runs(), 6)
	require.NoError(t, s.serve())
	require.Len(t, s.ended, 6)
}

func TestALostQueueLosesNoRun(t *testing.T) {
	t.Parallel()
	s := newScheduled(t, metering.Schedule{Name: "daily", Cron: "@daily", Period: reports.PeriodYesterday, Formats: []string{"json"}, Deliver: []string{"file:" + t.TempDir()}})
	s.at("2026-10-21T00:00:00Z")
	require.Len(t, s.runs(), 1)
	_, err := s.queue.DeleteAllPendingTasks(wire.QueueReports)
	require.NoError(t, err)
	s.at("2026-10-21T00:01:00Z")
	require.NoError(t, s.serve())
	require.Equal(t, ledger.RunDelivered, s.runs()[0].State)
	require.Equal(t, "2026-10-20", s.runs()[0].Period)
}

func TestADeadDestinationHoldsBackNoOther(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	good := t.TempDir()
	s := newScheduled(t, metering.Schedule{
		Name: "daily", Cron: "@daily", Period: reports.PeriodMonthToDate, Formats: []string{"html"},
		Deliver: []string{"file:" + file + "/sub", "mailto:finance@acme.example", "file:" + good},
	})
	s.at("2026-10-21T00:00:00Z")
	require.NoError(t, s.serve())
	run := s.runs()[0]
	require.Equal(t, ledger.RunRunning, run.State)
	require.FileExists(t, filepath.Join(good, "acme-2026-10-statement.html"), "at once")
	d := reports.Info(&run).Destinations
	require.Equal(t, []string{"pending", "failed", "delivered"}, []string{d[0].State, d[1].State, d[2].State})
	require.WithinRange(t, *d[0].NextAt, s.clock.Now().Add(5*time.Second), s.clock.Now().Add(8*time.Second))
	require.NoError(t, s.runner.Task(t.Context(), "", []byte(run.Run+"-0")), "a round that is over stays so")
	require.Equal(t, run.Version, s.runs()[0].Version)
	s.tries()
	run = s.runs()[0]
	require.Equal(t, ledger.RunFailed, run.State)
	d = reports.Info(&run).Destinations
	require.Equal(t, []string{"failed", "failed", "delivered"}, []string{d[0].State, d[1].State, d[2].State})
	require.Equal(t, []int{3, 1, 1}, []int{d[0].Attempts, d[1].Attempts, d[2].Attempts})
	require.Contains(t, d[1].Detail, "give --smtp and --mail-from")
	require.NotContains(t, d[0].Detail, file)

	// Sent again once the folder can be made: only there.
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Remove(filepath.Join(good, "acme-2026-10-statement.html")))
	info, err := s.runner.Resend(t.Context(), run.Run, true)
	require.NoError(t, err)
	require.Equal(t, ledger.RunPending, info.State)
	_, err = s.runner.Resend(t.Context(), run.Run, true)
	require.ErrorIs(t, err, ErrUnderWay)
	s.tries()
	require.FileExists(t, filepath.Join(file, "sub", "acme-2026-10-statement.html"))
	require.NoFileExists(t, filepath.Join(good, "acme-2026-10-statement.html"))
	// And to all.
	_, err = s.runner.Resend(t.Context(), run.Run, false)
	require.NoError(t, err)
	s.tries()
	require.FileExists(t, filepath.Join(good, "acme-2026-10-statement.html"))
	_, err = s.runner.Resend(t.Context(), "nothing", false)
	require.ErrorIs(t, err, ErrUnknownRun)
}

func TestAChangedScheduleStartsAnew(t *testing.T) {
	t.Parallel()
	dir := "file:" + t.TempDir()
	s := newScheduled(t, metering.Schedule{Name: "x", Cron: "0 6 1 * *", Formats: []string{"csv"}, Deliver: []string{dir}})
	s.clock.Set(time.Date(2026, 12, 10, 12, 0, 0, 0, time.UTC))
	s.apply(2, metering.Schedule{Name: "x", Cron: "0 7 * * *", Period: reports.PeriodYesterday, Formats: []string{"csv"}, Deliver: []string{dir}})
	s.at("2026-12-11T07:00:00Z")
	require.Len(t, s.runs(), 1, "its new times count from when they were applied")
	require.Equal(t, "2026-12-10", s.runs()[0].Period)

	// Without a destination, or with formats of another kind only, it fails and says so.
	s.apply(3, metering.Schedule{Name: "y", Cron: "0 7 * * *", Formats: []string{"csv"}}, metering.Schedule{Name: "z", Cron: "0 7 * * *", Formats: []string{"parquet"}, Deliver: []string{dir}})
	s.at("2026-12-12T07:00:00Z")
	require.NoError(t, s.serve())
	errs := map[string]string{}
	for _, r := range s.runs() {
		if r.State == ledger.RunFailed {
			errs[r.Name] = reports.Info(&r).Error
		}
	}
	require.Contains(t, errs["y"], "no destination")
	require.Contains(t, errs["z"], "not a format of this kind")
}
