package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
)

// Batch is what one task wants stored. Write returns once all of it is on disk.
type Batch struct {
	Rows       []Row
	Quarantine []Entry
	Waiting    []Waiting

	// Charged is when the call to Redis was begun that gave Rows, by the writer's
	// clock: they are stored only if they are sent within metering.SendMax of it. Zero: the
	// batch may be sent whenever.
	Charged time.Time

	// Refused are the rows (indexes) that ClickHouse refuses for good; the
	// others stand. Set by Write.
	Refused []int
}

// Aside is about how much memory the lines take that aren't rows, in KB: as much as
// so many rows.
func (b *Batch) Aside() int {
	n := len(b.Quarantine) + len(b.Waiting)
	for i := range b.Quarantine {
		n += len(b.Quarantine[i].Raw) >> 10
	}
	for i := range b.Waiting {
		n += len(b.Waiting[i].Raw) >> 10
	}
	return n
}

// WriterOptions bound the writer.
type WriterOptions struct {
	// RowsMax is how many rows, and what takes as much memory as they, join one
	// insert. More: larger parts, more memory (about 1 KB a row). Default 60,000.
	RowsMax int
	// Gap is the least time between the starts of two inserts; after one of many
	// rows up to five times as long, for each insert has a cost of its own and is
	// merged later. Shorter: lower latency under load, more parts. Default 200 ms.
	Gap time.Duration
	// Linger is how long an idle writer waits for company. Default 4 ms.
	Linger time.Duration
	// Clock stamps stored_at.
	Clock clock.Clock
}

// Writer joins the rows of many tasks into few, large, fsynced inserts.
type Writer struct {
	ledger *Ledger
	opts   WriterOptions

	mu      sync.Mutex
	pending []*request
	rows    int           // pending, with what takes as much as they
	wake    chan struct{} // capacity 1: something is pending
	full    chan struct{} // capacity 1: RowsMax are pending
	stopped bool
}

// ErrStopped says that the writer takes nothing more.
var ErrStopped = errors.New("the ledger's writer has stopped")

// ErrLate says that nothing of a batch was sent, for its charge is too old by now.
// Ask for the charge's answer again, and write what that says.
var ErrLate = fmt.Errorf("rows weren't sent to the ledger within %s of their charge", metering.SendMax)

type request struct {
	batch *Batch
	rows  int // with what takes as much as they
	done  chan error
}

// NewWriter returns a writer; Run must be running for Write to return.
func NewWriter(l *Ledger, o WriterOptions) *Writer {
	if o.RowsMax == 0 {
		o.RowsMax = 60_000
	}
	if o.Gap == 0 {
		o.Gap = 200 * time.Millisecond
	}
	if o.Linger == 0 {
		o.Linger = 4 * time.Millisecond
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	return &Writer{ledger: l, opts: o, wake: make(chan struct{}, 1), full: make(chan struct{}, 1)}
}

// Write stores the batch with whatever else is pending. An error says that it
// may or may not be stored: write it again.
func (w *Writer) Write(ctx context.Context, b *Batch) error {
	if len(b.Rows) == 0 && len(b.Quarantine) == 0 && len(b.Waiting) == 0 {
		return nil
	}
	r := &request{batch: b, rows: len(b.Rows) + b.Aside(), done: make(chan error, 1)}
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return ErrStopped
	}
	w.pending = append(w.pending, r)
	w.rows += r.rows
	full := w.rows >= w.opts.RowsMax
	w.mu.Unlock()
	notify(w.wake)
	if full {
		notify(w.full)
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the ledger: %w", ctx.Err())
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run inserts what is pending until ctx ends; then it stores what is left.
func (w *Writer) Run(ctx context.Context) error {
	var inserts sync.WaitGroup
	defer inserts.Wait()
	slots := make(chan struct{}, 2) // one is built while another is on its way to disk
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	next := w.opts.Clock.Now()
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			w.drain(context.WithoutCancel(ctx))
			return nil
		}
		timer.Reset(max(next.Sub(w.opts.Clock.Now()), w.opts.Linger))
		select {
		case <-timer.C:
		case <-w.full:
		case <-ctx.Done():
		}
		for group := w.take(); len(group) > 0; group = w.take() {
			slots <- struct{}{}
			next = w.opts.Clock.Now().Add(w.gap(group))
			inserts.Go(func() {
				defer func() { <-slots }()
				w.flush(context.WithoutCancel(ctx), group)
			})
			w.mu.Lock()
			more := w.rows >= w.opts.RowsMax
			w.mu.Unlock()
			if !more {
				break
			}
		}
		w.mu.Lock()
		left := len(w.pending) > 0
		w.mu.Unlock()
		if left {
			notify(w.wake)
		}
	}
}

// gapRows is after how many rows the gap is longer than the least.
const gapRows = 2000

// gap until the next insert.
func (w *Writer) gap(group []*request) time.Duration {
	rows := 0
	for _, r := range group {
		rows += len(r.batch.Rows)
	}
	return w.opts.Gap * time.Duration(min(max(rows/gapRows, 1), 5))
}

// drain stores what is left; from then on nothing is taken.
func (w *Writer) drain(ctx context.Context) {
	for {
		w.mu.Lock()
		w.stopped = len(w.pending) == 0
		w.mu.Unlock()
		if w.stopped {
			return
		}
		w.flush(ctx, w.take())
	}
}

// take removes up to RowsMax pending rows, and what takes as much as they; at least
// one request.
func (w *Writer) take() []*request {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, rows := 0, 0
	for n < len(w.pending) && (n == 0 || rows+w.pending[n].rows <= w.opts.RowsMax) {
		rows += w.pending[n].rows
		n++
	}
	group := w.pending[:n:n]
	w.pending = w.pending[n:]
	if len(w.pending) == 0 {
		w.pending = nil
	}
	w.rows -= rows
	return group
}

func (w *Writer) flush(ctx context.Context, group []*request) {
	group = w.inTime(group)
	if len(group) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, metering.InsertMax)
	defer cancel()
	err := w.store(ctx, group)
	for _, r := range group {
		r.done <- err
	}
}

// inTime gives the batches back whose charge is too old by now.
func (w *Writer) inTime(group []*request) []*request {
	now := w.opts.Clock.Now()
	return slices.DeleteFunc(group, func(r *request) bool {
		late := !r.batch.Charged.IsZero() && now.Sub(r.batch.Charged) > metering.SendMax
		if late {
			r.done <- ErrLate
		}
		return late
	})
}

// store writes the group: quarantine and waiting beside the rows; before them the hours
// whose rollups they make due, and what automatic refunds are decided by.
func (w *Writer) store(ctx context.Context, group []*request) error {
	var rows []*Row
	var entries []Entry
	var waiting []Waiting
	index := make([][2]int, 0, 1024) // row → request, position
	for i, r := range group {
		for j := range r.batch.Rows {
			rows = append(rows, &r.batch.Rows[j])
			index = append(index, [2]int{i, j})
		}
		r.batch.Refused = nil
		entries = append(entries, r.batch.Quarantine...)
		waiting = append(waiting, r.batch.Waiting...)
	}
	var now time.Time
	if len(rows)+len(entries) > 0 {
		var err error
		if now, err = w.ledger.Now(ctx); err != nil {
			return err
		}
	}
	var side sync.WaitGroup
	var sideErr error
	if len(entries)+len(waiting) > 0 {
		side.Go(func() {
			sideErr = errors.Join(w.ledger.openQuarantine(ctx, entries, now), w.ledger.InsertWaiting(ctx, waiting))
		})
	}
	var refused []int
	stored := w.opts.Clock.Now()
	var before errgroup.Group
	// Marks dated after the insert's own bound: no roll from before that counts,
	// wherever the storing is cut off. Of rows that don't follow they do no harm.
	before.Go(func() error { return w.ledger.markHours(ctx, rows, now.Add(metering.InsertMax)) })
	before.Go(func() error { return w.ledger.noteStatuses(ctx, rows, stored) })
	err := before.Wait()
	if err == nil {
		refused, err = w.ledger.insertRows(ctx, rows, stored)
	}
	side.Wait()
	for _, i := range refused {
		r := group[index[i][0]]
		r.batch.Refused = append(r.batch.Refused, index[i][1])
	}
	return errors.Join(err, sideErr)
}
