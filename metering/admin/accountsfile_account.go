package admin

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/meterd/meterd/metering"
)

// parent compares a parent and its sub-accounts.
func (p *planner) parent(f *fileParent) {
	old, ok := p.find(&f.fileAccount, "")
	plan := p.planOf(f.plan)
	if !ok || plan == nil {
		return
	}
	if old != nil && old.Currency != plan.Currency {
		p.fail(f.plan.at, "the plan is in %s, but the parent in %s, which never changes; name a plan in %s",
			plan.Currency, old.Currency, old.Currency)
		return
	}
	next := p.base(old, &f.fileAccount)
	next.Module = f.module.v
	next.Currency = plan.Currency
	next.Mode, next.Source = f.mode, metering.SourceWallet
	next.CreditLimit = nil
	if f.mode == metering.Postpaid {
		next.Source = metering.SourceCredit
		next.CreditLimit = optional(f.limit)
	}
	next.Alerts, next.Observe, next.Issuer = f.alerts, f.observe, f.issuer
	next.Zones = p.zones(old, f.zone.v)
	next.Channels = p.channels(next.Channels, f.channels, nil)
	next.Plans = p.plansFrom(next.Plans, plan.ID)
	next.Hooks = f.hooks
	next.Reports = p.reports(f)
	p.put(old, next)

	named := map[string]bool{}
	for i := range f.subs {
		named[f.subs[i].id] = true
		p.sub(&f.subs[i], next)
	}
	for _, id := range p.cur.Subs[f.id] {
		if !named[id] {
			p.follow(p.cur.Accounts[id], next)
		}
	}
}

// sub compares a sub-account of parent, which is in its new state.
func (p *planner) sub(f *fileSub, parent *metering.Account) {
	old, ok := p.find(&f.fileAccount, parent.ID)
	if f.plan.set {
		plan := p.planOf(f.plan)
		ok = ok && plan != nil
		if plan != nil && plan.Currency != parent.Currency {
			p.fail(f.plan.at, "the plan is in %s, but the parent in %s; name a plan in %s",
				plan.Currency, parent.Currency, parent.Currency)
			ok = false
		}
	}
	if !ok {
		return
	}
	next := p.base(old, &f.fileAccount)
	next.ParentID = parent.ID
	next.OwnModule, next.OwnPlan, next.OwnZone = f.module.v, f.plan.v, f.zone.v
	next.Source = f.source.v
	next.MonthlyLimit = optional(f.limit)
	next.Reports = ownReports(f)
	if !f.channels.set {
		p.changes.Warnings = append(p.changes.Warnings, (&FileError{
			p.file, f.at.line, f.at.column, join(f.at.field, "channels"),
			"missing, so no channel is enabled for " + f.id + "; list those that it may use",
		}).Error())
	}
	next.Channels = p.channels(next.Channels, f.channels, []string{})
	p.inherit(next, parent)
	if next.Module == metering.Reseller && len(next.AlertMail) > 0 {
		p.fail(f.mail.at, "a reseller's sub-account gets no alerts; leave it out")
	}
	p.put(old, next)
}

// follow brings a sub-account that the file leaves out up to its parent.
func (p *planner) follow(old, parent *metering.Account) {
	if old.ClosedAt != nil {
		return
	}
	next := *old
	next.Calendar = nil
	p.inherit(&next, parent)
	if !same(old, &next) {
		p.put(old, &next)
	}
}

// inherit sets what a sub-account has from its parent.
func (p *planner) inherit(sub, parent *metering.Account) {
	sub.Module = cmp.Or(sub.OwnModule, parent.Module)
	sub.Currency, sub.Mode, sub.Zones = parent.Currency, parent.Mode, parent.Zones
	switch {
	case parent.Mode == metering.Postpaid:
		sub.Source = metering.SourceCredit
	case sub.Source != metering.SourceAllocated:
		sub.Source = metering.SourceShared
	}
	plan := sub.OwnPlan
	if plan == "" {
		plan = parent.Plans[len(parent.Plans)-1].Plan
	}
	sub.Plans = p.plansFrom(sub.Plans, plan)
}

// base is a new document with what old has of its history.
func (p *planner) base(old *metering.Account, f *fileAccount) *metering.Account {
	next := &metering.Account{ID: f.id, Name: f.name, AlertMail: f.mail.v, CreatedAt: p.now}
	if old != nil {
		next.CreatedAt, next.Channels, next.Plans = old.CreatedAt, old.Channels, old.Plans
	}
	return next
}

// put compares and notes an account.
func (p *planner) put(old, next *metering.Account) {
	changed := old == nil || !same(old, next)
	p.changes.note(next.ID, old == nil, changed)
	if changed {
		p.changes.Accounts = append(p.changes.Accounts, next)
	}
}

// same compares two documents as the ledger keeps them, less the number of the
// apply that made them.
func same(a, b *metering.Account) bool {
	x, y := *a, *b
	x.Catalog, y.Catalog = 0, 0
	p, err := json.Marshal(&x)
	if err != nil {
		return false
	}
	q, err := json.Marshal(&y)
	return err == nil && string(p) == string(q)
}

func optional(m located[metering.Micros]) *metering.Micros {
	if !m.set {
		return nil
	}
	return &m.v
}

// zones has the parent's zone, a change from its next month on.
func (p *planner) zones(old *metering.Account, zone string) []metering.ZoneFrom {
	if old == nil || len(old.Zones) == 0 {
		return []metering.ZoneFrom{{Zone: zone}}
	}
	if old.Zones[len(old.Zones)-1].Zone == zone {
		return old.Zones
	}
	next, err := nextMonth(old, p.now)
	if err != nil {
		p.fail(place{1, 1, ""}, "parent %s: %s", old.ID, err)
		return old.Zones
	}
	zones := slices.Clone(old.Zones)
	for len(zones) > 1 && zones[len(zones)-1].From >= next {
		zones = zones[:len(zones)-1] // not begun: taken back
	}
	if zones[len(zones)-1].Zone == zone {
		return zones
	}
	return append(zones, metering.ZoneFrom{From: next, Zone: zone})
}

// nextMonth names the month after the one that now is in.
func nextMonth(a *metering.Account, now time.Time) (string, error) {
	c := a.Calendar
	if c == nil {
		var err error
		if c, err = metering.NewCalendar(a.Zones); err != nil {
			return "", err
		}
	}
	return c.Of(c.Of(now).End).Name, nil
}

// channels appends a change of the enabled channels; absent is what a file that
// doesn't list any means.
func (p *planner) channels(history []metering.ChannelsFrom, want located[[]string], absent []string) []metering.ChannelsFrom {
	list := absent
	if want.set {
		list = append([]string{}, want.v...)
	}
	n := len(history)
	if n == 0 {
		return []metering.ChannelsFrom{{From: p.now, Channels: list}}
	}
	last := history[n-1]
	if (last.Channels == nil) == (list == nil) && slices.Equal(last.Channels, list) {
		return history
	}
	if !last.From.Before(p.now) { // the same instant, or another clock's: replaced
		return append(slices.Clone(history[:n-1]), metering.ChannelsFrom{From: last.From, Channels: list})
	}
	return append(slices.Clone(history), metering.ChannelsFrom{From: p.now, Channels: list})
}

// plansFrom appends a change of the plan in use.
func (p *planner) plansFrom(history []metering.PlanFrom, plan string) []metering.PlanFrom {
	n := len(history)
	if n == 0 {
		return []metering.PlanFrom{{From: p.now, Plan: plan}}
	}
	last := history[n-1]
	if last.Plan == plan {
		return history
	}
	if !last.From.Before(p.now) {
		return append(slices.Clone(history[:n-1]), metering.PlanFrom{From: last.From, Plan: plan})
	}
	return append(slices.Clone(history), metering.PlanFrom{From: p.now, Plan: plan})
}

// reports has the parent's schedules; their audiences are the parent, each of its
// sub-accounts, and sub-accounts of its own.
func (p *planner) reports(f *fileParent) []metering.Schedule {
	var out []metering.Schedule
	for i := range f.reports {
		r := &f.reports[i]
		for _, a := range r.audiences {
			mine := a.v == string(metering.AudienceParent) || a.v == metering.AudienceEach || slices.Contains(p.cur.Subs[f.id], a.v) ||
				slices.ContainsFunc(f.subs, func(s fileSub) bool { return s.id == a.v })
			if !mine {
				p.fail(a.at, "%q isn't a sub-account of this parent; give parent, each, or ids of its sub-accounts", a.v)
			}
		}
		out = append(out, r.Schedule)
	}
	return out
}

// ownReports are a sub-account's schedules, which are for itself.
func ownReports(f *fileSub) []metering.Schedule {
	var out []metering.Schedule
	for i := range f.reports {
		s := f.reports[i].Schedule
		s.Audiences = nil
		out = append(out, s)
	}
	return out
}
