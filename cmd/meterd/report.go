package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
	"github.com/meterd/meterd/worker"
	"github.com/meterd/meterd/worker/reporting"
)

// reportCmd groups the commands of reports.
type reportCmd struct {
	Run      reportRunCmd      `cmd:"" help:"Make one report, now."`
	List     reportListCmd     `cmd:"" help:"Past runs, newest first."`
	Schedule reportScheduleCmd `cmd:"" help:"Coming runs."`
	Resend   reportResendCmd   `cmd:"" help:"Make and deliver a run again."`
}

// reporter over the live states.
func (e *engines) reporter() *reports.Reporter {
	return reports.NewReporter(reports.Deps{
		Ledger: e.ledger, Snapshot: e.snapshots.Current, Clock: e.clock,
		States: worker.ReportStates(e.store, e.clock),
	})
}

// reportRunCmd makes one report.
type reportRunCmd struct {
	Parent   string   `help:"The parent." placeholder:"P"`
	Period   string   `required:"" help:"A month such as 2026-11, or days: 2026-11-05, 2026-11-02..2026-11-08."`
	Audience string   `help:"Who it is for: parent, or an account's id." default:"parent"`
	Kind     string   `help:"statement; messages: a line for each; wallet: what moved in a prepaid parent's wallet." default:"statement"`
	Redacted bool     `help:"Without anything economic."`
	Detail   bool     `help:"Of a parent with more than 12 accounts: the details of each in the PDF too."`
	Format   []string `help:"csv, json, html, xlsx, pdf; of messages csv, json, xlsx, parquet. Unless given: all, of messages csv."`
	BOM      bool     `name:"bom" help:"CSV begins with a byte order mark, as Excel wants it."`
	Out      string   `required:"" help:"Folder for the files." placeholder:"DIR"`
	As       string   `help:"What that account may see." placeholder:"ID"`
}

// Run implements the command.
func (c *reportRunCmd) Run(a *app) error {
	if len(c.Format) == 0 {
		c.Format = reports.FormatsOf(c.Kind)
		if c.Kind == reports.KindMessages {
			c.Format = []string{reports.FormatCSV}
		}
	}
	if _, err := reports.CheckFormats(c.Kind, c.Format); err != nil {
		return reportError(err)
	}
	if c.BOM && !slices.Contains(c.Format, reports.FormatCSV) {
		return wrongInput("--bom: is for csv; give --format csv")
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	q := reports.Request{
		Parent: c.Parent, Period: c.Period, Audience: c.Audience, Kind: c.Kind, Redacted: c.Redacted, Detail: c.Detail, Formats: c.Format, BOM: c.BOM, Out: c.Out,
	}
	if err := c.narrow(e, &q); err != nil {
		return err
	}
	progress, finish := a.reportProgress()
	q.Progress = progress
	files, err := e.reporter().Run(a.ctx, q)
	finish()
	if err != nil {
		return reportError(err)
	}
	if a.JSON {
		return a.printJSON(map[string]any{"files": files})
	}
	for _, f := range files {
		more := ""
		if f.Lines > 0 {
			more = fmt.Sprintf(", %d messages", f.Lines)
		}
		if f.Sheets > 1 {
			more += fmt.Sprintf(" on %d sheets: one holds no more than 1,048,575", f.Sheets)
		}
		_, _ = fmt.Fprintf(a.out, "%s  (%s, %d bytes%s)\n", f.Path, f.Format, f.Bytes, more)
	}
	return nil
}

// narrow makes of the request what its asker may ask for.
func (c *reportRunCmd) narrow(e *engines, q *reports.Request) error {
	if c.As == "" {
		if q.Parent == "" && q.Audience == reports.AudienceParent {
			return wrongInput("--parent: say whose report")
		}
		return e.parent(q.Parent)
	}
	target := q.Audience
	if target == reports.AudienceParent {
		target = q.Parent
	}
	reader := e.snapshots.Current().Accounts[c.As]
	if reader != nil && !reader.IsParent() && q.Audience == reports.AudienceParent {
		if q.Parent != "" && q.Parent != reader.Parent() {
			return metering.ErrUnknownAccount
		}
		target = c.As // a sub-account's own report
	}
	_, acct, err := e.view(c.As, target)
	if err != nil {
		return err
	}
	if q.Parent != "" && q.Parent != acct.Parent() {
		return metering.ErrUnknownAccount
	}
	q.Parent, q.Audience = acct.Parent(), acct.ID
	if acct.IsParent() {
		q.Audience = reports.AudienceParent
	}
	return nil
}

// reportError gives an error its exit code.
func reportError(err error) error {
	if errors.Is(err, reports.ErrFormat) || errors.Is(err, reports.ErrKind) || errors.Is(err, reports.ErrPeriod) || errors.Is(err, reports.ErrFuture) {
		return &inputError{err: err}
	}
	return err
}

// reportListCmd lists past runs.
type reportListCmd struct {
	Parent string   `help:"Only this parent's." placeholder:"P"`
	State  []string `help:"Only these: pending, running, delivered, failed, truncated." enum:"pending,running,delivered,failed,truncated" placeholder:"STATE"`
	As     string   `help:"What that account may see." placeholder:"ID"`
}

// Run implements the command.
func (c *reportListCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	parent, sub, err := e.reportScope(c.As, c.Parent)
	if err != nil {
		return err
	}
	runs, err := e.ledger.ReportRuns(a.ctx, ledger.RunFilter{Parent: parent, States: c.State})
	if err != nil {
		return err
	}
	t := a.table("RUN", "NAME", "AUDIENCE", "KIND", "PERIOD", "DUE", "STATE", "DESTINATIONS")
	for i := range runs {
		info := reports.Info(&runs[i])
		if sub != "" {
			if info.Audience != sub {
				continue
			}
			info = info.ForAccount()
		}
		if a.JSON {
			if err := a.printJSON(info); err != nil {
				return err
			}
			continue
		}
		to := reached(&info)
		t.AppendRow([]any{info.Run, info.Name, info.Audience, info.Kind, info.Period, info.DueAt.UTC().Format(time.RFC3339), info.State, strings.Join(to, "; ")})
	}
	if !a.JSON {
		a.render(t)
	}
	return nil
}

// reached says of each destination of a run what became of it, and why it failed; of
// a run that wasn't made why it wasn't.
func reached(info *reports.RunInfo) []string {
	var out []string
	for _, d := range info.Destinations {
		line := d.To + " " + d.State
		if d.State != ledger.RunDelivered && d.Detail != "" {
			line += fmt.Sprintf(" (try %d: %s", d.Attempts, d.Detail)
			if d.NextAt != nil {
				line += ", again at " + d.NextAt.UTC().Format(time.RFC3339)
			}
			line += ")"
		}
		out = append(out, line)
	}
	if info.Error != "" {
		out = append(out, info.Error)
	}
	return out
}

// reportScope is whose runs a reader may see: of a parent ("": all), and only
// those for one sub-account.
func (e *engines) reportScope(as, parent string) (scope, sub string, err error) {
	_, reader, err := e.view(as, "")
	if err != nil {
		return "", "", err
	}
	if reader == nil {
		return parent, "", e.parent(parent)
	}
	if parent != "" && parent != reader.Parent() {
		return "", "", metering.ErrUnknownAccount
	}
	if !reader.IsParent() {
		sub = reader.ID
	}
	return reader.Parent(), sub, nil
}

// reportScheduleCmd lists coming runs.
type reportScheduleCmd struct {
	Parent string `help:"Only this parent's." placeholder:"P"`
	Next   int    `help:"How many of each schedule." default:"3"`
	As     string `help:"What that account may see." placeholder:"ID"`
}

// comingView is a coming run; a sub-account sees nothing of where it goes.
type comingView struct {
	Parent       string   `json:"parent,omitempty"`
	Name         string   `json:"name,omitempty"`
	Audience     string   `json:"audience"`
	Period       string   `json:"period"`
	DueAt        string   `json:"due_at"`
	Kind         string   `json:"kind"`
	Formats      []string `json:"formats"`
	Destinations []string `json:"destinations,omitempty"`
	State        string   `json:"state"`
}

// Run implements the command.
func (c *reportScheduleCmd) Run(a *app) error {
	if c.Next < 1 || c.Next > 1000 {
		return wrongInput("--next: from 1 to 1000")
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	parent, sub, err := e.reportScope(c.As, c.Parent)
	if err != nil {
		return err
	}
	coming, err := reports.Upcoming(e.snapshots.Current(), parent, e.clock.Now(), c.Next)
	if err != nil {
		return err
	}
	t := a.table("DUE", "PARENT", "NAME", "AUDIENCE", "KIND", "PERIOD", "FORMATS", "DESTINATIONS")
	for _, r := range coming {
		v := comingView{
			Parent: r.Parent, Name: r.Name, Audience: r.Audience, Period: r.Period, DueAt: r.DueAt.UTC().Format(time.RFC3339),
			Kind: r.Kind, Formats: r.Formats, Destinations: r.Destinations, State: "scheduled",
		}
		if sub != "" {
			if r.Audience != sub {
				continue
			}
			v.Parent, v.Name, v.Destinations = "", "", nil
		}
		if a.JSON {
			if err := a.printJSON(v); err != nil {
				return err
			}
			continue
		}
		t.AppendRow([]any{v.DueAt, v.Parent, v.Name, v.Audience, v.Kind, v.Period, strings.Join(v.Formats, ","), strings.Join(v.Destinations, ", ")})
	}
	if !a.JSON {
		a.render(t)
	}
	return nil
}

// reportResendCmd delivers a run again.
type reportResendCmd struct {
	Run_   string `arg:"" name:"run" help:"The run's id, from report list."`
	Failed bool   `help:"Only to the destinations that it hasn't reached."`
}

// Run implements the command.
func (c *reportResendCmd) Run(a *app) error {
	e, done, err := a.connectToChange()
	if err != nil {
		return err
	}
	defer done()
	r := reporting.New(reporting.Deps{
		Ledger: e.ledger, Snapshot: e.snapshots.Current, Reporter: e.reporter(), Queue: asynq.NewClientFromRedisClient(e.redis),
		Clock: e.clock, Log: e.log,
	}, reporting.Options{})
	info, err := r.Resend(a.ctx, c.Run_, c.Failed)
	if errors.Is(err, reporting.ErrUnknownRun) {
		return &inputError{err: err}
	}
	if err != nil {
		return err
	}
	if a.JSON {
		return a.printJSON(info)
	}
	_, _ = fmt.Fprintln(a.out, info.Run, "is", info.State)
	return nil
}
