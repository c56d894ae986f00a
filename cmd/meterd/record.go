package main

import (
	"fmt"
	"time"

	"github.com/meterd/meterd/metering"
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
	Record     map[string]any   `json:"record"`
	Charge     map[string]any   `json:"charge,omitempty"`
	Refunds    []map[string]any `json:"refunds,omitempty"`
	Statuses   []map[string]any `json:"statuses"`
	Quarantine any              `json:"quarantine"`
}

// Run implements the command.
func (c *recordShowCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	aud, acct, err := e.view(c.As, c.Account)
	if err != nil {
		return err
	}
	v := recordView{Statuses: []map[string]any{}}
	if aud != metering.AudienceReseller {
		v.Refunds = []map[string]any{}
	}
	found := false
	if err := e.ledger.RecordRows(a.ctx, acct.ID, c.ID, func(r *ledger.StoredRow) error {
		found = true
		v.add(aud, r)
		return nil
	}); err != nil {
		return err
	}
	if err := e.ledger.Quarantined(a.ctx, ledger.QuarantineFilter{Accounts: []string{acct.ID}, RecordID: c.ID}, func(en *ledger.Entry) error {
		if aud == metering.AudienceReseller && en.State != ledger.QuarantineOpen {
			return nil
		}
		found = true
		v.Quarantine = viewOfEntry(aud, en)
		return nil
	}); err != nil {
		return err
	}
	if !found {
		return wrongInput("unknown message %s of this account", c.ID)
	}
	return a.showRecord(&v)
}

func (a *app) showRecord(v *recordView) error {
	if a.JSON {
		return a.printJSON(v)
	}
	t := a.table("FIELD", "VALUE")
	section := func(name string, m map[string]any) {
		for _, k := range []string{
			"id", "kind", "channel", "direction", "status", "error_code", "to", "from", "country", "network", "category", "units", "unit", "occurred_at",
			"amount", "fee", "billed_units", "currency", "plan", "plan_version", "rule", "purse", "period", "booked", "stored_at", "tags",
		} {
			if x, ok := m[k]; ok && x != "" {
				t.AppendRow([]any{name + " " + k, x})
			}
		}
		t.AppendSeparator()
	}
	section("record", v.Record)
	section("charge", v.Charge)
	for _, r := range v.Refunds {
		section("refund", r)
	}
	for _, s := range v.Statuses {
		section("status", s)
	}
	a.render(t)
	if q, ok := v.Quarantine.(quarantineView); ok {
		_, _ = fmt.Fprintf(a.out, "quarantined: %s (%s)\n%s\n", q.Reason, q.State, q.Detail)
	}
	return nil
}

// add puts a row where it belongs. What a reseller sub-account sees is built
// apart: nothing economic gets into it.
func (v *recordView) add(aud metering.Audience, r *ledger.StoredRow) {
	at := r.OccurredAt.UTC().Format(time.RFC3339Nano)
	reseller := aud == metering.AudienceReseller
	switch metering.Kind(r.Kind) {
	case metering.KindUsage:
		v.Record = map[string]any{
			"id": r.ID, "kind": r.Kind, "channel": r.Channel, "direction": r.Direction, "status": r.Status, "to": r.To, "from": r.From,
			"country": r.Country, "occurred_at": at,
		}
		if reseller {
			v.Record["status"] = metering.ActivityStatus(r.Status)
			return
		}
		for k, x := range map[string]any{
			"error_code": r.ErrorCode, "network": r.Network, "category": r.Category, "units": r.Units, "unit": r.Unit, "tags": r.Tags,
		} {
			v.Record[k] = x
		}
		v.Charge = map[string]any{
			"amount": r.Amount.Format(r.Currency), "fee": r.Fee.Format(r.Currency), "billed_units": r.Billed, "currency": r.Currency,
			"plan": r.Plan, "plan_version": r.Version, "rule": r.Rule, "purse": r.Purse, "period": r.Period, "booked": r.Booked,
			"stored_at": r.StoredAt.UTC().Format(time.RFC3339Nano),
		}
	case metering.KindRefund, metering.KindAdjustment:
		if !reseller {
			v.Refunds = append(v.Refunds, map[string]any{
				"id": r.SourceID, "kind": r.Kind, "amount": r.Amount.Format(r.Currency), "currency": r.Currency, "purse": r.Purse,
				"period": r.Period, "booked": r.Booked, "occurred_at": at,
			})
		}
	case metering.KindStatus:
		s := map[string]any{"id": r.ID, "status": r.Status, "error_code": r.ErrorCode, "occurred_at": at}
		if reseller {
			s = map[string]any{"status": metering.ActivityStatus(r.Status), "occurred_at": at}
		}
		v.Statuses = append(v.Statuses, s)
	}
}
