package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/ledger"
)

// recordCmd groups the commands of one message.
type recordCmd struct {
	Show recordShowCmd `cmd:"" help:"What became of a message: its charge, refunds and statuses, or its quarantine entry."`
}

// recordShowCmd shows one message.
type recordShowCmd struct {
	Account string `arg:"" help:"The account."`
	ID      string `arg:"" help:"The message's id."`
	As      string `help:"What that account may see." placeholder:"ID"`
}

// recordView is all that is known of a message.
type recordView struct {
	Record   map[string]any   `json:"record"`
	Charge   map[string]any   `json:"charge,omitempty"`
	Refunds  []map[string]any `json:"refunds"`
	Statuses []map[string]any `json:"statuses"`
	// Adjustments that re-ratings booked for it.
	Adjustments []map[string]any `json:"adjustments"`
	Quarantine  *quarantineView  `json:"quarantine"`

	audience metering.Audience
}

// messageView is what a reseller sub-account is shown of its message: what was
// sent and how its delivery went.
type messageView struct {
	Record     *message        `json:"record"`
	Statuses   []messageStatus `json:"statuses"`
	Quarantine *rejectedView   `json:"quarantine"`
}

// message is one without anything that a price could be worked out from.
type message struct {
	ID         string `json:"id"`
	Kind       string `json:"kind"`
	Channel    string `json:"channel"`
	Direction  string `json:"direction"`
	Status     string `json:"status"`
	To         string `json:"to"`
	From       string `json:"from"`
	Country    string `json:"country"`
	OccurredAt string `json:"occurred_at"`
}

// messageStatus is one that it reached.
type messageStatus struct {
	Status     string `json:"status"`
	OccurredAt string `json:"occurred_at"`
}

// found collects what is known of a message, in the form for its reader.
type found interface {
	add(r *ledger.StoredRow)
	refused(en *ledger.Entry)
	known() bool
}

// Run implements the command.
func (c *recordShowCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	aud, acct, err := e.one(c.As, c.Account)
	if err != nil {
		return err
	}
	var v found = &recordView{audience: aud, Statuses: []map[string]any{}, Refunds: []map[string]any{}, Adjustments: []map[string]any{}}
	if aud == metering.AudienceReseller {
		v = &messageView{Statuses: []messageStatus{}}
	}
	if c.ID == "" {
		return wrongInput("unknown message %q of this account", c.ID)
	}
	if err := e.ledger.RecordRows(a.ctx, acct.ID, c.ID, func(r *ledger.StoredRow) error {
		v.add(r)
		return nil
	}); err != nil {
		return err
	}
	if err := e.ledger.Quarantined(a.ctx, ledger.QuarantineFilter{
		Accounts: []string{acct.ID}, RecordID: c.ID, Redacted: aud == metering.AudienceReseller,
	}, func(en *ledger.Entry) error {
		v.refused(en)
		return nil
	}); err != nil {
		return err
	}
	if !v.known() {
		return wrongInput("unknown message %q of this account", c.ID)
	}
	if a.JSON {
		return a.printJSON(v)
	}
	switch v := v.(type) {
	case *recordView:
		a.showRecord(v)
	case *messageView:
		a.showMessage(v)
	}
	return nil
}

func (a *app) showRecord(v *recordView) {
	t := a.table("FIELD", "VALUE")
	section := func(name string, m map[string]any) {
		for _, k := range []string{
			"id", "ref", "kind", "channel", "direction", "status", "error_code", "to", "from", "country", "network", "category", "units", "unit", "occurred_at",
			"amount", "fee", "billed_units", "currency", "plan", "plan_version", "rule", "purse", "period", "booked", "stored_at",
		} {
			if x, ok := m[k]; ok && x != "" && fmt.Sprint(x) != "map[]" {
				t.AppendRow([]any{name + " " + k, x})
			}
		}
		if tags, ok := m["tags"].(map[string]string); ok {
			for _, k := range slices.Sorted(maps.Keys(tags)) {
				t.AppendRow([]any{name + " tag " + k, tags[k]})
			}
		}
		t.AppendSeparator()
	}
	section("record", v.Record)
	section("charge", v.Charge)
	for _, r := range v.Refunds {
		section("refund", r)
	}
	for _, x := range v.Adjustments {
		section("adjustment", x)
	}
	for _, s := range v.Statuses {
		section("status", s)
	}
	if t.Length() > 0 {
		a.render(t)
	}
	if q := v.Quarantine; q != nil {
		_, _ = fmt.Fprintf(a.out, "quarantined: %s (%s)\n%s\n", q.Reason, q.State, visible(q.Detail))
	}
}

func (a *app) showMessage(v *messageView) {
	t := a.table("FIELD", "VALUE")
	row := func(name, value string) {
		if value != "" {
			t.AppendRow([]any{name, value})
		}
	}
	if m := v.Record; m != nil {
		row("record id", m.ID)
		row("record channel", m.Channel)
		row("record direction", m.Direction)
		row("record status", m.Status)
		row("record to", m.To)
		row("record from", m.From)
		row("record country", m.Country)
		row("record occurred_at", m.OccurredAt)
	}
	for _, s := range v.Statuses {
		row("status status", s.Status)
		row("status occurred_at", s.OccurredAt)
	}
	if t.Length() > 0 {
		a.render(t)
	}
	if v.Quarantine != nil {
		_, _ = fmt.Fprintln(a.out, v.Quarantine.State)
	}
}

// known tells whether there is anything.
func (v *recordView) known() bool {
	return v.Record != nil || len(v.Refunds)+len(v.Statuses) > 0 || v.Quarantine != nil
}

// refused notes an entry.
func (v *recordView) refused(en *ledger.Entry) {
	q := quarantineOf(v.audience, en)
	v.Quarantine = &q
}

// purse that a sub-account drew on: of its parent's it learns that it is shared,
// not which it is, for that says how the parent pays.
func (v *recordView) purse(p string) string {
	if v.audience == metering.AudienceEnterprise && metering.Purse(p) != metering.PurseBudget {
		return "shared"
	}
	return p
}

// add puts a row where it belongs.
func (v *recordView) add(r *ledger.StoredRow) {
	at := r.OccurredAt.UTC().Format(time.RFC3339Nano)
	switch metering.Kind(r.Kind) {
	case metering.KindUsage:
		v.Record = map[string]any{
			"id": r.ID, "kind": r.Kind, "channel": r.Channel, "direction": r.Direction, "status": r.Status, "to": r.To, "from": r.From,
			"country": r.Country, "occurred_at": at, "error_code": r.ErrorCode, "network": r.Network, "category": r.Category,
			"units": r.Units, "unit": r.Unit, "tags": r.Tags,
		}
		v.Charge = map[string]any{
			"amount": r.Amount.Format(r.Currency), "fee": r.Fee.Format(r.Currency), "billed_units": r.Billed, "currency": r.Currency,
			"plan": r.Plan, "plan_version": r.Version, "rule": r.Rule, "purse": v.purse(r.Purse), "period": r.Period, "booked": r.Booked,
			"stored_at": r.StoredAt.UTC().Format(time.RFC3339Nano),
		}
	case metering.KindAdjustment:
		v.Adjustments = append(v.Adjustments, map[string]any{
			"ref": admin.RerateRef(r.ID, r.RefersTo), "kind": r.Kind, "amount": r.Amount.Format(r.Currency), "fee": r.Fee.Format(r.Currency),
			"currency": r.Currency, "purse": v.purse(r.Purse), "plan": r.Plan, "plan_version": r.Version, "rule": r.Rule, "period": r.Period, "booked": r.Booked,
			"stored_at": r.StoredAt.UTC().Format(time.RFC3339Nano),
		})
	case metering.KindRefund:
		v.Refunds = append(v.Refunds, map[string]any{
			"id": r.SourceID, "kind": r.Kind, "amount": r.Amount.Format(r.Currency), "currency": r.Currency, "purse": v.purse(r.Purse),
			"period": r.Period, "booked": r.Booked, "occurred_at": at,
		})
	case metering.KindStatus:
		v.Statuses = append(v.Statuses, map[string]any{"id": r.ID, "status": r.Status, "error_code": r.ErrorCode, "occurred_at": at})
	}
}

// known tells whether there is anything.
func (v *messageView) known() bool {
	return v.Record != nil || len(v.Statuses) > 0 || v.Quarantine != nil
}

// refused notes that an entry is open, not why.
func (v *messageView) refused(en *ledger.Entry) {
	if en.State == ledger.QuarantineOpen {
		q := rejectedOf(en)
		v.Quarantine = &q
	}
}

// add takes a message and its statuses; refunds and adjustments are money.
func (v *messageView) add(r *ledger.StoredRow) {
	at := r.OccurredAt.UTC().Format(time.RFC3339Nano)
	switch metering.Kind(r.Kind) {
	case metering.KindUsage:
		v.Record = &message{
			ID: r.ID, Kind: r.Kind, Channel: r.Channel, Direction: r.Direction, Status: toldStatus(r.Status),
			To: r.To, From: r.From, Country: r.Country, OccurredAt: at,
		}
	case metering.KindStatus:
		v.Statuses = append(v.Statuses, messageStatus{Status: toldStatus(r.Status), OccurredAt: at})
	case metering.KindRefund, metering.KindAdjustment:
	}
}

// toldStatus is a status as a reseller's sub-account is told it; none stays none.
func toldStatus(status string) string {
	if status == "" {
		return ""
	}
	return metering.PublicStatus(status)
}
