package finance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/meterd/meterd/internal/outfile"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// ManifestSuffix of the manifest beside a file.
const ManifestSuffix = ".manifest.json"

// Manifest says what an export holds, so that whoever takes it in can check it,
// and from where the next one goes on.
type Manifest struct {
	Format string        `json:"format"`
	BOM    bool          `json:"bom,omitempty"`
	FOCUS  *FOCUSOptions `json:"focus,omitempty"`
	// Since is the watermark that the export began from: its lines replace those
	// of the same account and day.
	Since *time.Time `json:"since,omitempty"`
	// Watermark is what the next export's --since takes: all that is stored
	// later is seen then.
	Watermark time.Time  `json:"watermark"`
	CreatedAt time.Time  `json:"created_at"`
	Rows      int        `json:"rows"`
	Bytes     int64      `json:"bytes"`
	Files     []FileSum  `json:"files"`
	Months    []MonthSum `json:"months"`
}

// FileSum is one file of an export.
type FileSum struct {
	Path   string `json:"path"` // its name beside the manifest
	Rows   int    `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Layout int    `json:"layout"` // render.Layout that made it: 1 where an older manifest says none
}

// MonthSum is what the lines of a parent's month come to.
type MonthSum struct {
	Parent      string     `json:"parent"`
	Period      string     `json:"period"`
	State       string     `json:"state"` // open or closed
	AsOf        *time.Time `json:"as_of,omitempty"`
	File        string     `json:"file"`
	Rows        int        `json:"rows"`
	Records     uint64     `json:"records"`
	LateRecords uint64     `json:"late_records"` // of them, of closed months
	Amount      string     `json:"amount"`
	Fees        string     `json:"fees"`
	Refunds     string     `json:"refunds"`
	Net         string     `json:"net"`
	Late        string     `json:"late"`
	Corrections string     `json:"corrections"`
	Adjustments string     `json:"adjustments"`
	Billable    string     `json:"billable"`
	Currency    string     `json:"currency"`
	Wallet      *WalletSum `json:"wallet,omitempty"`
}

// bill is what lines come to, in the words of docs/finance.md (What each sum is).
type bill struct {
	records, lateRecords                     uint64
	amount, fees, refunds, late, corrections metering.Sum
}

// billOf a line of a period that is booked in a month: of another period it came after
// that was closed.
func billOf(booked, period string, records uint64, amount, fees, refunds, corrections metering.Sum) bill {
	if period != booked {
		return bill{records: records, lateRecords: records, late: amount.Minus(refunds), corrections: corrections}
	}
	return bill{records: records, amount: amount, fees: fees, refunds: refunds, corrections: corrections}
}

func (b *bill) net() metering.Sum         { return b.amount.Minus(b.refunds) }
func (b *bill) adjustments() metering.Sum { return b.late.Plus(b.corrections) }
func (b *bill) billable() metering.Sum    { return b.net().Plus(b.adjustments()) }

func (b *bill) add(o *bill) {
	b.records += o.records
	b.lateRecords += o.lateRecords
	b.amount, b.fees, b.refunds = b.amount.Plus(o.amount), b.fees.Plus(o.fees), b.refunds.Plus(o.refunds)
	b.late, b.corrections = b.late.Plus(o.late), b.corrections.Plus(o.corrections)
}

// running is a month's sum in the making.
type running struct {
	MonthSum
	bill
	drawn metering.Sum // of it, from a wallet or budget
}

// WalletSum is what a parent's wallet and budgets held, all together, where it is
// prepaid, was, or still holds any:
// opening + purchased + adjusted − drawn = closing.
type WalletSum struct {
	Opening   string `json:"opening"`
	Purchased string `json:"purchased"`
	Adjusted  string `json:"adjusted"`
	Drawn     string `json:"drawn"`
	Closing   string `json:"closing"`
}

// PathOf a file of an export that went to out.
func (m *Manifest) PathOf(out string, f FileSum) string {
	if isFolder(out) {
		return filepath.Join(out, f.Path)
	}
	return out
}

func newManifest(q *Request, watermark, now time.Time) *Manifest {
	m := &Manifest{Format: q.Format, BOM: q.BOM, Watermark: watermark, CreatedAt: now.UTC(), Files: []FileSum{}, Months: []MonthSum{}}
	if q.Format == FormatFOCUS {
		m.FOCUS = &q.FOCUS
	}
	if !q.Since.IsZero() {
		m.Since = &q.Since
	}
	return m
}

// part is a file in the making.
type part struct {
	file   FileSum
	months []*running
}

func (m *Manifest) begin(path string) *part {
	return &part{file: FileSum{Path: filepath.Base(path), Layout: render.Layout}}
}

func (p *part) month(m *month) *running {
	s := &running{MonthSum: MonthSum{Parent: m.parent.ID, Period: m.period.Name, State: m.state(), File: p.file.Path}}
	if m.closing != nil {
		at := m.closing.AsOf.UTC()
		s.AsOf = &at
	}
	p.months = append(p.months, s)
	return s
}

// counted writes lines to a sink and counts them.
func (p *part) counted(out sink, progress func(done, total int64)) func([]any) error {
	sum := p.months[len(p.months)-1]
	return func(line []any) error {
		p.file.Rows++
		sum.Rows++
		if progress != nil {
			progress(int64(p.file.Rows), 0)
		}
		return out.write(line)
	}
}

func (m *Manifest) add(p *part) {
	m.Files = append(m.Files, p.file)
	m.Rows += p.file.Rows
	m.Bytes += p.file.Bytes
	for _, s := range p.months {
		m.Months = append(m.Months, s.MonthSum)
	}
}

func (s *running) finish(currency string) {
	in := func(v metering.Sum) string { return v.Format(currency) }
	s.Currency, s.Records, s.LateRecords = currency, s.records, s.lateRecords
	s.Amount, s.Fees, s.Refunds, s.Net = in(s.amount), in(s.fees), in(s.refunds), in(s.net())
	s.Late, s.Corrections, s.Adjustments, s.Billable = in(s.late), in(s.corrections), in(s.adjustments()), in(s.billable())
}

// save writes the manifest, whole or not at all.
func (m *Manifest) save(path string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return saveFile(path, append(b, '\n'))
}

func saveFile(path string, b []byte) error {
	_, _, err := outfile.Save(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// ErrManifest says that a file isn't an export's manifest.
var ErrManifest = errors.New("not the manifest of an export: give the .manifest.json that it wrote")

// ReadManifest of an earlier export.
func ReadManifest(path string) (*Manifest, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	m := &Manifest{}
	if err := json.Unmarshal(b, m); err != nil || m.Watermark.IsZero() {
		return nil, fmt.Errorf("%s: %w", path, ErrManifest)
	}
	return m, nil
}

// keep takes over from an earlier run into the same folder the file of a month
// that was closed then too, if it is still as it was. false: it must be made.
func (m *Manifest) keep(q *Request, path string, mo *month, now *Manifest) bool {
	if m.Format != q.Format || m.BOM != q.BOM || !reflect.DeepEqual(m.FOCUS, now.FOCUS) {
		return false
	}
	for _, f := range m.Files {
		if f.Path != filepath.Base(path) {
			continue
		}
		for _, s := range m.Months {
			if s.File != f.Path || s.Parent != mo.parent.ID || s.Period != mo.period.Name || s.State != ledger.ClosingDone {
				continue
			}
			if sum, err := outfile.SHA256(path); err != nil || sum != f.SHA256 {
				return false
			}
			f.Layout = max(f.Layout, 1)
			now.add(&part{file: f, months: []*running{{MonthSum: s}}})
			return true
		}
	}
	return false
}
