package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/doctor"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker"
)

// outcome is what became of the lines, once it is known.
type outcome struct {
	Stored      *int64 `json:"stored,omitempty"`
	Duplicates  *int64 `json:"duplicates,omitempty"`
	Quarantined *int64 `json:"quarantined,omitempty"`
	Waiting     *int64 `json:"waiting,omitempty"`
	// Reasons of the quarantined, as far as the workers told.
	Reasons map[metering.Reason]int64 `json:"quarantined_by_reason,omitempty"`
	Seconds *float64                  `json:"seconds,omitempty"` //nolint:forbidigo // elapsed time
}

// show says what became of the lines, and why some were quarantined, under the word
// for these.
func (o *outcome) show(w io.Writer, word string) {
	_, _ = fmt.Fprintf(w, "%d stored, %d duplicates, %d %s, %d waiting for their message", *o.Stored, *o.Duplicates, *o.Quarantined, word, *o.Waiting)
	if o.Seconds != nil {
		_, _ = fmt.Fprintf(w, ", in %.1f s", *o.Seconds)
	}
	_, _ = fmt.Fprintln(w)
	if *o.Quarantined == 0 {
		return
	}
	var why []string
	known := int64(0)
	for _, reason := range slices.Sorted(maps.Keys(o.Reasons)) {
		why = append(why, fmt.Sprintf("%d %s", o.Reasons[reason], reason))
		known += o.Reasons[reason]
	}
	if rest := *o.Quarantined - known; rest > 0 {
		why = append(why, fmt.Sprintf("%d others", rest))
	}
	_, _ = fmt.Fprintf(w, "%s: %s (`meterd quarantine list --limit 20` shows how to mend each)\n", word, strings.Join(why, ", "))
}

// outcome waits for what becomes of a run's lines.
func (s *sending) outcome(rdb redis.UniversalClient, store *balance.Store, run string) (outcome, error) {
	c, err := s.wait(rdb, store, run)
	if err != nil {
		return outcome{}, err
	}
	out := outcome{Stored: &c.Stored, Duplicates: &c.Duplicates, Quarantined: &c.Quarantined, Waiting: &c.Waiting}
	if c.Quarantined > 0 {
		out.Reasons, err = store.RunReasons(s.app.ctx, run)
	}
	return out, err
}

// wait asks for the run's counters until every line has its outcome.
func (s *sending) wait(rdb redis.UniversalClient, store *balance.Store, run string) (balance.Counts, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	progress, end := s.app.progress("metered")
	defer end()
	var last int64
	silent := 0
	for {
		c, err := store.RunCounts(s.app.ctx, run)
		if err != nil && !errors.Is(err, context.Canceled) {
			return c, s.lost(err)
		}
		if c.Sum() >= s.read {
			return c, nil
		}
		progress(c.Sum(), s.read)
		if silent++; c.Sum() != last {
			last, silent = c.Sum(), 0
		}
		if silent == 300 {
			s.tellIfUnserved(rdb)
		}
		if silent == 3000 {
			_, _ = fmt.Fprintln(s.app.err, "meterd: nothing has come back for 30 s: `meterd doctor` tells what is broken; still waiting")
		}
		select {
		case <-tick.C:
		case <-s.app.ctx.Done():
			return c, fmt.Errorf("stopped while waiting: %d of %d lines have their outcome; all are safe in the queue", c.Sum(), s.read)
		}
	}
}

// lost says that Redis went away while the run's counters were asked for.
func (s *sending) lost(err error) error {
	back := "once it is back"
	if s.app.Redis == "" {
		back = fmt.Sprintf("once `meterd up --data %s` runs again", s.app.Data)
	}
	return fmt.Errorf("%w; what became of the %d lines isn't known, all are safe in the queue, or metered: %s send them again, none is charged twice",
		&awayError{"redis", "--redis", hideSecret(s.info.Redis), err}, s.read, back)
}

// tellIfUnserved says that nobody is there who would take what was sent.
func (s *sending) tellIfUnserved(rdb redis.UniversalClient) {
	if err := doctor.Serving(s.app.ctx, rdb, worker.RoleIngest); err != nil {
		_, _ = fmt.Fprintf(s.app.err, "meterd: role %s: %v; what was sent is safe in the queue; still waiting\n", worker.RoleIngest, err)
	}
}
