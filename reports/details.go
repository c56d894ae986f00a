package reports

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// DetailAbout is what a detail's files don't say line by line: a small file
// beside them.
type DetailAbout struct {
	Kind     string    `json:"kind"`   // "messages"
	Layout   uint64    `json:"layout"` // that made it
	Account  string    `json:"account"`
	Period   string    `json:"period"`
	Timezone string    `json:"timezone"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	AsOf     time.Time `json:"as_of"`
	Closed   bool      `json:"closed"`
	Lines    int64     `json:"lines"`
}

// MoneyAbout is that of a detail with money.
type MoneyAbout struct {
	DetailAbout
	Currency     string       `json:"currency"`
	Amount       Money        `json:"amount"`
	Refunded     Money        `json:"refunded"`
	Late         Money        `json:"late"`
	Corrections  Money        `json:"corrections"`
	Billable     Money        `json:"amount_billable"`
	Completeness Completeness `json:"completeness"`
}

// ActivityAbout is that of a detail without.
type ActivityAbout struct {
	DetailAbout
	Rejected uint64 `json:"rejected"`
}

// line is one of a detail's.
type line interface {
	columns() []render.Column
	cells(to []string) []string
}

// detail is how the messages of one audience are written.
type detail[T any] struct {
	name   string // of its files, without an ending
	title  string
	digits int
	bom    bool // of CSV
	total  int64
	about  func() []render.Fact
	each   func(ctx context.Context, f func(*T) error) error
}

// detailOrder is what was asked for, and of whom.
type detailOrder struct {
	*Request
	formats  []string
	query    ledger.ActivityQuery
	reader   *metering.Account
	accounts []string // that it is about
	span     *reportPeriod
}

// runMessages writes a detail in each of the formats, all in one pass.
func (r *Reporter) runMessages(ctx context.Context, q *Request, parent, reader *metering.Account, s *reportPeriod, formats []string) ([]File, error) {
	o := &detailOrder{Request: q, formats: formats, reader: reader, query: detailQuery(parent, reader, s), span: s}
	if o.accounts = o.query.Accounts; len(o.accounts) == 0 {
		o.accounts = idsOf(s.family(parent.ID))
	}
	total, err := r.deps.Ledger.MessageCount(ctx, o.query)
	if err != nil {
		return nil, err
	}
	about := DetailAbout{
		Kind: KindMessages, Layout: render.Layout, Account: reader.ID, Period: s.name, Timezone: s.zone.String(), Start: s.start, End: s.end, AsOf: s.asOf, Closed: s.closed,
	}
	base := reader.ID + "-" + fileSpan(s.name) + "-messages"
	if !q.Redacted && (reader.IsParent() || reader.Audience() == metering.AudienceEnterprise) {
		return r.moneyMessages(ctx, o, MoneyAbout{DetailAbout: about, Currency: reader.Currency}, detail[MessageLine]{name: base, total: total, bom: q.BOM})
	}
	return r.activityDetail(ctx, o, ActivityAbout{DetailAbout: about}, detail[ActivityMessage]{name: base + "-activity", total: total, bom: q.BOM})
}

func (r *Reporter) moneyMessages(ctx context.Context, o *detailOrder, about MoneyAbout, d detail[MessageLine]) ([]File, error) {
	f := &facts{quarantined: map[string]map[metering.Reason]uint64{}, waiting: map[string]uint64{}}
	if err := perPage(o.accounts, func(page []string) error { return r.incomplete(ctx, f, page, o.span) }); err != nil {
		return nil, err
	}
	about.Completeness.add(nil, 0)
	for _, id := range o.accounts {
		about.Completeness.add(f.quarantined[id], f.waiting[id])
	}
	for _, m := range []*Money{&about.Amount, &about.Refunded, &about.Late, &about.Corrections, &about.Billable} {
		m.Currency = about.Currency
	}
	d.title, d.digits = "Messages of "+about.Account+", "+about.Period, min(metering.MinorDigits(about.Currency), 6)
	d.about = func() []render.Fact {
		return append(about.facts(), about.Amount.fact("Amount"), about.Refunded.fact("Refunded"), about.Late.fact("Late"),
			about.Corrections.fact("Corrections"), about.Billable.fact("Amount billable"),
			render.Fact{Label: "Currency", Value: about.Currency},
			countFact("Quarantined records", about.Completeness.Quarantined),
			countFact("Not yet priced", about.Completeness.NotYetPriced),
			countFact("Refunds waiting", about.Completeness.Waiting))
	}
	var reasons map[string]string
	if o.reader.IsParent() {
		var err error
		if reasons, err = r.deps.Ledger.RerateReasons(ctx, o.reader.ID); err != nil {
			return nil, err
		}
	}
	d.each = func(ctx context.Context, f func(*MessageLine) error) error {
		return r.messageLines(ctx, o.query, reasons, func(l *MessageLine) error {
			about.Lines++
			about.Amount.add(l.Amount.Sum())
			about.Refunded.add(l.Refunded.Sum())
			about.Late.add(l.Late.Sum())
			about.Corrections.add(l.Correction.Sum())
			about.Billable.add(l.Billable.Sum())
			return f(l)
		})
	}
	return writeDetail(ctx, o, &d, &about)
}

func (r *Reporter) activityDetail(ctx context.Context, o *detailOrder, about ActivityAbout, d detail[ActivityMessage]) ([]File, error) {
	rejected, err := r.rejected(ctx, o.accounts, o.span)
	if err != nil {
		return nil, err
	}
	for _, id := range o.accounts {
		about.Rejected += rejected[id]
	}
	d.title = "Messages of " + about.Account + ", " + about.Period
	d.about = func() []render.Fact {
		return append(about.facts(), countFact("Rejected records", about.Rejected))
	}
	d.each = func(ctx context.Context, f func(*ActivityMessage) error) error {
		return r.activityMessages(ctx, o.query, func(l *ActivityMessage) error {
			about.Lines++
			return f(l)
		})
	}
	return writeDetail(ctx, o, &d, &about)
}

func (a *DetailAbout) facts() []render.Fact {
	return []render.Fact{
		{Label: "Account", Value: a.Account},
		{Label: "Period", Value: a.Period},
		instantFact("Start", a.Start),
		instantFact("End", a.End),
		{Label: "Time zone", Value: a.Timezone},
		{Label: "Times", Value: "UTC"},
		instantFact("As of", a.AsOf),
		{Label: "State", Value: closedWord(a.Closed)},
		countFact("Lines", uint64(max(a.Lines, 0))),
	}
}

func instantFact(label string, t time.Time) render.Fact {
	return render.Fact{Label: label, Value: instant(t), Figure: render.Figure{Kind: render.Time, Exact: instant(t)}}
}

// writeDetail makes the files of a detail side by side, and one that tells about
// them.
func writeDetail[T any, P interface {
	*T
	line
}](ctx context.Context, o *detailOrder, d *detail[T], about any) ([]File, error) {
	formats := o.formats
	made := make([]File, len(formats))
	lines := int64(0)
	writers := make([]lineWriter[T], 0, len(formats))
	// Each file is open while those after it are written: the innermost reads.
	var open func(i int) error
	open = func(i int) error {
		if i == len(formats) {
			return d.each(ctx, func(l *T) error {
				lines++
				o.progress(lines, d.total)
				for _, w := range writers {
					if err := w.write(l); err != nil {
						return err
					}
				}
				return nil
			})
		}
		sheets := 0
		f, err := writeFile(o.Out, d.name+"."+extension(formats[i]), func(out io.Writer) error {
			w, err := newLineWriter[T, P](out, formats[i], d)
			if err != nil {
				return err
			}
			writers = append(writers, w)
			if err := open(i + 1); err != nil {
				w.abandon()
				return err
			}
			if err := w.close(); err != nil {
				return err
			}
			sheets = w.sheets()
			return nil
		})
		f.Format, f.Sheets = formats[i], sheets
		made[i] = f
		return err
	}
	if err := open(0); err != nil {
		return nil, err
	}
	o.progress(lines, lines)
	var files []File
	for _, f := range made {
		f.Lines = lines
		files = append(files, f)
	}
	beside, err := writeFile(o.Out, d.name+"-about.json", func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(about); err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		return nil
	})
	beside.Format = FormatJSON
	return append(files, beside), err
}

// extension of a detail's file.
func extension(format string) string {
	if format == FormatJSON {
		return "jsonl"
	}
	return format
}
