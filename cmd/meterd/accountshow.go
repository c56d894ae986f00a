package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// accountsShowCmd shows one account.
type accountsShowCmd struct {
	ID string `arg:"" help:"The account."`
	As string `help:"What that account may see." placeholder:"ID"`
}

// accountDetail is what the operator and a parent are shown of one account: beside
// its figures how it is set up, and why it is suspended.
type accountDetail struct {
	accountView

	Plan         string            `json:"plan"`
	Timezone     string            `json:"timezone"`
	NextTimezone string            `json:"next_timezone,omitempty"` // from a later month on
	AllChannels  bool              `json:"all_channels,omitempty"`  // no list restricts it
	Mode         string            `json:"mode,omitempty"`          // of a parent
	CreditLimit  string            `json:"credit_limit,omitempty"`  // of a parent
	Source       string            `json:"source,omitempty"`        // of a sub-account
	MonthlyLimit string            `json:"monthly_limit,omitempty"` // of a sub-account
	Alerts       []int             `json:"alerts,omitempty"`
	AlertMail    []string          `json:"alert_mail,omitempty"`
	CreatedAt    string            `json:"created_at"`
	ClosedAt     string            `json:"closed_at,omitempty"`
	Suspensions  []suspensionView  `json:"suspensions"`
	Hooks        []hookView        `json:"hooks,omitempty"` // its parent's, where they tell of it
	Reports      []accountSchedule `json:"reports,omitempty"`
}

// suspensionView is one reason for which an account is suspended.
type suspensionView struct {
	Reason string `json:"reason"`
	Of     string `json:"of"`              // whose it is: the account, or its parent
	Since  string `json:"since,omitempty"` // absent: its row isn't stored yet
	Actor  string `json:"actor,omitempty"` // who did it by hand
	Note   string `json:"note,omitempty"`
	Help   string `json:"help"` // what ends it
}

// hookView is a receiver of hooks, and what became of the last message to it.
type hookView struct {
	Host   string   `json:"host"`             // of its address, whose path may be a secret
	Events []string `json:"events,omitempty"` // none: all
	// Last is the last message of these events to that host. Absent: none was sent.
	Last *hookOutcomeRow `json:"last,omitempty"`
}

type hookOutcomeRow struct {
	Account  string `json:"account"`
	Event    string `json:"event"`
	Outcome  string `json:"outcome"`
	Attempts int    `json:"attempts"`
	At       string `json:"at"`
}

// accountSchedule is a report that comes by itself.
type accountSchedule struct {
	Name     string   `json:"name"`
	Schedule string   `json:"schedule"`
	Kind     string   `json:"kind"`
	Formats  []string `json:"formats"`
	Deliver  []string `json:"deliver,omitempty"`
	Next     string   `json:"next,omitempty"`
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
	if aud != metering.AudienceOperator && aud != metering.AudienceParent {
		v := e.viewOf(aud, acct, own, parent)
		if a.JSON {
			return a.printJSON(v)
		}
		a.showAccounts([]any{v})
		return nil
	}
	v, err := e.detailOf(a, aud, acct, own, parent)
	if err != nil {
		return err
	}
	if a.JSON {
		return a.printJSON(v)
	}
	a.showAccount(v)
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

// detailOf builds the whole view of an account.
func (e *engines) detailOf(a *app, aud metering.Audience, acct *metering.Account, st, parent *balance.State) (*accountDetail, error) {
	now := e.clock.Now()
	v := &accountDetail{
		accountView: e.accountOf(aud, acct, st, parent), Plan: acct.PlanAt(now), Timezone: acct.Calendar.Location(now).String(),
		AlertMail: acct.AlertMail, CreatedAt: acct.CreatedAt.UTC().Format(time.RFC3339),
	}
	if next := acct.Zones[len(acct.Zones)-1].Zone; next != v.Timezone {
		v.NextTimezone = next
	}
	if acct.OwnZone != "" {
		v.Timezone, v.NextTimezone = acct.OwnZone, ""
	}
	v.AllChannels = channelsOf(acct) == nil
	if acct.IsParent() {
		v.Mode, v.Alerts, v.CreditLimit = string(acct.Mode), acct.Alerts, formatted(acct.CreditLimit, acct.Currency)
	} else {
		v.Source, v.MonthlyLimit = string(acct.Source), formatted(acct.MonthlyLimit, acct.Currency)
	}
	if acct.ClosedAt != nil {
		v.ClosedAt = acct.ClosedAt.UTC().Format(time.RFC3339)
	}
	var err error
	if v.Suspensions, err = e.suspensionsOf(a, aud, acct, st); err != nil {
		return nil, err
	}
	if v.Hooks, err = e.hooksOf(a, acct); err != nil {
		return nil, err
	}
	v.Reports, err = e.schedulesOf(acct)
	return v, err
}

// formatted is an amount that may be absent.
func formatted(m *metering.Micros, currency string) string {
	if m == nil {
		return ""
	}
	return m.Format(currency)
}

// suspensionsOf an account: its own reasons and those that it has from its parent,
// with the change that began each. None of one that is closed: nothing ends that.
func (e *engines) suspensionsOf(a *app, aud metering.Audience, acct *metering.Account, st *balance.State) ([]suspensionView, error) {
	now := e.clock.Now()
	out := []suspensionView{}
	if acct.ClosedAt != nil {
		return out, nil
	}
	own, inherited := st.Flags(now.UnixMilli())
	for _, of := range []struct {
		id    string
		flags metering.Flags
	}{{acct.ID, own}, {acct.Parent(), inherited}} {
		if of.flags == 0 {
			continue
		}
		begun, err := e.begun(a, of.id, now)
		if err != nil {
			return nil, err
		}
		for _, flag := range of.flags.Each() {
			v := suspensionView{Reason: flag.Reasons()[0], Of: of.id, Help: help(aud, flag, of.id, acct.Parent())}
			if row, ok := begun[flag]; ok {
				v.Since, v.Actor, v.Note = row.At.UTC().Format(time.RFC3339), row.Actor, row.Note
			}
			out = append(out, v)
		}
	}
	return out, nil
}

// begun are the changes by which each of an account's flags last began to hold. What
// it is born with holds without a change that says so, also where a later one, of what
// somebody did by hand or of a record, names it first.
func (e *engines) begun(a *app, id string, now time.Time) (map[metering.Flags]ledger.StateRow, error) {
	born, err := e.bornWith(a, e.snapshots.Current().Accounts[id])
	if err != nil {
		return nil, err
	}
	out := map[metering.Flags]ledger.StateRow{born.Flags: born}
	before := born
	err = e.ledger.States(a.ctx, []string{id}, time.Unix(0, 0), now.Add(time.Hour), func(row *ledger.StateRow) error {
		held := before.Flags
		if before.Period != "" && row.Period != before.Period {
			held &^= metering.FlagsMonthly // these end with their month, without a row
		}
		for _, flag := range (row.Flags &^ held).Each() {
			began := *row
			if flag.Automatic() != 0 {
				began.Actor, began.Note = "", ""
			}
			out[flag] = began
		}
		before = *row
		return nil
	})
	return out, err
}

// bornWith is the state in which an account began: suspended by its empty purse, if it
// had one then and its parent didn't only observe. What it has now doesn't tell that.
func (e *engines) bornWith(a *app, acct *metering.Account) (ledger.StateRow, error) {
	born := ledger.StateRow{At: acct.CreatedAt}
	var first time.Time
	err := e.ledger.Versions(a.ctx, acct.ID, func(v *metering.Account, applied time.Time) error {
		if !first.IsZero() {
			return nil
		}
		first = applied
		switch v.Source {
		case metering.SourceAllocated:
			born.Flags = metering.FlagBudget
		case metering.SourceWallet:
			born.Flags = metering.FlagWallet
		case metering.SourceShared, metering.SourceCredit:
		}
		return nil
	})
	if err != nil || born.Flags == 0 {
		return born, err
	}
	observed := false
	if err := e.ledger.Versions(a.ctx, acct.Parent(), func(v *metering.Account, applied time.Time) error {
		if !applied.After(first) {
			observed = v.Observe
		}
		return nil
	}); err != nil {
		return born, err
	}
	if observed {
		born.Flags = 0
	}
	return born, nil
}

// help says to a reader what ends a suspension of an account.
func help(aud metering.Audience, flag metering.Flags, id, parent string) string {
	if aud == metering.AudienceParent && flag == metering.FlagManualOperator {
		return "the operator"
	}
	return map[metering.Flags]string{
		metering.FlagBudget:         "meterd wallet allocate " + id + " AMOUNT --ref R",
		metering.FlagWallet:         "meterd wallet topup " + parent + " AMOUNT --ref R",
		metering.FlagCeiling:        "next month, or a higher credit_limit in the accounts file",
		metering.FlagMonthly:        "next month, or a higher monthly_limit in the accounts file",
		metering.FlagManualOperator: "meterd resume " + id,
		metering.FlagManualParent:   "meterd resume " + id + " --actor " + parent,
	}[flag]
}

// hooksOf an account's parent, with the last message about the account, a parent's
// about any of its accounts.
func (e *engines) hooksOf(a *app, acct *metering.Account) ([]hookView, error) {
	snap := e.snapshots.Current()
	hooks, about := snap.Accounts[acct.Parent()].Hooks, []string{acct.ID}
	if len(hooks) == 0 {
		return nil, nil
	}
	if acct.IsParent() {
		about = snap.Family(acct.ID)
	}
	last, err := e.ledger.HookOutcomes(a.ctx, about)
	if err != nil {
		return nil, err
	}
	var out []hookView
	for i := range hooks {
		v := hookView{Host: notify.Host(hooks[i].URL), Events: hooks[i].Events}
		var newest ledger.Delivery
		for _, d := range last {
			if d.Destination == v.Host && hooks[i].Wants(d.Event) && d.At.After(newest.At) {
				newest = d
			}
		}
		if d := newest; !d.At.IsZero() {
			v.Last = &hookOutcomeRow{d.AccountID, d.Event, d.Outcome, d.Attempts, d.At.UTC().Format(time.RFC3339)}
		}
		out = append(out, v)
	}
	return out, nil
}

// schedulesOf an account, each with its next run.
func (e *engines) schedulesOf(acct *metering.Account) ([]accountSchedule, error) {
	now := e.clock.Now()
	var out []accountSchedule
	for i := range acct.Reports {
		s := &acct.Reports[i]
		v := accountSchedule{Name: s.Name, Schedule: s.Cron, Kind: s.Kind, Formats: s.Formats, Deliver: s.Deliver}
		if v.Kind == "" {
			v.Kind = reports.KindStatement
		}
		due, err := reports.DueInstants(s, acct.Calendar, now, now.AddDate(10, 0, 0), 1)
		if err != nil {
			return nil, err
		}
		if len(due) > 0 {
			v.Next = due[0].UTC().Format(time.RFC3339)
		}
		out = append(out, v)
	}
	return out, nil
}

// showAccount prints the whole view of an account.
func (a *app) showAccount(v *accountDetail) {
	t := a.table("ACCOUNT", v.ID)
	row := func(name, value string) {
		if value != "" {
			t.AppendRow([]any{name, value})
		}
	}
	money := func(name, amount string) {
		if amount != "" {
			row(name, amount+" "+v.Currency)
		}
	}
	if v.Name != v.ID {
		row("name", v.Name)
	}
	row("parent", v.Parent)
	row("module", v.Module)
	t.AppendRow([]any{"state", a.painted(v.State, stateColor(v.State))})
	for _, s := range v.Suspensions {
		row("  because", s.line(v.ID))
		row("  ended by", s.Help)
	}
	if len(v.HeldBack) > 0 {
		row("held back", strings.Join(v.HeldBack, ", "))
	}
	if v.Observe {
		row("enforcement", "observe: nobody is suspended by itself")
	}
	row("funding", v.Mode+v.Source)
	money("credit limit", v.CreditLimit)
	money("monthly limit", v.MonthlyLimit)
	money("used in "+v.Period, v.Used)
	if v.share >= 0 {
		t.AppendRow([]any{"of limit", a.bar(v.share)})
	}
	money("balance", v.Balance)
	money("budget", v.Budget)
	money("available", v.Available)
	row("plan", v.Plan)
	row("channels", channelsText(v))
	if v.NextTimezone != "" {
		v.Timezone += ", later " + v.NextTimezone
	}
	row("time zone", v.Timezone)
	if len(v.Alerts) > 0 {
		row("alerts at", strings.Trim(strings.ReplaceAll(fmt.Sprint(v.Alerts), " ", ", "), "[]")+" %")
	}
	row("alert mail", strings.Join(v.AlertMail, ", "))
	for _, h := range v.Hooks {
		row("hook", h.line())
	}
	for _, r := range v.Reports {
		row("report", r.line())
	}
	row("since", v.CreatedAt)
	row("closed", v.ClosedAt)
	a.render(t)
}

func channelsText(v *accountDetail) string {
	switch {
	case v.AllChannels:
		return "all"
	case len(v.Channels) > 0:
		return strings.Join(v.Channels, ", ")
	default:
		return "none"
	}
}

func (s *suspensionView) line(account string) string {
	out := s.Reason
	if s.Of != account {
		out += " of " + s.Of
	}
	if s.Since != "" {
		out += ", since " + s.Since
	}
	if s.Actor != "" {
		out += ", by " + s.Actor
	}
	if s.Note != "" {
		out += ": " + s.Note
	}
	return out
}

func (h *hookView) line() string {
	out := h.Host
	if len(h.Events) > 0 {
		out += " (" + strings.Join(h.Events, ", ") + ")"
	}
	if h.Last == nil {
		return out + ": nothing told yet"
	}
	return fmt.Sprintf("%s: %s of %s %s at %s, try %d", out, h.Last.Event, h.Last.Account, h.Last.Outcome, h.Last.At, h.Last.Attempts)
}

func (r *accountSchedule) line() string {
	out := fmt.Sprintf("%s: %s as %s, %q", r.Name, r.Kind, strings.Join(r.Formats, ", "), r.Schedule)
	if r.Next != "" {
		out += ", next " + r.Next
	}
	if len(r.Deliver) > 0 {
		out += ", to " + strings.Join(r.Deliver, ", ")
	}
	return out
}
