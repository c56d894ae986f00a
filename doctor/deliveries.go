package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/destination"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
	"github.com/meterd/meterd/worker/suspend"
)

// What is said of deliveries: so many by name, and how many more there are among those
// that are looked at.
const (
	namedMost   = 3
	failingMost = 1000
)

// hooks are receivers of hooks and alerts that weren't told when it was last tried.
func (s *System) hooks(ctx context.Context, ledger bool) error {
	list, err := suspend.FailingNow(ctx, s.Redis, failingMost)
	if err != nil || len(list) == 0 {
		return err
	}
	if ledger { // else none counts as removed
		snap, err := s.Ledger.Snapshot(ctx)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(f suspend.Failing) bool { return f.Gone(snap) })
	}
	said := make([]string, len(list))
	for i, f := range list {
		said[i] = fmt.Sprintf("of %s: %s (try %d)", cmp.Or(f.Parent, "the operator"), f.Why, f.Tries)
	}
	return failing(said, "tell the receiver's owner, each is tried again without end: docs/operators.md#hooks-failing")
}

// failing is an error that names the first few.
func failing(said []string, do string) error {
	if len(said) == 0 {
		return nil
	}
	more := ""
	if n := len(said) - namedMost; n > 0 {
		said, more = said[:namedMost], fmt.Sprintf("; and %d more", n)
		if n+namedMost >= failingMost {
			more += " at least"
		}
	}
	return deliveriesError(strings.Join(said, "; ") + more + ": " + do)
}

// deliveriesError says which deliveries fail.
type deliveriesError string

// Error implements error.
func (e deliveriesError) Error() string { return string(e) }

// givenUpFor is how long a run that was given up is named: who doesn't want it sent
// again needn't do anything.
const givenUpFor = 24 * time.Hour

// triesFrom is how often in a row a destination failed before it is named.
const triesFrom = 2

// reports are destinations of report runs that fail, and runs that were given up.
func (s *System) reports(ctx context.Context, now time.Time) error {
	runs, err := s.Ledger.TroubledRuns(ctx, now.Add(-givenUpFor), failingMost)
	if err != nil {
		return err
	}
	var snap *metering.Snapshot
	var said []string
	for i := range runs {
		wrong := wrongWith(&runs[i])
		if len(wrong) == 0 {
			continue
		}
		if snap == nil {
			if snap, err = s.Ledger.Snapshot(ctx); err != nil {
				return err
			}
		}
		for _, w := range wrong {
			if wanted(snap, &runs[i], w.to) {
				said = append(said, w.says)
			}
		}
	}
	return failing(said, "see `meterd report list`; what was given up is sent again by `meterd report resend RUN --failed`: docs/operators.md#report-failed")
}

// wrong is what is said of a run's destination; of the run itself, to is "".
type wrong struct{ to, says string }

// wrongWith a run: what it isn't brought to, or wasn't. A receiver that wants no more
// isn't wrong.
func wrongWith(r *ledger.ReportRun) (out []wrong) {
	d := reports.Detail(r)
	whose := "a report of " + cmp.Or(r.Owner, r.ParentID)
	if r.Name != "" {
		whose = "report " + r.Name + " of " + cmp.Or(r.Owner, r.ParentID)
	}
	if r.State == ledger.RunFailed && d.Error != "" {
		return []wrong{{says: whose + " couldn't be made: " + d.Error}}
	}
	for _, x := range d.Destinations {
		switch {
		case x.Gone:
		case x.State == ledger.RunFailed:
			out = append(out, wrong{x.To, fmt.Sprintf("%s to %s was given up: %s", whose, hostOf(x.To), x.Detail)})
		case x.State == ledger.RunPending && x.Attempts >= triesFrom:
			out = append(out, wrong{x.To, fmt.Sprintf("%s to %s: %s (try %d)", whose, hostOf(x.To), x.Detail, x.Attempts)})
		}
	}
	return out
}

func hostOf(to string) string {
	a, err := destination.Parse(to)
	if err != nil {
		return "an address that can't be read"
	}
	return a.Host()
}

// wanted tells whether the accounts still name a run's schedule, and where it goes; one
// that was asked for by hand has none.
func wanted(snap *metering.Snapshot, r *ledger.ReportRun, to string) bool {
	a := snap.Accounts[cmp.Or(r.Owner, r.ParentID)]
	return r.Name == "" || a != nil && a.ClosedAt == nil && slices.ContainsFunc(a.Reports, func(x metering.Schedule) bool {
		return x.Name == r.Name && (to == "" || slices.Contains(x.Deliver, to))
	})
}
