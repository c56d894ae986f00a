package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
)

// accountsCmd groups the commands of accounts.
type accountsCmd struct {
	Apply accountsApplyCmd `cmd:"" help:"Make accounts and plans as in a file; an account that the file doesn't name stays as it was."`
	List  accountsListCmd  `cmd:"" help:"All accounts, with their state and what is left of their limits."`
	Show  accountsShowCmd  `cmd:"" help:"One account."`
	Close accountsCloseCmd `cmd:"" help:"Close a sub-account: its budget goes back, what occurs from now on is refused."`
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

// accountView is what the operator, a parent, and an enterprise sub-account are
// shown of an account. A field that doesn't apply, or isn't for the reader, is
// absent.
type accountView struct {
	ID        string   `json:"id"`
	Parent    string   `json:"parent,omitempty"`
	Name      string   `json:"name"`
	Module    string   `json:"module,omitempty"`
	State     string   `json:"state"`
	Reasons   []string `json:"reasons"`
	HeldBack  []string `json:"held_back,omitempty"` // reasons without effect
	Observe   bool     `json:"observe,omitempty"`
	Epoch     int64    `json:"epoch"`
	Period    string   `json:"period,omitempty"`
	Used      string   `json:"used,omitempty"`
	Limit     string   `json:"limit,omitempty"`
	Balance   string   `json:"balance,omitempty"`
	Budget    string   `json:"budget,omitempty"`
	Available string   `json:"available,omitempty"`
	Currency  string   `json:"currency,omitempty"`
	Channels  []string `json:"channels,omitempty"`
	share     int      // of the limit, percent; -1: none
}

// memberView is all that a reseller sub-account is shown of itself: nothing
// economic, no reasons, no epoch.
type memberView struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	State    string   `json:"state"`
	Channels []string `json:"channels,omitempty"`
}

// memberOf builds a reseller sub-account's view of itself.
func memberOf(a *metering.Account, st *balance.State, now time.Time) memberView {
	own, inherited := st.Flags(now.UnixMilli())
	return memberView{ID: a.ID, Name: a.Name, State: stateOf(a, own|inherited), Channels: channelsOf(a)}
}

// stateOf an account for which the flags hold.
func stateOf(a *metering.Account, flags metering.Flags) string {
	switch {
	case a.ClosedAt != nil:
		return string(metering.StateClosed)
	case flags != 0:
		return string(metering.StateSuspended)
	default:
		return string(metering.StateActive)
	}
}

// channelsOf an account now; none: all.
func channelsOf(a *metering.Account) []string {
	if n := len(a.Channels); n > 0 {
		return a.Channels[n-1].Channels
	}
	return nil
}

// viewOf builds what aud may see: a memberView for a reseller sub-account, an
// accountView for all others. parent is the state of a sub-account's parent.
func (e *engines) viewOf(aud metering.Audience, a *metering.Account, st, parent *balance.State) any {
	now := e.clock.Now()
	if aud == metering.AudienceReseller {
		return memberOf(a, st, now)
	}
	return e.accountOf(aud, a, st, parent)
}

func (e *engines) accountOf(aud metering.Audience, a *metering.Account, st, parent *balance.State) accountView {
	now := e.clock.Now()
	own, inherited := st.Flags(now.UnixMilli())
	v := accountView{
		ID: a.ID, Parent: a.ParentID, Name: a.Name, Module: string(a.Module), State: stateOf(a, own|inherited),
		Reasons: metering.VisibleReasons(aud, own, inherited), Epoch: st.Epoch, Period: a.Calendar.Of(now).Name,
		Currency: a.Currency, Channels: channelsOf(a), share: -1,
	}
	if aud == metering.AudienceEnterprise {
		v.Parent = "" // a sub-account sees nothing of its parent
	} else if back := st.HeldBack(now.UnixMilli()); back != 0 {
		v.HeldBack = back.Reasons()
	}
	v.Observe = a.Observe
	v.Used = st.Used[v.Period].Format(a.Currency)
	money(&v, aud, a, e.snapshots.Current().Accounts[a.Parent()].CreditLimit, st, parent)
	return v
}

// shared stands for a purse whose figures aren't the reader's.
const shared = "shared"

// money fills limit, balance, budget and available.
func money(v *accountView, aud metering.Audience, a *metering.Account, ceiling *metering.Micros, st, parent *balance.State) {
	used := st.Used[v.Period]
	left := []metering.Micros{}
	hidden := false
	limit := func(l *metering.Micros) {
		if l != nil {
			v.Limit = l.Format(a.Currency)
			left = append(left, *l-used)
			if *l > 0 {
				v.share = int(used.Decimal().Shift(2).Div(l.Decimal()).IntPart()) // percent; 100 × used may leave 64 bits
			}
		}
	}
	switch {
	case a.IsParent() && a.Mode == metering.Prepaid:
		v.Balance = st.Balance.Format(a.Currency)
		left = append(left, st.Balance)
	case a.IsParent():
		limit(a.CreditLimit)
		if st.Balance != 0 { // of a wallet that is drawn on no more
			v.Balance = st.Balance.Format(a.Currency)
		}
	case a.Source == metering.SourceAllocated:
		v.Budget = st.Balance.Format(a.Currency)
		left = append(left, st.Balance)
	case aud == metering.AudienceEnterprise:
		v.Budget, hidden = shared, true
	case parent != nil && a.Source == metering.SourceShared:
		left = append(left, parent.Balance)
	case parent != nil && ceiling != nil:
		left = append(left, *ceiling-parent.Used[v.Period])
	}
	if !a.IsParent() {
		limit(a.MonthlyLimit)
	}
	if len(left) > 0 {
		least := left[0]
		for _, l := range left {
			least = min(least, l)
		}
		v.Available = least.Format(a.Currency)
	} else if hidden {
		v.Available = shared
	}
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
		if p := snap.Accounts[only]; p == nil || !p.IsParent() {
			return nil, metering.ErrUnknownAccount
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

// accountsShowCmd shows one account.
type accountsShowCmd struct {
	ID string `arg:"" help:"The account."`
	As string `help:"What that account may see." placeholder:"ID"`
}

// Run implements the command.
func (c *accountsShowCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	aud, acct, err := e.one(c.As, c.ID)
	if err != nil {
		return err
	}
	own, parent, err := e.statesOf(a, acct)
	if err != nil {
		return err
	}
	v := e.viewOf(aud, acct, own, parent)
	if a.JSON {
		return a.printJSON(v)
	}
	a.showAccounts([]any{v})
	return nil
}

// statesOf an account and of its parent (a parent's are one).
func (e *engines) statesOf(a *app, acct *metering.Account) (own, parent *balance.State, err error) {
	ids := []string{acct.Parent()}
	if !acct.IsParent() {
		ids = append(ids, acct.ID)
	}
	states, err := e.states(a, acct.Parent(), ids)
	if err != nil {
		return nil, nil, err
	}
	return states[acct.ID], states[acct.Parent()], nil
}

// accountsCloseCmd closes a sub-account.
type accountsCloseCmd struct {
	ID string `arg:"" help:"The sub-account."`
}

// Run implements the command.
func (c *accountsCloseCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	if _, err := e.admin.Close(a.ctx, c.ID); err != nil {
		return err
	}
	return a.showState(e, c.ID)
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
	if len(v.Reasons) > 0 {
		_, _ = fmt.Fprintf(a.out, " (%s)", strings.Join(v.Reasons, ", "))
	}
	_, _ = fmt.Fprintln(a.out)
	return nil
}

// suspendCmd sets the manual reason.
type suspendCmd struct {
	ID    string `arg:"" help:"The account; a parent's subs go with it."`
	Note  string `required:"" help:"Why."`
	Actor string `default:"operator" help:"operator, or the parent's id."`
}

// Run implements the command.
func (c *suspendCmd) Run(a *app) error {
	if strings.TrimSpace(c.Note) == "" || len(c.Note) > 1024 {
		return wrongInput("--note: say why, in 1 to 1024 bytes")
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	if err := e.admin.Suspend(a.ctx, c.ID, c.Actor, c.Note); err != nil {
		return err
	}
	return a.showState(e, c.ID)
}

// resumeCmd lifts it.
type resumeCmd struct {
	ID    string `arg:"" help:"The account."`
	Note  string `help:"Why."`
	Actor string `default:"operator" help:"operator, or the parent's id."`
}

// Run implements the command.
func (c *resumeCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	if err := e.admin.Resume(a.ctx, c.ID, c.Actor, c.Note); err != nil {
		return err
	}
	return a.showState(e, c.ID)
}
