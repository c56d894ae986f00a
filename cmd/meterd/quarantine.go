package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// quarantineCmd groups the commands of what couldn't be charged.
type quarantineCmd struct {
	List    quarantineListCmd    `cmd:"" help:"Open entries, oldest first."`
	Show    quarantineShowCmd    `cmd:"" help:"One entry."`
	Replay  quarantineReplayCmd  `cmd:"" help:"Send open entries again."`
	Discard quarantineDiscardCmd `cmd:"" help:"Close an entry for good."`
}

// quarantineView is an entry as it is shown to the operator and to parents.
type quarantineView struct {
	ID            string `json:"id"`
	Reason        string `json:"reason"`
	AccountID     string `json:"account_id"`
	Kind          string `json:"kind,omitempty"`
	RecordID      string `json:"record_id,omitempty"`
	Detail        string `json:"detail"`
	Raw           string `json:"raw"`
	QuarantinedAt string `json:"quarantined_at"`            // since when it is there
	LastRefusedAt string `json:"last_refused_at,omitempty"` // of an open one: later where it came again
	State         string `json:"state"`
	Note          string `json:"note,omitempty"`
}

// rejectedView is all that a reseller sub-account is shown.
type rejectedView struct {
	RecordID string `json:"record_id,omitempty"`
	State    string `json:"state"`
}

const rejected = "rejected"

func viewOfEntry(aud metering.Audience, en *ledger.Entry) any {
	if aud == metering.AudienceReseller {
		return rejectedOf(en)
	}
	return quarantineOf(aud, en)
}

func rejectedOf(en *ledger.Entry) rejectedView {
	return rejectedView{RecordID: en.RecordID, State: rejected}
}

func quarantineOf(aud metering.Audience, en *ledger.Entry) quarantineView {
	raw := string(en.Raw)
	if !utf8.Valid(en.Raw) {
		raw = base64.StdEncoding.EncodeToString(en.Raw)
	}
	if aud == metering.AudienceEnterprise && en.Kind == metering.KindAdjustment {
		raw = "" // no line that was sent: what meterd made, with the purse that the parent pays from
	}
	last := ""
	if en.State == ledger.QuarantineOpen {
		last = time.UnixMicro(int64(en.Version)).UTC().Format(time.RFC3339Nano)
	}
	return quarantineView{
		LastRefusedAt: last,
		ID:            en.ID, Reason: string(en.Reason), AccountID: en.AccountID, Kind: string(en.Kind), RecordID: en.RecordID, Detail: en.Detail,
		Raw: raw, QuarantinedAt: en.QuarantinedAt.UTC().Format(time.RFC3339Nano), State: en.State, Note: en.Note,
	}
}

// quarantineListCmd lists open entries.
type quarantineListCmd struct {
	Reason string `help:"Only this reason." placeholder:"R"`
	By     string `help:"How many of each reason, instead of the entries: reason." placeholder:"reason"`
	Limit  int    `help:"At most so many, the oldest; 0: all."`
	As     string `help:"What that account may see." placeholder:"ID"`
}

// Validate is called before anything runs (kong).
func (c *quarantineListCmd) Validate() error {
	switch {
	case c.By != "" && c.By != "reason":
		return wrongInput("--by: reason is all that entries are counted by")
	case c.By != "" && (c.Reason != "" || c.Limit != 0):
		return wrongInput("--by: without --reason and --limit")
	case c.Limit < 0:
		return wrongInput("--limit: 0 or more")
	}
	return checkReason(c.Reason)
}

// checkReason refuses what is none: nothing would be found, as if all were well.
func checkReason(reason string) error {
	if reason == "" || slices.Contains(metering.Reasons(), metering.Reason(reason)) {
		return nil
	}
	return wrongInput("--reason: %q is none, want one of %v", reason, metering.Reasons())
}

// Run implements the command.
func (c *quarantineListCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	aud, accounts, err := e.visible(c.As)
	if err != nil {
		return err
	}
	if aud == metering.AudienceReseller && (c.Reason != "" || c.By != "") {
		return metering.ErrNotVisible
	}
	if c.By != "" {
		return a.showReasons(e, accounts)
	}
	t := a.table("ID", "REASON", "ACCOUNT", "RECORD", "WHAT TO DO")
	if aud == metering.AudienceReseller {
		t = a.table("RECORD", "STATE")
	}
	err = e.ledger.Quarantined(a.ctx, ledger.QuarantineFilter{
		State: ledger.QuarantineOpen, Reason: c.Reason, Accounts: accounts, Redacted: aud == metering.AudienceReseller, Limit: c.Limit,
	}, func(en *ledger.Entry) error {
		v := viewOfEntry(aud, en)
		if a.JSON {
			return a.printJSON(v)
		}
		switch v := v.(type) {
		case rejectedView:
			t.AppendRow([]any{v.RecordID, v.State})
		case quarantineView:
			t.AppendRow([]any{v.ID, v.Reason, v.AccountID, v.RecordID, v.Detail})
		}
		return nil
	})
	if err == nil && !a.JSON {
		a.render(t)
	}
	return err
}

// showReasons shows how many open entries there are of each reason.
func (a *app) showReasons(e *engines, accounts []string) error {
	list, err := e.ledger.QuarantineReasons(a.ctx, ledger.QuarantineOpen, accounts)
	if err != nil {
		return err
	}
	t := a.table("REASON", "ENTRIES", "OLDEST", "NEWEST")
	for _, c := range list {
		oldest, newest := c.Oldest.UTC().Format(time.RFC3339), c.Newest.UTC().Format(time.RFC3339)
		if a.JSON {
			if err := a.printJSON(map[string]any{"reason": c.Reason, "entries": c.Entries, "oldest": oldest, "newest": newest}); err != nil {
				return err
			}
			continue
		}
		t.AppendRow([]any{c.Reason, c.Entries, oldest, newest})
	}
	if !a.JSON {
		a.render(t)
	}
	return nil
}

// visible are the accounts whose entries a reader may see; nil: all.
func (e *engines) visible(as string) (metering.Audience, []string, error) {
	aud, reader, err := e.view(as, "")
	if err != nil || reader == nil {
		return aud, nil, err
	}
	ids := []string{reader.ID}
	if reader.IsParent() {
		ids = append(ids, e.snapshots.Current().Subs[reader.ID]...)
	}
	return aud, ids, nil
}

// find is one entry, or an error of an unknown id: one of which the reader isn't
// told is unknown too.
func (e *engines) find(a *app, aud metering.Audience, id string, accounts []string) (*ledger.Entry, error) {
	var found *ledger.Entry
	err := e.ledger.Quarantined(a.ctx, ledger.QuarantineFilter{ID: id, Accounts: accounts, Redacted: aud == metering.AudienceReseller}, func(en *ledger.Entry) error {
		found = en
		return nil
	})
	if err == nil && (found == nil || id == "") {
		err = wrongInput("unknown quarantine entry: `meterd quarantine list` shows the open ones")
	}
	return found, err
}

// quarantineShowCmd shows one entry.
type quarantineShowCmd struct {
	ID string `arg:"" help:"The entry."`
	As string `help:"What that account may see." placeholder:"ID"`
}

// Run implements the command.
func (c *quarantineShowCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	aud, accounts, err := e.visible(c.As)
	if err != nil {
		return err
	}
	en, err := e.find(a, aud, c.ID, accounts)
	if err != nil {
		return err
	}
	v := viewOfEntry(aud, en)
	if a.JSON {
		return a.printJSON(v)
	}
	switch v := v.(type) {
	case rejectedView:
		_, _ = fmt.Fprintf(a.out, "%s %s\n", visible(v.RecordID), v.State)
	case quarantineView:
		raw := v.Raw
		if _, ok := a.terminal(); ok {
			raw = visible(raw)
		}
		times := "quarantined " + en.QuarantinedAt.UTC().Format(time.RFC3339)
		if v.LastRefusedAt != "" {
			times += ", last refused " + time.UnixMicro(int64(en.Version)).UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(a.out, "%s  %s  %s  %s\n%s\n%s\n", v.ID, v.Reason, v.State, times, visible(v.Detail), raw)
	}
	return nil
}

// quarantineReplayCmd sends entries again.
type quarantineReplayCmd struct {
	Reason string `help:"Only this reason." placeholder:"R"`
	Wait   bool   `help:"Return once each line has its outcome, and say how many came back."`
	ID     string `arg:"" optional:"" help:"Only this entry."`
}

// replayed is what it prints.
type replayed struct {
	Replayed int `json:"replayed"`
	Left     int `json:"left"` // open: no record in them could be sent again
	outcome

	lines int64 // that were sent
	run   string
}

// Validate is called before anything runs (kong).
func (c *quarantineReplayCmd) Validate() error { return checkReason(c.Reason) }

// Run implements the command: entries are sent first and marked then, so that
// none is lost when the command dies; sent twice, an entry is a duplicate.
func (c *quarantineReplayCmd) Run(a *app) error {
	e, done, err := a.connectToChange()
	if err != nil {
		return err
	}
	defer done()
	if c.ID != "" {
		if _, err := e.find(a, metering.AudienceOperator, c.ID, nil); err != nil {
			return err
		}
	}
	out := &replayed{run: wire.RunReplay + uuid.NewString()}
	err = e.admin.DecideQuarantine(a.ctx, func(ctx context.Context) error { return c.replay(ctx, a, e, out) })
	if err != nil {
		return err
	}
	if c.Wait {
		s := &sending{app: a, read: out.lines}
		if out.outcome, err = s.outcome(e.redis, e.store, out.run); err != nil {
			return err
		}
	}
	return c.show(a, out)
}

func (c *quarantineReplayCmd) show(a *app, out *replayed) error {
	if a.JSON {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		_, _ = fmt.Fprintf(a.out, "%d entries replayed\n", out.Replayed)
		switch {
		case c.Wait:
			out.show(a.out, "back in quarantine")
		case out.Replayed > 0:
			_, _ = fmt.Fprintln(a.out, "what can't be charged yet comes back: `meterd quarantine list --by reason` counts it once the workers have taken it; --wait waits for that")
		}
	}
	if out.Left > 0 {
		return fmt.Errorf("%d entries stay open: they hold no record that could be sent again. Corrections of a re-rating (kind adjustment): "+
			"run `meterd rerate` under a new reference, which books what is missing. Payloads of whole tasks: unpack what `meterd quarantine show --json` "+
			"has of them (base64) and enqueue its lines. Then `meterd quarantine discard` them", out.Left)
	}
	return nil
}

// replay sends the entries, and notes how many, and how many can't be sent.
func (c *quarantineReplayCmd) replay(ctx context.Context, a *app, e *engines, out *replayed) error {
	client, err := jobs.NewClient(e.redis, jobs.ClientOptions{Shards: a.Shards, Run: out.run})
	if err != nil {
		return err
	}
	var entries []ledger.Entry
	err = e.ledger.Quarantined(ctx, ledger.QuarantineFilter{State: ledger.QuarantineOpen, Reason: c.Reason, ID: c.ID}, func(en *ledger.Entry) error {
		if replayable(en) {
			entries = append(entries, *en)
		} else {
			out.Left++
		}
		return nil
	})
	if err == nil {
		err = resend(ctx, client, entries)
	}
	if err := errors.Join(err, client.Close(ctx)); err != nil {
		return err // they are open still
	}
	out.Replayed, out.lines = len(entries), client.Sent()
	// The next version after the one that was read: an entry that the worker
	// refuses again meanwhile is newer, and stays open.
	return e.ledger.CloseQuarantine(ctx, entries, ledger.QuarantineReplayed, "", time.UnixMicro(0))
}

// replayable tells whether an entry holds records, which can be sent again. What
// meterd makes itself, such as a correction, would be taken for a record that
// nobody sent, and mustn't read "replayed" either.
func replayable(en *ledger.Entry) bool {
	switch en.Kind {
	case "", metering.KindUsage, metering.KindStatus, metering.KindRefund:
		return len(strings.Trim(string(en.Raw), "\r\n")) > 0 && !wire.Compressed(en.Raw) // a task's payload that couldn't be unpacked
	case metering.KindAdjustment:
	}
	return false
}

// resend gives the entries' lines to the queue.
func resend(ctx context.Context, client *jobs.Client, entries []ledger.Entry) error {
	for i := range entries {
		for line := range strings.SplitSeq(string(entries[i].Raw), "\n") {
			if line = strings.TrimRight(line, "\r"); line == "" {
				continue
			}
			if err := client.Add(ctx, []byte(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

// quarantineDiscardCmd closes an entry for good.
type quarantineDiscardCmd struct {
	ID     string `arg:"" help:"The entry."`
	Reason string `required:"" help:"Why it isn't needed." placeholder:"TEXT"`
}

// Run implements the command.
func (c *quarantineDiscardCmd) Run(a *app) error {
	if strings.TrimSpace(c.Reason) == "" {
		return wrongInput("--reason: say why")
	}
	e, done, err := a.connectToChange()
	if err != nil {
		return err
	}
	defer done()
	return e.admin.DecideQuarantine(a.ctx, func(ctx context.Context) error {
		en, err := e.find(a, metering.AudienceOperator, c.ID, nil)
		if err != nil {
			return err
		}
		if en.State == ledger.QuarantineDiscarded {
			return a.showEntry(en)
		}
		if en.State != ledger.QuarantineOpen {
			return fmt.Errorf("the entry is %s: only an open one can be discarded", en.State)
		}
		list := []ledger.Entry{*en}
		if err := e.ledger.CloseQuarantine(ctx, list, ledger.QuarantineDiscarded, c.Reason, e.clock.Now()); err != nil {
			return err
		}
		return a.showEntry(&list[0])
	})
}

func (a *app) showEntry(en *ledger.Entry) error {
	if a.JSON {
		return a.printJSON(viewOfEntry(metering.AudienceOperator, en))
	}
	_, _ = fmt.Fprintln(a.out, en.ID, "is", en.State)
	return nil
}
