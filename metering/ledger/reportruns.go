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

func reportRunsTable() *table[ReportRun] {
	return &table[ReportRun]{"report_runs", []column[ReportRun]{
		col("run", func(r *ReportRun) string { return r.Run }),
		col("parent_id", func(r *ReportRun) string { return r.ParentID }),
		col("owner", func(r *ReportRun) string { return r.Owner }),
		col("name", func(r *ReportRun) string { return r.Name }),
		col("audience", func(r *ReportRun) string { return r.Audience }),
		col("period", func(r *ReportRun) string { return r.Period }),
		col("redacted", func(r *ReportRun) bool { return r.Redacted }),
		col("kind", func(r *ReportRun) string { return r.Kind }),
		col("formats", func(r *ReportRun) []string { return r.Formats }),
		col("destinations", func(r *ReportRun) []string { return r.Destinations }),
		col("due_at", func(r *ReportRun) time.Time { return r.DueAt }),
		col("state", func(r *ReportRun) string { return r.State }),
		col("detail", func(r *ReportRun) string { return r.Detail }),
		col("files", func(r *ReportRun) string { return r.Files }),
		col("round", func(r *ReportRun) uint32 { return r.Round }),
		col("next_at", func(r *ReportRun) time.Time { return r.NextAt }),
		col("version", func(r *ReportRun) uint64 { return r.Version }),
	}}
}

// InsertReportRuns stores runs in one insert; the newest version of a run stands.
func (l *Ledger) InsertReportRuns(ctx context.Context, list []ReportRun) error {
	return reportRunsTable().insert(ctx, l, list)
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
