package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
)

// accountsCmd groups the commands of accounts.
type accountsCmd struct {
	Apply  accountsApplyCmd  `cmd:"" help:"Make accounts and plans as in a file; an account that the file doesn't name stays as it was."`
	List   accountsListCmd   `cmd:"" help:"All accounts, with their state and what is left of their limits."`
	Show   accountsShowCmd   `cmd:"" help:"One account."`
	Export accountsExportCmd `cmd:"" help:"Write the accounts file that would make what there is."`
	Close  accountsCloseCmd  `cmd:"" help:"Close a sub-account: its budget goes back, what occurs from now on is refused."`
}

// accountsApplyCmd applies a file.
type accountsApplyCmd struct {
	File   string `short:"f" required:"" help:"The accounts file." placeholder:"FILE"`
	DryRun bool   `help:"Say what would change, and change nothing."`
	Impact string `help:"With --dry-run: rate the last days anew by the file's plans, channels and limits, such as 30d." placeholder:"30d"`
}

// Run implements the command.
func (c *accountsApplyCmd) Run(a *app) error {
	days := 0
	if c.Impact != "" {
		var err error
		if days, err = impactDays(c.Impact); err != nil {
			return err
		}
		if !c.DryRun {
			return wrongInput("--impact: only with --dry-run")
		}
	}
	src, err := os.ReadFile(c.File)
	if err != nil {
		return wrongInput("read the accounts file: %w", err)
	}
	file, err := admin.ParseAccountsFile(c.File, src)
	if err != nil {
		return err
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	changes, err := e.admin.Apply(a.ctx, file, c.DryRun)
	if err != nil {
		return err
	}
	for _, w := range changes.Warnings {
		_, _ = fmt.Fprintln(a.err, "meterd: warning:", w)
	}
	out := map[string]any{"created": orEmpty(changes.Created), "updated": orEmpty(changes.Updated), "unchanged": orEmpty(changes.Unchanged)}
	var impact *impactView
	if days > 0 {
		i, err := e.admin.Impact(a.ctx, file, days)
		if err != nil {
			return err
		}
		impact = impactOf(i)
		out["impact"] = impact
	}
	if a.JSON {
		return a.printJSON(out)
	}
	c.show(a, changes)
	if impact != nil {
		impact.show(a)
	}
	return nil
}

// show prints the changes for people.
func (c *accountsApplyCmd) show(a *app, changes *admin.Changes) {
	word := ""
	if c.DryRun {
		word = "would be "
	}
	for _, l := range []struct {
		what string
		ids  []string
	}{{"created", changes.Created}, {"updated", changes.Updated}} {
		if len(l.ids) > 0 {
			_, _ = fmt.Fprintf(a.out, "%s%s: %s\n", word, l.what, strings.Join(l.ids, ", "))
		}
	}
	_, _ = fmt.Fprintf(a.out, "%d unchanged\n", len(changes.Unchanged))
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// accountsListCmd lists accounts.
type accountsListCmd struct {
	Parent string `help:"Only this parent's." placeholder:"P"`
	As     string `help:"What that account may see." placeholder:"ID"`
}

// Run implements the command.
func (c *accountsListCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	views, err := e.list(a, c.As, c.Parent)
	if err != nil {
		return err
	}
	if !a.JSON {
		a.showAccounts(views)
		return nil
	}
	for _, v := range views {
		if err := a.printJSON(v); err != nil {
			return err
		}
	}
	return nil
}

// list builds the views of what a reader may see, parents before their subs.
func (e *engines) list(a *app, as, only string) ([]any, error) {
	aud, reader, err := e.view(as, "")
	if err != nil {
		return nil, err
	}
	snap := e.snapshots.Current()
	parents := snap.Parents
	if reader != nil {
		if only != "" && only != reader.Parent() {
			return nil, metering.ErrUnknownAccount
		}
		parents = []string{reader.Parent()}
	} else if only != "" {
		if err := e.parent(only); err != nil {
			return nil, err
		}
		parents = []string{only}
	}
	var out []any
	for _, parent := range parents {
		ids := snap.Family(parent)
		states, err := e.states(a, parent, ids)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if reader != nil && !reader.IsParent() && id != reader.ID {
				continue
			}
			out = append(out, e.viewOf(aud, snap.Accounts[id], states[id], states[parent]))
		}
	}
	return out, nil
}

// states of a parent's accounts; one that isn't held yet reads as new.
func (e *engines) states(a *app, parent string, ids []string) (map[string]*balance.State, error) {
	if err := e.admin.Whole(a.ctx, ids...); err != nil {
		return nil, err
	}
	proj, err := e.store.Read(a.ctx, e.store.PartitionOf(parent), ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		st, err := proj.State(id)
		if err != nil {
			return nil, err
		}
		if st == nil {
			proj.States[id] = &balance.State{ID: id, Used: map[string]metering.Micros{}}
		}
	}
	return proj.States, nil
}

// showAccounts prints views, which are all of one type.
func (a *app) showAccounts(views []any) {
	t := a.table("ACCOUNT", "STATE", "REASONS", "USED", "OF LIMIT", "AVAILABLE", "")
	right(t, 4, 6)
	for i, v := range views {
		switch v := v.(type) {
		case memberView:
			if i == 0 {
				t = a.table("ACCOUNT", "STATE", "CHANNELS")
			}
			t.AppendRow([]any{v.ID, a.painted(v.State, stateColor(v.State)), strings.Join(v.Channels, ", ")})
		case accountView:
			id := v.ID
			if v.Parent != "" {
				id = "  " + id
			}
			t.AppendRow([]any{id, a.painted(v.State, stateColor(v.State)), v.why(), v.Used, a.bar(v.share), v.Available, v.Currency})
		}
	}
	a.render(t)
}

// why an account is suspended, or would be.
func (v *accountView) why() string {
	out := strings.Join(v.Reasons, ", ")
	if len(v.HeldBack) > 0 {
		out = strings.TrimPrefix(out+"; held back: "+strings.Join(v.HeldBack, ", "), "; ")
	}
	return out
}

// accountsExportCmd writes an accounts file.
type accountsExportCmd struct {
	Parent string `help:"Only this parent, with the plans that its accounts use." placeholder:"P"`
	As     string `help:"What that account may see." placeholder:"ID"`
}

// Run implements the command.
func (c *accountsExportCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	aud, reader, err := e.view(c.As, "")
	if err != nil {
		return err
	}
	parent := c.Parent
	if reader != nil {
		if aud != metering.AudienceParent {
			return metering.ErrNotVisible
		}
		if parent != "" && parent != reader.ID {
			return metering.ErrUnknownAccount
		}
		parent = reader.ID
	}
	snap := e.snapshots.Current()
	if err := e.parent(parent); err != nil {
		return err
	}
	file, err := admin.ExportAccounts(snap, parent, e.clock.Now())
	if err != nil {
		return err
	}
	if a.JSON {
		return a.printJSON(map[string]string{"file": string(file)})
	}
	_, err = a.out.Write(file)
	return err
}

// accountsCloseCmd closes a sub-account.
type accountsCloseCmd struct {
	ID  string `arg:"" help:"The sub-account."`
	Yes bool   `help:"Don't ask. Only a terminal is asked."`
}

// Run implements the command.
func (c *accountsCloseCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	if err := c.confirm(a, e); err != nil {
		return err
	}
	if _, err := e.admin.Close(a.ctx, c.ID); err != nil {
		return err
	}
	return a.showState(e, c.ID)
}

// confirm says what closing the account does.
func (c *accountsCloseCmd) confirm(a *app, e *engines) error {
	acct := e.snapshots.Current().Accounts[c.ID]
	if acct == nil || acct.IsParent() || acct.ClosedAt != nil {
		return nil // refused, or done before
	}
	own, _, err := e.statesOf(a, acct)
	if err != nil {
		return err
	}
	back := ""
	switch {
	case acct.Source != metering.SourceAllocated:
	case own.Balance < 0:
		back = fmt.Sprintf("the %s %s that its budget lacks come from the wallet of %s, and ", (-own.Balance).Format(acct.Currency), acct.Currency, acct.ParentID)
	default:
		back = fmt.Sprintf("the %s %s in its budget go to the wallet of %s, and ", own.Balance.Format(acct.Currency), acct.Currency, acct.ParentID)
	}
	return a.confirm(c.Yes, fmt.Sprintf("closing %s for ever: %swhat occurs from now on is refused; it can't be opened again", c.ID, back))
}

// showState prints what an operation left: id, state, reasons, epoch.
func (a *app) showState(e *engines, id string) error {
	acct := e.snapshots.Current().Accounts[id]
	if acct == nil {
		return metering.ErrUnknownAccount
	}
	own, parent, err := e.statesOf(a, acct)
	if err != nil {
		return err
	}
	v := e.accountOf(metering.AudienceOperator, acct, own, parent)
	if a.JSON {
		return a.printJSON(v)
	}
	_, _ = fmt.Fprintf(a.out, "%s is %s", v.ID, v.State)
	if len(v.Reasons) > 0 && acct.ClosedAt == nil { // what holds of one that is closed ends no more
		_, _ = fmt.Fprintf(a.out, " (%s)", strings.Join(v.Reasons, ", "))
	}
	_, _ = fmt.Fprintln(a.out)
	return nil
}
