package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/finance"
)

// exportCmd writes what finance pulls.
type exportCmd struct {
	Period   string            `help:"A month such as 2026-11, or months: 2026-01..2026-11. Default: all that have something." placeholder:"M"`
	Parent   string            `help:"Only this parent's. Default: all." placeholder:"P"`
	Closed   bool              `help:"Only months that are closed."`
	Since    string            `help:"Only days that have changed since an earlier export: its manifest, or the watermark in it (RFC 3339)." placeholder:"FILE|T"`
	Format   string            `help:"csv, jsonl, parquet or focus." default:"csv"`
	Version  string            `name:"focus-version" help:"1.4 or 1.2." default:"1.4"`
	Out      string            `required:"" help:"The file; or a folder, for a file a parent and month." placeholder:"FILE"`
	BOM      bool              `name:"bom" help:"CSV begins with a byte order mark, as Excel wants it."`
	Check    bool              `help:"Hold a focus file against FOCUS's rules when it is written; exit 3 if one is broken."`
	Provider string            `name:"focus-provider" help:"Whose service it is, in focus files: your brand." default:"meterd" env:"METERD_FOCUS_PROVIDER"`
	Issuer   string            `name:"focus-invoice-issuer" help:"Who invoices, in focus files. Default: the parent's issuer, or the provider." env:"METERD_FOCUS_INVOICE_ISSUER"`
	Category map[string]string `name:"focus-service-category" help:"ServiceCategory of channels, in focus files, where the default doesn't fit: whatsapp=Web;rcs=Web." env:"METERD_FOCUS_SERVICE_CATEGORY"`
	Tag      []string          `help:"Keys of messages' tags for the column Tags of focus files." placeholder:"KEY"`
	As       string            `help:"What that account may see." placeholder:"ID"`
}

// Run implements the command.
func (c *exportCmd) Run(a *app) error {
	since, err := c.since()
	if err != nil {
		return err
	}
	if c.Check && c.Format != finance.FormatFOCUS {
		return wrongInput("--check: is for focus files")
	}
	if c.BOM && (c.Format != finance.FormatCSV && c.Format != finance.FormatFOCUS || strings.HasSuffix(c.Out, ".parquet")) {
		return wrongInput("--bom: is for files of CSV")
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	if c.Parent, err = c.parent(e); err != nil {
		return err
	}
	from, to, ranged := strings.Cut(c.Period, "..")
	if !ranged {
		to = from
	}
	progress, end := a.progress("exported lines")
	q := finance.Request{
		Parent: c.Parent, From: from, To: to, Closed: c.Closed, Since: since, Format: c.Format, BOM: c.BOM, Out: c.Out, Progress: progress,
		FOCUS: finance.FOCUSOptions{Version: c.Version, Provider: c.Provider, InvoiceIssuer: c.Issuer, Categories: c.Category, Tags: c.Tag},
	}
	m, err := finance.New(finance.Deps{Ledger: e.ledger, Snapshot: e.snapshots.Current(), Clock: e.clock}).Run(a.ctx, q)
	end()
	if err != nil {
		return exportError(err)
	}
	found, err := c.check(m)
	if err != nil {
		return err
	}
	if err := c.print(a, m, found); err != nil {
		return err
	}
	if len(found) > 0 {
		return errFound
	}
	return nil
}

// exportView is what the command prints; of one file its sum too.
type exportView struct {
	Rows       int                 `json:"rows"`
	Bytes      int64               `json:"bytes"`
	SHA256     string              `json:"sha256,omitempty"`
	Watermark  time.Time           `json:"watermark"`
	Files      []finance.FileSum   `json:"files"`
	Violations []finance.Violation `json:"violations,omitempty"`
}

func (c *exportCmd) print(a *app, m *finance.Manifest, found []finance.Violation) error {
	v := exportView{Rows: m.Rows, Bytes: m.Bytes, Watermark: m.Watermark, Files: m.Files, Violations: found}
	if len(m.Files) == 1 {
		v.SHA256 = m.Files[0].SHA256
	}
	if a.JSON {
		return a.printJSON(v)
	}
	for _, f := range m.Files {
		_, _ = fmt.Fprintf(a.out, "%s  %d rows, %d bytes, sha256 %s\n", f.Path, f.Rows, f.Bytes, f.SHA256)
	}
	t := a.table("PARENT", "PERIOD", "STATE", "ROWS", "RECORDS", "AMOUNT", "REFUNDS", "ADJUSTMENTS", "BILLABLE", "")
	right(t, 4, 5, 6, 7, 8, 9)
	for _, s := range m.Months {
		t.AppendRow([]any{s.Parent, s.Period, s.State, s.Rows, s.Records, s.Amount, s.Refunds, s.Adjustments, s.Billable, s.Currency})
	}
	a.render(t)
	for _, x := range found {
		_, _ = fmt.Fprintf(a.out, "line %d breaks the rule %q: %s\n", x.Line, x.Rule, x.Detail)
	}
	return nil
}

// parent that the reader may export: its own.
func (c *exportCmd) parent(e *engines) (string, error) {
	if c.As == "" {
		return c.Parent, e.parent(c.Parent)
	}
	aud, reader, err := e.view(c.As, c.Parent)
	if err != nil {
		return "", err
	}
	if aud != metering.AudienceParent || !reader.IsParent() {
		return "", metering.ErrNotVisible
	}
	return reader.ID, nil
}

// since is the watermark that is meant.
func (c *exportCmd) since() (time.Time, error) {
	if c.Since == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, c.Since); err == nil {
		return t, nil
	}
	m, err := finance.ReadManifest(c.Since)
	if err != nil {
		return time.Time{}, wrongInput("--since: %w", err)
	}
	return m.Watermark, nil
}

// check holds what was written against FOCUS's rules.
func (c *exportCmd) check(m *finance.Manifest) ([]finance.Violation, error) {
	if !c.Check {
		return nil, nil
	}
	var found []finance.Violation
	for _, f := range m.Files {
		list, err := finance.Check(m.PathOf(c.Out, f), m.FOCUS.Version)
		if err != nil {
			return nil, err
		}
		found = append(found, list...)
	}
	return found, nil
}

// exportError gives an error its exit code.
func exportError(err error) error {
	for _, e := range []error{finance.ErrFormat, finance.ErrFOCUS, finance.ErrFuture, finance.ErrSince} {
		if errors.Is(err, e) {
			return &inputError{err: err}
		}
	}
	return err
}
