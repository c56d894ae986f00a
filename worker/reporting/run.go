package reporting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/destination"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// Task is the handler of report:run: one round of a run makes its files and
// delivers them to each destination that doesn't have them and whose next try is
// due. A run that is done stays so, and so does a round.
func (r *Runner) Task(ctx context.Context, _ string, payload []byte) error {
	id, round, ok := roundOf(payload)
	if !ok {
		r.deps.Log.ErrorContext(ctx, "report job that can't be read dropped")
		return nil
	}
	row, err := r.run(ctx, id)
	if errors.Is(err, ErrUnknownRun) {
		r.deps.Log.ErrorContext(ctx, "report job without a run dropped", slog.String("run", id))
		return nil
	}
	if err != nil {
		return err
	}
	if row.Ended() || row.Round != round {
		return nil
	}
	d := reports.Detail(row)
	d.Notes, d.Error = nil, ""
	x := &roundRun{Runner: r, row: row, detail: d, now: r.deps.Clock.Now().UTC().Truncate(time.Millisecond)}
	return x.work(ctx)
}

func roundOf(payload []byte) (run string, round uint32, ok bool) {
	run, n, _ := strings.Cut(string(payload), "-")
	v, err := strconv.ParseUint(n, 10, 32)
	return run, uint32(v), err == nil
}

// roundRun is one round of a run.
type roundRun struct {
	*Runner

	row    *ledger.ReportRun
	detail reports.RunDetail
	now    time.Time
	files  []reports.File
}

func (x *roundRun) work(ctx context.Context) error {
	if len(x.row.Destinations) == 0 {
		return x.fail(ctx, errNoDestination)
	}
	todo, err := x.due(ctx)
	if err != nil {
		return err
	}
	if len(todo) == 0 {
		return x.conclude(ctx)
	}
	dir, err := os.MkdirTemp("", reportDir)
	if err != nil {
		return fmt.Errorf("make a folder for the report: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the files have been delivered, or are made again
	if x.row.State != ledger.RunRunning {
		x.row.State = ledger.RunRunning
		if err := x.save(ctx, x.row, &x.detail); err != nil {
			return err
		}
	}
	if err := x.build(ctx, dir); err != nil {
		if forGoodReport(err) {
			return x.fail(ctx, err)
		}
		return err
	}
	if err := x.deliver(ctx, todo); err != nil {
		return err
	}
	return x.conclude(ctx)
}

// reportDir begins the names of the folders in which reports are made.
const reportDir = "meterd-report-"

// leftAfter: no report takes so long.
const leftAfter = 24 * time.Hour

// removeLeft removes folders of reports that a process left which was killed.
func removeLeft(tmp string, now time.Time) error {
	list, err := filepath.Glob(filepath.Join(tmp, reportDir+"*"))
	if err != nil {
		return fmt.Errorf("look for folders of reports: %w", err)
	}
	var errs []error
	for _, dir := range list {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && now.Sub(info.ModTime()) > leftAfter {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

var errNoDestination = errors.New("no destination: give deliver in the accounts file")

// build makes the files; a few runs at once, for each asks the ledger much.
func (x *roundRun) build(ctx context.Context, dir string) error {
	select {
	case x.builds <- struct{}{}:
		defer func() { <-x.builds }()
	case <-ctx.Done():
		return ctx.Err()
	}
	files, err := x.deps.Reporter.Run(ctx, reports.Request{
		Parent: x.row.ParentID, Period: x.row.Period, Audience: x.row.Audience, Redacted: x.row.Redacted, Kind: x.row.Kind, Formats: x.row.Formats, Out: dir,
		Detail: reports.ScheduleOf(x.deps.Snapshot(), x.row).Detail,
	})
	if err != nil {
		return err
	}
	made := make([]reports.File, len(files))
	for i, f := range files {
		made[i] = f
		made[i].Path = filepath.Base(f.Path)
	}
	b, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("note the files: %w", err)
	}
	x.files, x.row.Files = files, string(b)
	return nil
}

// due are the destinations to try now. One whose server is known not to answer
// has failed this try without having been asked.
func (x *roundRun) due(ctx context.Context) ([]target, error) {
	var out []target
	for i := range x.detail.Destinations {
		d := &x.detail.Destinations[i]
		if d.State != ledger.RunPending || d.NextAt != nil && d.NextAt.After(x.now.Add(time.Second)) {
			continue
		}
		a, err := destination.Parse(d.To)
		switch {
		case err != nil:
			x.outcome(d, fmt.Errorf("%w: %w", errForGood, err))
			continue
		case x.deps.Deliverer.Resting(a):
			x.outcome(d, errResting)
			continue
		case a.Kind == destination.Hook && x.detail.Resends == 0:
			gone, err := x.goneBefore(ctx, d.To)
			if err != nil {
				return nil, err
			}
			if gone {
				x.outcome(d, errDisabled)
				continue
			}
		}
		out = append(out, target{delivery: d, address: a})
	}
	return out, nil
}

// goneBefore tells whether the receiver has answered 410 to the latest run that
// was brought there.
func (x *roundRun) goneBefore(ctx context.Context, to string) (bool, error) {
	const look = 20
	list, err := x.deps.Ledger.ReportRuns(ctx, ledger.RunFilter{
		Parent: x.row.ParentID, Destination: to, Limit: look,
		States: []string{ledger.RunDelivered, ledger.RunFailed, ledger.RunTruncated},
	})
	if err != nil {
		return false, err
	}
	var last time.Time
	gone := false
	for i := range list {
		for _, d := range reports.Detail(&list[i]).Destinations {
			if d.To == to && d.At != nil && d.At.After(last) {
				last, gone = *d.At, d.Gone
			}
		}
	}
	return gone, nil
}

// conclude ends the run, or has its next round come.
func (x *roundRun) conclude(ctx context.Context) error {
	var next time.Time
	state := ledger.RunDelivered
	if len(x.detail.LeftOut) > 0 {
		state = ledger.RunTruncated
	}
	for i := range x.detail.Destinations {
		d := &x.detail.Destinations[i]
		switch d.State {
		case ledger.RunPending:
			at := x.now
			if d.NextAt != nil {
				at = *d.NextAt
			}
			if next.IsZero() || at.Before(next) {
				next = at
			}
		case ledger.RunFailed:
			state = ledger.RunFailed
		}
	}
	if next.IsZero() {
		return x.end(ctx, state)
	}
	x.row.State, x.row.NextAt = ledger.RunRunning, next
	x.row.Round++
	if err := x.save(ctx, x.row, &x.detail); err != nil {
		return err
	}
	return x.enqueue(ctx, x.row.Run, x.row.Round, max(next.Sub(x.deps.Clock.Now()), time.Millisecond))
}

func (x *roundRun) fail(ctx context.Context, cause error) error {
	x.detail.Error = cause.Error()
	x.deps.Log.WarnContext(ctx, "report failed", slog.String("run", x.row.Run), slog.Any("error", cause))
	return x.end(ctx, ledger.RunFailed)
}

func (x *roundRun) end(ctx context.Context, state string) error {
	x.row.State = state
	if err := x.save(ctx, x.row, &x.detail); err != nil {
		return err
	}
	if x.deps.Outcome != nil {
		x.deps.Outcome(state)
	}
	return nil
}

// forGoodReport errors don't pass by trying again.
func forGoodReport(err error) bool {
	for _, e := range []error{
		metering.ErrUnknownAccount, metering.ErrOverflow, reports.ErrPeriod, reports.ErrFormat, reports.ErrKind, reports.ErrNoWallet, reports.ErrFuture, reports.ErrGone,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
