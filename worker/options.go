package worker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/reporting"
)

// Options of a worker. Zero values take the defaults; Validate says what they may be.
type Options struct {
	// Shards is the number of ingest queues, see jobs.ClientOptions. What lies in
	// others is served too. Default 4.
	Shards int
	// Concurrency is how many tasks of one ingest queue are in hand: most wait for
	// their rows to be stored. More: more small tasks a second. Default 64.
	Concurrency int
	// WaitMax is how long a refund waits for its message. Default 24 h.
	WaitMax time.Duration
	// StatusWaitMax is how long a status waits for its message, from its arrival.
	// A message that comes later is looked at all the same, if it came more than an
	// hour after it occurred: not less than two hours. Default 24 h.
	StatusWaitMax time.Duration
	// ReconcileEvery is the time between two comparisons of projection and
	// ledger. Default 5 min.
	ReconcileEvery time.Duration
	// CloseGrace is how long after its end a month takes late records before it
	// is closed for ever. Default 72 h; not less than the dedup window.
	CloseGrace time.Duration
	// Retention of rows and of phone numbers. Default: for good.
	Retention admin.Retention
	// BreakerAccounts and BreakerShare hold suspensions back once more accounts of
	// a partition, or more percent of them, would be suspended within a minute.
	// 0: no such bound. The same on all workers.
	BreakerAccounts, BreakerShare int
	// Alone says that no other worker can hold tasks of these queues: what a
	// dead process left is taken back at once, and another number of partitions
	// is taken up.
	Alone bool
	// Hooks are the operator's.
	Hooks []metering.Hook
	// Mail sends alerts and reports to addresses. Default nil: it can't.
	Mail *notify.Mail
	// Roles are what this worker does; empty: everything. ingest, suspensions,
	// reports, scheduler.
	Roles []string
	// Reports bounds scheduled reports and their delivery.
	Reports reporting.Options
	// Writer bounds the group commit.
	Writer ledger.WriterOptions
	// Crash ends the process at a named point, in crash tests.
	Crash func(point string)
}

func (o Options) withDefaults() Options {
	if o.Shards == 0 {
		o.Shards = wire.IngestShards
	}
	if o.Concurrency == 0 {
		o.Concurrency = 64
	}
	if o.WaitMax == 0 {
		o.WaitMax = 24 * time.Hour
	}
	if o.StatusWaitMax == 0 {
		o.StatusWaitMax = 24 * time.Hour
	}
	if o.CloseGrace == 0 {
		o.CloseGrace = 72 * time.Hour
	}
	if o.ReconcileEvery == 0 {
		o.ReconcileEvery = 5 * time.Minute
	}
	o.Reports = o.Reports.WithDefaults()
	return o
}

// Bounds of options.
const (
	// statusWaitMin: a message that came within an hour after it occurred isn't looked
	// at once more, and it may come that late.
	statusWaitMin = 2 * time.Hour
	// retainRowsMin: refunds, reports and corrections may need rows for so long.
	retainRowsMin = 62 * 24 * time.Hour
)

// OptionError is an option that a worker can't work with.
type OptionError struct {
	Option string // the field of Options, such as Retention.Rows
	May    string // what it may be
}

// Error implements error.
func (e *OptionError) Error() string { return fmt.Sprintf("worker.Options.%s: %s", e.Option, e.May) }

// Validate tells what a worker can't work with, an *OptionError, where identities stay
// hot for the window (reconcile.Options.Window). Nothing has a default here.
func (o Options) Validate(window time.Duration) error {
	for _, c := range []struct {
		option, may string
		ok          bool
	}{
		{"Shards", fmt.Sprintf("from 1 to %d", wire.ShardsMax), o.Shards >= 1 && o.Shards <= wire.ShardsMax},
		{"Concurrency", "1 or more", o.Concurrency >= 1},
		{"WaitMax", "more than 0", o.WaitMax > 0},
		{"StatusWaitMax", "at least 2h", o.StatusWaitMax >= statusWaitMin},
		{"ReconcileEvery", "more than 0", o.ReconcileEvery > 0},
		{"CloseGrace", fmt.Sprintf("give at least the dedup window, %s: a copy of a record may come that late", window), o.CloseGrace >= window},
		{"Retention.Rows", "0, or at least 62 days", o.Retention.Rows == 0 || o.Retention.Rows >= retainRowsMin},
		{"Retention.Numbers", "0 or more", o.Retention.Numbers >= 0},
		{"BreakerAccounts", "0 or more", o.BreakerAccounts >= 0},
		{"BreakerShare", "from 0 to 100 percent", o.BreakerShare >= 0 && o.BreakerShare <= 100},
		{"Roles", "of " + strings.Join(Roles(), ", "), !slices.ContainsFunc(o.Roles, func(r string) bool { return !slices.Contains(Roles(), r) })},
		{"Reports.AttachMax", "from 0 to 1000 MB", o.Reports.AttachMax >= 0 && o.Reports.AttachMax <= 1000<<20},
		{"Reports.DeliverTimeout", "from 1s to 20m", o.Reports.DeliverTimeout >= time.Second && o.Reports.DeliverTimeout <= 20*time.Minute},
		{"Reports.Builds", "0 or more", o.Reports.Builds >= 0},
	} {
		if !c.ok {
			return &OptionError{Option: c.option, May: c.may}
		}
	}
	return nil
}
