package reporting

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/meterd/meterd/internal/panics"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// runSaver stores versions of runs; those that come while an insert is under way
// share the next one, for ClickHouse wants few and large inserts.
type runSaver struct {
	insert func(ctx context.Context, list []ledger.ReportRun) error

	mu      sync.Mutex
	waiting *saving
	busy    bool
}

// saving is an insert to come.
type saving struct {
	rows []ledger.ReportRun
	done chan struct{}
	err  error
}

// saveMax bounds one insert: it isn't its callers' to break off.
const saveMax = 30 * time.Second

// save returns once the row is on disk.
func (s *runSaver) save(ctx context.Context, row ledger.ReportRun) error {
	s.mu.Lock()
	if s.waiting == nil {
		s.waiting = &saving{done: make(chan struct{})}
	}
	mine := s.waiting
	mine.rows = append(mine.rows, row)
	lead := !s.busy
	s.busy = true
	s.mu.Unlock()
	if lead {
		s.flush(context.WithoutCancel(ctx))
	}
	<-mine.done
	return mine.err
}

// flush stores all that waits, and what comes meanwhile.
func (s *runSaver) flush(ctx context.Context) {
	for {
		s.mu.Lock()
		batch := s.waiting
		s.waiting = nil
		if batch == nil {
			s.busy = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		batch.err = s.store(ctx, batch.rows)
		close(batch.done)
	}
}

// store is one insert. A panic is an error here: it would leave the saver busy,
// and everybody after it waiting.
func (s *runSaver) store(ctx context.Context, rows []ledger.ReportRun) (err error) {
	ctx, cancel := context.WithTimeout(ctx, saveMax)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = &panics.Error{Value: p}
		}
	}()
	return s.insert(ctx, rows)
}

// save stores a run's next version.
func (r *Runner) save(ctx context.Context, row *ledger.ReportRun, d *reports.RunDetail) error {
	if err := r.stamp(row, d); err != nil {
		return err
	}
	return r.saver.save(ctx, *row)
}

// stamp makes a row its next version.
func (r *Runner) stamp(row *ledger.ReportRun, d *reports.RunDetail) error {
	b, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("note the run: %w", err)
	}
	row.Detail = string(b)
	row.Version = max(row.Version+1, uint64(r.deps.Clock.Now().UnixMicro()))
	return nil
}
