package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/meterd/meterd/jobs/importer"
	"github.com/meterd/meterd/metering"
)

// importCmd sends the message logs of other platforms.
type importCmd struct {
	Files      []string          `arg:"" name:"file" help:"Logs as they were downloaded, also .gz and .zst; - is standard input."`
	From       string            `required:"" help:"twilio-csv, twilio-json, vonage-reports or kaleyra-csv." placeholder:"PLATFORM"`
	Account    string            `help:"Charge all messages to this account." placeholder:"ID"`
	AccountMap string            `help:"YAML file of the platform's accounts and ours: AC0123: acme-marketing. Those it doesn't name keep their id." placeholder:"FILE"`
	Price      string            `help:"plan: each message is rated by its account's plan; logged: it costs what the log says." default:"plan" enum:"plan,logged"`
	Currency   string            `help:"Currency of the logged prices where the log has none, as Twilio's bulk export." placeholder:"CUR"`
	Column     map[string]string `help:"A column that has another name in the log: id=SMS_REF;date=SENT_ON." placeholder:"FIELD=NAME"`
	DryRun     bool              `help:"Print the records instead of sending them."`
	sendOptions
}

// imported is what it prints.
type imported struct {
	enqueued

	Messages   int64 `json:"messages"`           // in the logs
	Unreadable int64 `json:"unreadable"`         // of them, quarantined with their bytes
	Unpriced   int64 `json:"unpriced,omitempty"` // that came in without a price in the log: rated by plan
	Pending    int64 `json:"pending,omitempty"`  // without final figures: left out
	// PendingIDs are the first of these, of each log.
	PendingIDs []string `json:"pending_ids,omitempty"`
}

// Run implements the command.
func (c *importCmd) Run(a *app) error {
	if err := c.check(c.Files); err != nil {
		return err
	}
	if c.Currency != "" && (c.Price != "logged" || !metering.KnownCurrency(c.Currency)) {
		return wrongInput("--currency: an ISO 4217 code such as USD, with --price logged")
	}
	var accounts map[string]string
	if c.AccountMap != "" {
		var err error
		if accounts, err = accountMap(c.AccountMap); err != nil {
			return err
		}
	}
	o := importer.Options{From: c.From, Account: c.Account, Accounts: accounts, Logged: c.Price == "logged", Currency: c.Currency, Columns: c.Column}
	out := imported{}
	convert := func(r io.Reader, emit func(line []byte) error) error {
		stats, err := importer.Read(r, o, emit)
		out.Messages += stats.Messages
		out.Unreadable += stats.Unreadable
		out.Unpriced += stats.Unpriced
		out.Pending += stats.Pending
		out.PendingIDs = append(out.PendingIDs, stats.PendingIDs...)
		if err == nil && stats.Messages == 0 {
			return wrongInput("no lines in it")
		}
		return importError(err)
	}
	if c.DryRun {
		err := c.print(a, convert)
		out.tellPending(a.err)
		return err
	}
	s := &sending{app: a, options: c.sendOptions, convert: convert}
	sent, err := s.run(c.Files)
	if err != nil {
		return err
	}
	out.enqueued = *sent
	if a.JSON {
		return a.printJSON(out)
	}
	_, _ = fmt.Fprintf(a.out, "%d messages in the log, %d of them unreadable\n", out.Messages, out.Unreadable)
	if out.Unpriced > 0 {
		_, _ = fmt.Fprintf(a.out, "%d came in without a price in the log: they are rated by plan\n", out.Unpriced)
	}
	out.tellPending(a.out)
	return a.showEnqueued(sent)
}

// tellPending names what was left out.
func (i *imported) tellPending(w io.Writer) {
	if i.Pending == 0 {
		return
	}
	more := ""
	if n := i.Pending - int64(len(i.PendingIDs)); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	_, _ = fmt.Fprintf(w, "%d have no final figures yet and are left out; import a later log, in which they have: %s%s\n", i.Pending, visible(strings.Join(i.PendingIDs, ", ")), more)
}

// print writes the records to the output.
func (c *importCmd) print(a *app, convert func(io.Reader, func([]byte) error) error) error {
	s := &sending{app: a}
	for _, f := range c.Files {
		src, err := s.source(f)
		if err != nil {
			return err
		}
		if err := decompressed(src, nil, func(r io.Reader) error {
			return convert(r, func(line []byte) error {
				_, err := fmt.Fprintf(a.out, "%s\n", line)
				return err //nolint:wrapcheck // the output's
			})
		}); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return nil
}

// importError gives an error of the log its exit code.
func importError(err error) error {
	for _, e := range []error{importer.ErrPlatform, importer.ErrColumn, importer.ErrCurrency, importer.ErrLog} {
		if errors.Is(err, e) {
			return &inputError{err: err}
		}
	}
	return err
}
