package reports

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// AccountState is what the caller knows of an account's live state.
type AccountState struct {
	Own       metering.Flags // its own flags that hold now
	Inherited metering.Flags // its parent's, as far as they suspend it (Flags.Inherited)
}

func (s AccountState) suspended() bool { return s.Own|s.Inherited != 0 }

// Deps are what a Reporter works with.
type Deps struct {
	Ledger   *ledger.Ledger
	Snapshot func() *metering.Snapshot
	// States gives an account's live state; a closed month has its own. Nil: the
	// ledger's history of states is used.
	States func(ctx context.Context, id string) (AccountState, error)
	Clock  clock.Clock
}

// Reporter makes reports. It may be used by many goroutines.
type Reporter struct{ deps Deps }

// NewReporter returns a Reporter.
func NewReporter(d Deps) *Reporter { return &Reporter{deps: d} }

// AudienceParent is the Request.Audience of a parent's own report.
const AudienceParent = string(metering.AudienceParent)

// Request asks for one report.
type Request struct {
	Parent   string // "": the audience's
	Period   string // a month, 2026-11; or days: 2026-11-05, 2026-11-02..2026-11-08
	Audience string // "parent" (or ""), or an account's id
	Kind     string // "statement" (or ""), "messages", "wallet"
	Redacted bool   // the parent's report without money
	Detail   bool   // the PDF has the details of accounts, however many
	Formats  []string
	BOM      bool   // CSV begins with a byte order mark
	Out      string // folder; made where it is missing
	// Progress is told now and then how many messages of about how many are
	// written. Nil: nobody.
	Progress func(done, total int64)
}

// progressEvery is after how many messages it is told.
const progressEvery = 5_000

func (q *Request) progress(done, total int64) {
	if q.Progress != nil && (done%progressEvery == 0 || done == total) {
		q.Progress(done, total)
	}
}

// Kinds of reports.
const (
	KindStatement = "statement"
	KindMessages  = "messages" // a line for each
	KindWallet    = "wallet"   // a prepaid parent's
)

// File is one file that was made.
type File struct {
	Path     string `json:"path"`
	Audience string `json:"audience"`
	Format   string `json:"format"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
	Layout   int    `json:"layout,omitempty"` // render.Layout that made it; absent: 2 or before
	Lines    int64  `json:"lines,omitempty"`  // of a detail
	Sheets   int    `json:"sheets,omitempty"` // of lines, in a detail's workbook
	Closed   bool   `json:"closed,omitempty"` // it is of a month that was closed when it was made
}

// Run makes a report in each of the formats and writes it to the folder. Every
// file is there whole or not at all.
func (r *Reporter) Run(ctx context.Context, q Request) ([]File, error) {
	formats, err := CheckFormats(q.Kind, q.Formats)
	if err != nil {
		return nil, err
	}
	if q.Kind == KindMessages {
		return r.runDetail(ctx, &q, formats)
	}
	st, audience, err := r.Build(ctx, q)
	if err != nil {
		return nil, err
	}
	files := make([]File, 0, len(formats))
	for _, format := range formats {
		f, err := writeFile(q.Out, st.baseName()+"."+format, func(w io.Writer) error { return renderTo(w, format, &q, st) })
		if err != nil {
			return files, err
		}
		f.Audience, f.Format, f.Closed = audience, format, st.closed()
		files = append(files, f)
	}
	return files, nil
}

// runDetail makes the detail that a request's audience may read.
func (r *Reporter) runDetail(ctx context.Context, q *Request, formats []string) ([]File, error) {
	parent, reader, s, err := r.subject(ctx, *q)
	if err != nil {
		return nil, err
	}
	if !reader.IsParent() {
		s.zone = ownZone(reader, s)
	}
	files, err := r.runMessages(ctx, q, parent, reader, s, formats)
	for i := range files {
		files[i].Audience, files[i].Closed = audienceName(reader), s.closed
	}
	return files, err
}

func audienceName(reader *metering.Account) string {
	if reader.IsParent() {
		return AudienceParent
	}
	return reader.ID
}

// Build makes the statement that a request's audience may read.
func (r *Reporter) Build(ctx context.Context, q Request) (Statement, string, error) {
	parent, reader, s, err := r.subject(ctx, q)
	if err != nil {
		return nil, "", err
	}
	var st Statement
	switch {
	case q.Kind == KindWallet && !reader.IsParent():
		return nil, "", metering.ErrUnknownAccount // like anything else that isn't its own
	case q.Kind == KindWallet && q.Redacted:
		return nil, "", fmt.Errorf("%w statement without money: leave out --redacted", ErrNoWallet)
	case q.Kind == KindWallet:
		st, err = r.BuildWallet(ctx, parent, s)
	case reader.IsParent() && q.Redacted:
		st, err = r.BuildOverview(ctx, parent, s)
	case reader.IsParent():
		st, err = r.BuildParent(ctx, parent, s)
	case reader.Audience() == metering.AudienceEnterprise && !q.Redacted:
		st, err = r.BuildEnterprise(ctx, reader, s)
	default:
		st, err = r.BuildActivity(ctx, reader, s)
	}
	if err != nil {
		return nil, "", fmt.Errorf("build the report: %w", err)
	}
	return st, audienceName(reader), nil
}

// subject is what a request is about: the parent, who reads, and the time. Both
// accounts are as the report shows them.
func (r *Reporter) subject(ctx context.Context, q Request) (parent, reader *metering.Account, s *reportPeriod, err error) {
	if parent, reader, err = r.audience(q); err != nil {
		return nil, nil, nil, err
	}
	if s, err = r.span(ctx, parent, q.Period); err != nil {
		return nil, nil, nil, err
	}
	if s.accounts, err = r.accountsAt(ctx, parent.ID, s); err != nil {
		return nil, nil, nil, err
	}
	return s.accounts[parent.ID], s.accounts[reader.ID], s, nil
}

// audience finds who the report is for, and the parent that it is under. What
// isn't the parent's answers like what doesn't exist.
func (r *Reporter) audience(q Request) (parent, reader *metering.Account, err error) {
	snap := r.deps.Snapshot()
	id := q.Audience
	if id == "" || id == AudienceParent {
		id = q.Parent
	}
	reader = snap.Accounts[id]
	if reader == nil {
		return nil, nil, metering.ErrUnknownAccount
	}
	if q.Parent != "" && reader.Parent() != q.Parent {
		return nil, nil, metering.ErrUnknownAccount
	}
	if parent = snap.Accounts[reader.Parent()]; parent == nil || parent.Calendar == nil {
		return nil, nil, metering.ErrUnknownAccount
	}
	return parent, reader, nil
}

// reportPeriod reads the period, and whether it is closed.
func (r *Reporter) span(ctx context.Context, parent *metering.Account, name string) (*reportPeriod, error) {
	s, err := parseSpan(parent.Calendar, name)
	if err != nil {
		return nil, err
	}
	s.asOf = r.deps.Clock.Now().UTC().Truncate(time.Millisecond)
	if r.deps.Snapshot().Gone(parent.Calendar.Of(s.start).Name) {
		return nil, fmt.Errorf("%w: %s", ErrGone, name)
	}
	if s.start.After(s.asOf) {
		return nil, fmt.Errorf("%w: %s", ErrFuture, name)
	}
	if !s.month {
		return s, nil
	}
	closings, err := r.deps.Ledger.Closings(ctx, parent.ID)
	if err != nil {
		return nil, err
	}
	for i := range closings {
		if c := &closings[i]; c.Period == name && c.State == ledger.ClosingDone {
			s.closed, s.asOf, s.fixed = true, c.AsOf.UTC(), *c
			s.start, s.end = c.Start.UTC(), c.End.UTC()
		}
	}
	return s, nil
}

// Formats that are written.
const (
	FormatCSV     = "csv"
	FormatJSON    = "json" // of a detail: one object a line
	FormatHTML    = "html"
	FormatXLSX    = "xlsx"
	FormatPDF     = "pdf"
	FormatParquet = "parquet"
)

// FormatsOf are the formats that a kind of report comes in; nil: not a kind.
func FormatsOf(kind string) []string {
	switch kind {
	case "", KindStatement, KindWallet:
		return []string{FormatCSV, FormatJSON, FormatHTML, FormatXLSX, FormatPDF}
	case KindMessages:
		return []string{FormatCSV, FormatJSON, FormatXLSX, FormatParquet}
	}
	return nil
}

// CheckFormats reads a list of formats for a kind of report: each once, in
// their order.
func CheckFormats(kind string, list []string) ([]string, error) {
	may := FormatsOf(kind)
	if may == nil {
		return nil, fmt.Errorf("kind %q: %w", strings.ToValidUTF8(kind, "?"), ErrKind)
	}
	var out []string
	for _, f := range list {
		if !slices.Contains(may, f) {
			return nil, fmt.Errorf("format %q: %w: give some of %s", strings.ToValidUTF8(f, "?"), ErrFormat, strings.Join(may, ", "))
		}
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no format: %w: give some of %s", ErrFormat, strings.Join(may, ", "))
	}
	return out, nil
}
