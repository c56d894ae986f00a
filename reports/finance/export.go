package finance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/outfile"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// Formats of an export.
const (
	FormatCSV     = "csv"
	FormatJSONL   = "jsonl"
	FormatParquet = "parquet"
	FormatFOCUS   = "focus" // as CSV, or as Parquet where the file's name ends in .parquet
)

// Errors of an export.
var (
	ErrFuture = errors.New("the month hasn't begun: export one that has")
	ErrGone   = errors.New("the month's rows are past their retention: its closed figures are in `meterd period list`")
	ErrFormat = errors.New("unknown format: give csv, jsonl, parquet or focus")
	ErrSince  = errors.New("--since takes whole days anew into one file of csv, jsonl or parquet: name a file, not a folder, and not focus")
)

// Deps are what an Exporter works with.
type Deps struct {
	Ledger   *ledger.Ledger
	Snapshot *metering.Snapshot
	Clock    clock.Clock
}

// Exporter writes exports.
type Exporter struct{ deps Deps }

// New returns an Exporter.
func New(d Deps) *Exporter { return &Exporter{deps: d} }

// Request asks for one export.
type Request struct {
	Parent string // "": all parents
	// From and To are the first and the last month, 2026-11. "": the parent's
	// first, and its present one.
	From, To string
	// Closed leaves out months that aren't closed.
	Closed bool
	// Since is the watermark of an earlier export: only accounts' days that have
	// changed since, each as a whole, to replace those there. Zero: all.
	Since  time.Time
	Format string
	BOM    bool // CSV begins with a byte order mark
	FOCUS  FOCUSOptions
	// Out is a file; or a folder (it is there, or ends in a slash), which gets a
	// file for each parent and month and keeps those of closed months that it has.
	Out string
	// Progress, if not nil, is told how many lines of a month were written; of
	// several months, how many of them.
	Progress func(done, total int64)

	done, of int64 // months
}

// month of a parent's bill that is exported.
type month struct {
	parent   *metering.Account
	accounts map[string]*metering.Account // as the month shows them, the parent's too
	period   metering.Period
	zone     *time.Location
	closing  *ledger.Closing            // nil: open
	changed  map[string]map[string]bool // account → days; nil: all
}

func (m *month) state() string {
	if m.closing == nil {
		return "open"
	}
	return ledger.ClosingDone
}

// Run writes the export and its manifest beside it.
func (x *Exporter) Run(ctx context.Context, q Request) (*Manifest, error) {
	if !slices.Contains([]string{FormatCSV, FormatJSONL, FormatParquet, FormatFOCUS}, q.Format) {
		return nil, ErrFormat
	}
	folder := isFolder(q.Out)
	if !q.Since.IsZero() && (folder || q.Format == FormatFOCUS) {
		return nil, ErrSince
	}
	if q.Format == FormatFOCUS {
		if err := q.FOCUS.check(); err != nil {
			return nil, err
		}
	}
	now, err := x.deps.Ledger.Watermark(ctx)
	if err != nil {
		return nil, err
	}
	months, err := x.months(ctx, &q)
	if err != nil {
		return nil, err
	}
	q.of = int64(len(months))
	m := newManifest(&q, now, x.deps.Clock.Now())
	if folder {
		return m, x.folder(ctx, &q, months, m)
	}
	if err := x.file(ctx, &q, q.Out, months, m); err != nil {
		return nil, err
	}
	return m, m.save(q.Out + ManifestSuffix)
}

func isFolder(path string) bool {
	if strings.HasSuffix(path, string(os.PathSeparator)) {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// folder writes a file a month, and goes on where an earlier run was cut off:
// the manifest is written after each.
func (x *Exporter) folder(ctx context.Context, q *Request, months []*month, m *Manifest) error {
	path := filepath.Join(q.Out, "manifest.json")
	before, err := ReadManifest(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, mo := range months {
		name := mo.parent.ID + "-" + mo.period.Name + q.extension()
		if before != nil && mo.closing != nil && before.keep(q, filepath.Join(q.Out, name), mo, m) {
			continue
		}
		if err := x.file(ctx, q, filepath.Join(q.Out, name), []*month{mo}, m); err != nil {
			return err
		}
		if err := m.save(path); err != nil {
			return err
		}
	}
	return m.save(path)
}

// extension of a format's files in a folder.
func (q *Request) extension() string {
	if q.Format == FormatFOCUS {
		return ".focus.csv"
	}
	return "." + q.Format
}

// file writes the lines of months to one file.
func (x *Exporter) file(ctx context.Context, q *Request, path string, months []*month, m *Manifest) error {
	columns := aggregateColumns()
	if q.Format == FormatFOCUS {
		columns = focusColumns(q.FOCUS.Version)
	}
	part := m.begin(path)
	var err error
	part.file.Bytes, part.file.SHA256, err = outfile.Save(path, func(w io.Writer) error {
		out, err := q.sink(w, path, columns)
		if err != nil {
			return err
		}
		for _, mo := range months {
			if err := x.lines(ctx, q, mo, part, out); err != nil {
				return fmt.Errorf("export %s of %s: %w", mo.period.Name, mo.parent.ID, err)
			}
		}
		return out.close()
	})
	if errors.Is(err, outfile.ErrWrite) {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err != nil {
		return err
	}
	m.add(part)
	if q.Format == FormatFOCUS {
		return saveMetadata(path, &q.FOCUS, months)
	}
	return nil
}

// lines of one month.
func (x *Exporter) lines(ctx context.Context, q *Request, mo *month, part *part, out sink) error {
	sum := part.month(mo)
	progress := q.Progress
	if q.of > 1 && progress != nil {
		q.done++
		progress(q.done, q.of)
		progress = nil
	}
	write := x.aggregates
	if q.Format == FormatFOCUS {
		write = func(ctx context.Context, mo *month, line func([]any) error, sum *running) error {
			return x.focus(ctx, q, mo, line, sum)
		}
	}
	if err := write(ctx, mo, part.counted(out, progress), sum); err != nil {
		return err
	}
	sum.finish(mo.parent.Currency)
	return nil
}

// sink of the request's format.
func (q *Request) sink(w io.Writer, path string, columns []column) (sink, error) {
	switch {
	case q.Format == FormatParquet || q.Format == FormatFOCUS && strings.HasSuffix(path, ".parquet"):
		return newParquet(w, q.Format, columns), nil
	case q.Format == FormatJSONL:
		return newJSON(w, columns), nil
	default:
		if q.BOM {
			if err := render.ByteOrderMark(w); err != nil {
				return nil, err
			}
		}
		return newCSV(w, columns, q.Format == FormatFOCUS)
	}
}

// months that the request selects, by parent, the oldest first.
func (x *Exporter) months(ctx context.Context, q *Request) ([]*month, error) {
	snap := x.deps.Snapshot
	parents := snap.Parents
	if q.Parent != "" {
		if a := snap.Accounts[q.Parent]; a == nil || !a.IsParent() {
			return nil, metering.ErrUnknownAccount
		}
		parents = []string{q.Parent}
	}
	for _, name := range []string{q.From, q.To} {
		if _, err := time.Parse("2006-01", name); name != "" && err != nil {
			return nil, fmt.Errorf("%w: %q", metering.ErrPeriod, name)
		}
	}
	if q.To != "" && q.From > q.To {
		return nil, fmt.Errorf("%w: %s ends before it begins", metering.ErrPeriod, q.From+".."+q.To)
	}
	var out []*month
	for _, id := range parents {
		list, err := x.monthsOf(ctx, snap.Accounts[id], q)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

func (x *Exporter) monthsOf(ctx context.Context, parent *metering.Account, q *Request) ([]*month, error) {
	changed, err := x.changed(ctx, parent, q.Since)
	if err != nil || !q.Since.IsZero() && len(changed) == 0 {
		return nil, err
	}
	closings, err := x.deps.Ledger.Closings(ctx, parent.ID)
	if err != nil {
		return nil, err
	}
	names := []string{q.From}
	if q.From == "" || q.From != q.To {
		if names, err = x.between(ctx, parent.ID, q.From, q.To); err != nil {
			return nil, err
		}
	}
	var out []*month
	for _, name := range names {
		p, err := parent.Calendar.Named(name)
		if err != nil {
			return nil, err
		}
		if p.Start.After(x.deps.Clock.Now()) {
			return nil, fmt.Errorf("%w: %s", ErrFuture, name)
		}
		if x.deps.Snapshot.Gone(name) {
			return nil, fmt.Errorf("%w: %s", ErrGone, name)
		}
		m := &month{parent: parent, period: p, zone: parent.Calendar.Location(p.Start)}
		if !q.Since.IsZero() {
			m.changes(changed)
		}
		if err := x.asClosed(ctx, m, closings); err != nil {
			return nil, err
		}
		if m.closing != nil || !q.Closed {
			out = append(out, m)
		}
	}
	return out, nil
}

// between are the months of a parent that have something, within bounds.
func (x *Exporter) between(ctx context.Context, parent, from, to string) ([]string, error) {
	var out []string
	err := x.deps.Ledger.Months(ctx, parent, func(m *ledger.Month) error {
		if m.Period >= from && (to == "" || m.Period <= to) {
			out = append(out, m.Period)
		}
		return nil
	})
	return out, err
}

// asClosed gives a month its closing, its bounds and its accounts as they stood
// then; an open one those of now.
func (x *Exporter) asClosed(ctx context.Context, m *month, closings []ledger.Closing) error {
	id := m.parent.ID
	m.accounts = map[string]*metering.Account{id: m.parent}
	for _, sub := range x.deps.Snapshot.Subs[id] {
		m.accounts[sub] = x.deps.Snapshot.Accounts[sub]
	}
	for i := range closings {
		if c := &closings[i]; c.Period == m.period.Name && c.State == ledger.ClosingDone {
			m.closing = c
			m.period.Start, m.period.End = c.Start.UTC(), c.End.UTC()
		}
	}
	if m.closing == nil {
		return nil
	}
	then, err := x.deps.Ledger.AccountsAt(ctx, id, m.closing.Catalog)
	if err != nil {
		return err
	}
	for _, a := range then {
		a.Calendar = m.parent.Calendar
		m.accounts[a.ID] = a
	}
	m.parent = m.accounts[id]
	return nil
}

// changed are the hours of a parent's accounts whose rows have changed since a
// watermark.
func (x *Exporter) changed(ctx context.Context, parent *metering.Account, since time.Time) ([]ledger.AccountHour, error) {
	if since.IsZero() {
		return nil, nil
	}
	var out []ledger.AccountHour
	err := x.deps.Ledger.ChangedHours(ctx, parent.ID, since, func(h ledger.AccountHour) error {
		out = append(out, h)
		return nil
	})
	return out, err
}

// changes notes the days that the hours touch.
func (m *month) changes(hours []ledger.AccountHour) {
	m.changed = map[string]map[string]bool{}
	for _, h := range hours {
		days := m.changed[h.AccountID]
		if days == nil {
			days = map[string]bool{}
			m.changed[h.AccountID] = days
		}
		for _, t := range []time.Time{h.Hour, h.Hour.Add(time.Hour - time.Millisecond)} {
			days[m.day(m.parent.Calendar.Of(t).Name, t.In(m.zone).Format(time.DateOnly))] = true
		}
	}
}

// wants tells whether a day of an account is exported.
func (m *month) wants(account, day string) bool { return m.changed == nil || m.changed[account][day] }

// day of a line: a month has no days but its own, also where its zone lies west
// of the one before (metering.Calendar.Day).
func (m *month) day(period, day string) string {
	if first := period + "-01"; day < first {
		return first
	}
	return day
}
