package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// ReportRun is a report that was due, or asked for.
type ReportRun struct {
	Run          string
	ParentID     string
	Owner        string // the sub-account whose own schedule it is, else ""
	Name         string // of the schedule, "" where it was asked for
	Audience     string // "parent", or an account
	Period       string
	Redacted     bool
	Kind         string // statement, messages, wallet; "": statement
	Formats      []string
	Destinations []string
	DueAt        time.Time
	State        string    // RunPending, …
	Detail       string    // JSON: the outcome for each destination
	Files        string    // JSON: the files that were made
	Round        uint32    // how often it went back to the queue
	NextAt       time.Time // when its next round begins
	Version      uint64    // rises with every change
}

// States of a report run.
const (
	RunPending   = "pending"
	RunRunning   = "running"
	RunDelivered = "delivered"
	RunFailed    = "failed"
	// RunTruncated: delivered, less a file that was left out because of a bound.
	RunTruncated = "truncated"
)

// Ended tells whether nothing more happens to it by itself.
func (r *ReportRun) Ended() bool { return r.State != RunPending && r.State != RunRunning }

// runsMax bounds a list of runs that isn't bounded by its caller.
const runsMax = 100_000

// InsertReportRuns stores them in one insert; the newest version of a run
// stands.
func (l *Ledger) InsertReportRuns(ctx context.Context, list []ReportRun) error {
	n := len(list)
	if n == 0 {
		return nil
	}
	runs, parents, names, audiences, periods := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	states, details, files, owners := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	redacted, kinds, formats, destinations := make([]bool, n), make([]string, n), make([][]string, n), make([][]string, n)
	due, next, rounds, versions := make([]time.Time, n), make([]time.Time, n), make([]uint32, n), make([]uint64, n)
	for i := range list {
		r := &list[i]
		runs[i], parents[i], names[i], audiences[i], periods[i] = r.Run, r.ParentID, r.Name, r.Audience, r.Period
		states[i], details[i], files[i], redacted[i], kinds[i] = r.State, r.Detail, r.Files, r.Redacted, r.Kind
		formats[i], destinations[i], due[i], versions[i] = r.Formats, r.Destinations, r.DueAt, r.Version
		owners[i], next[i], rounds[i] = r.Owner, r.NextAt, r.Round
	}
	return l.insertColumns(ctx, "report_runs",
		"run, parent_id, owner, name, audience, period, redacted, kind, formats, destinations, due_at, state, detail, files, round, next_at, version",
		runs, parents, owners, names, audiences, periods, redacted, kinds, formats, destinations, due, states, details, files, rounds, next, versions)
}

// RunFilter selects report runs; empty fields select all.
type RunFilter struct {
	Parent string
	Run    string
	States []string
	// Destination that they go to.
	Destination string
	Limit       int
}

// ReportRuns of a parent, the newest due first.
func (l *Ledger) ReportRuns(ctx context.Context, q RunFilter) ([]ReportRun, error) {
	if q.Limit <= 0 {
		q.Limit = runsMax
	}
	params := map[string]string{"parent": q.Parent, "run": q.Run, "states": array(q.States), "destination": q.Destination, "limit": strconv.Itoa(q.Limit)}
	var out []ReportRun
	err := l.each(ctx, "report_runs", params, func(rows driver.Rows) error {
		var r ReportRun
		err := rows.Scan(&r.Run, &r.ParentID, &r.Owner, &r.Name, &r.Audience, &r.Period, &r.Redacted, &r.Kind, &r.Formats, &r.Destinations,
			&r.DueAt, &r.State, &r.Detail, &r.Files, &r.Round, &r.NextAt, &r.Version)
		out = append(out, r)
		return err
	})
	return out, err
}

// OpenRuns calls f for runs that aren't done and whose round should have begun
// before an instant, the oldest first, at most limit of them.
func (l *Ledger) OpenRuns(ctx context.Context, before time.Time, limit int, f func(run string, round uint32) error) error {
	return l.each(ctx, "report_runs_open", map[string]string{"before": ms(before), "limit": strconv.Itoa(limit)}, func(r driver.Rows) error {
		var run string
		var round uint32
		if err := r.Scan(&run, &round); err != nil {
			return err
		}
		return f(run, round)
	})
}

// TroubledRuns are runs that were given up, or that go on after a try, whose newest
// round began after an instant: the newest first, at most limit of them. They hold what
// says whose they are and what became of them.
func (l *Ledger) TroubledRuns(ctx context.Context, from time.Time, limit int) ([]ReportRun, error) {
	var out []ReportRun
	err := l.each(ctx, "report_runs_troubled", map[string]string{"from": ms(from), "limit": strconv.Itoa(limit)}, func(rows driver.Rows) error {
		var r ReportRun
		err := rows.Scan(&r.Run, &r.ParentID, &r.Owner, &r.Name, &r.Destinations, &r.State, &r.Detail)
		out = append(out, r)
		return err
	})
	return out, err
}

// LatestRuns tells when each schedule was last due, by whose it is and name.
func (l *Ledger) LatestRuns(ctx context.Context) (map[[2]string]time.Time, error) {
	out := map[[2]string]time.Time{}
	err := l.each(ctx, "report_runs_latest", nil, func(r driver.Rows) error {
		var parent, name string
		var due time.Time
		err := r.Scan(&parent, &name, &due)
		out[[2]string{parent, name}] = due
		return err
	})
	return out, err
}
