package reports

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// longTable is one table for all of a report: a first column says what a line
// is, and columns that don't apply are empty.
type longTable struct {
	header []string
	lines  [][]string
}

// add a line, by pairs of a column and its value.
func (t *longTable) add(pairs ...string) {
	line := make([]string, len(t.header))
	for pair := range slices.Chunk(pairs, 2) {
		line[slices.Index(t.header, pair[0])] = pair[1]
	}
	t.lines = append(t.lines, line)
}

// info adds lines of single values.
func (t *longTable) info(account string, pairs ...string) {
	for pair := range slices.Chunk(pairs, 2) {
		t.add("section", "info", "account", account, "name", pair[0], "value", pair[1])
	}
}

func moneyTable() *longTable {
	return &longTable{header: []string{
		"section", "account", "period", "day", "channel", "direction", "country", "unit", "outcome", "records", "units", "billed_units",
		"amount", "fees", "refunds", "net", "late", "corrections", "adjustments", "billable", "currency", "name", "value",
	}}
}

func activityTable() *longTable {
	return &longTable{header: []string{"section", "account", "day", "channel", "direction", "outcome", "messages", "call_seconds", "name", "value"}}
}

func (f *Figures) pairs() []string {
	return []string{
		"records", count(f.Records), "amount", f.Amount.String(), "fees", f.Fees.String(), "refunds", f.Refunds.String(),
		"net", f.Net.String(), "currency", f.Amount.Currency,
	}
}

// pairs of totals. A column that is named twice holds what is named last: the records
// of the whole bill.
func (t *Totals) pairs() []string {
	return append(t.Figures.pairs(), "records", count(t.Booked), "late", t.Late.String(), "corrections", t.Corrections.String(),
		"adjustments", t.Adjustments.String(), "billable", t.Billable.String())
}

// usage adds the lists of an account's usage.
func (t *longTable) usage(account string, u *Usage) {
	with := func(pairs []string, more ...string) { t.add(append(append(more, "account", account), pairs...)...) }
	with(u.Totals.pairs(), "section", "account_total")
	t.cuts(account, "", &u.Cuts)
	for i := range u.ByRate {
		l := &u.ByRate[i]
		name := l.Plan + " v" + strconv.Itoa(l.Version) + " rule " + strconv.Itoa(l.Rule)
		if l.Plan == "" {
			name = "came rated"
		}
		with(l.pairs(), "section", "rate", "unit", l.Unit, "billed_units", l.BilledUnits.String(), "name", name, "value", l.Price)
	}
	for i := range u.Adjustments {
		l := &u.Adjustments[i]
		with(l.pairs(), "section", "adjustment", "period", l.Period, "late", l.Net.String(), "corrections", l.Corrections.String(), "adjustments", l.Total.String())
	}
	for _, l := range u.Outcomes {
		t.add("section", "outcome", "account", account, "day", l.Day, "channel", l.Channel, "direction", l.Direction, "outcome", l.Outcome, "records", count(l.Messages))
	}
}

// cuts adds an account's lines, or those of the whole statement: their sections' names
// begin with a word, for who sums a section must not count twice.
func (t *longTable) cuts(account, word string, c *Cuts) {
	with := func(section string, pairs []string, more ...string) {
		t.add(append(append(more, "section", word+section, "account", account), pairs...)...)
	}
	for i := range c.ByChannel {
		l := &c.ByChannel[i]
		with("channel", l.pairs(), "channel", l.Channel, "direction", l.Direction, "unit", l.Unit,
			"units", l.Units.String(), "billed_units", l.BilledUnits.String())
	}
	for i := range c.ByCountry {
		with("country", c.ByCountry[i].pairs(), "country", c.ByCountry[i].Country)
	}
	for i := range c.ByCampaign {
		l := &c.ByCampaign[i]
		with("campaign", l.pairs(), "name", l.Campaign, "billed_units", l.BilledUnits.String())
	}
	for i := range c.ByDay {
		with("day", c.ByDay[i].pairs(), "day", c.ByDay[i].Day)
	}
}

func (t *longTable) suspensions(account string, list []Suspension) {
	for _, s := range list {
		until := ""
		if s.Until != nil {
			until = instant(*s.Until)
		}
		t.add("section", "suspension", "account", account, "day", instant(s.From), "name", strings.Join(s.Reasons, " "), "value", until)
	}
}

func (t *longTable) alerts(account string, list []Alert) {
	for _, a := range list {
		t.add("section", "alert", "account", account, "day", instant(a.At), "name", a.Limit, "value", strconv.Itoa(a.Share))
	}
}

func (t *longTable) limit(account string, l *Limit) {
	if l != nil {
		t.info(account, l.Kind, l.Limit.String(), l.Kind+"_used", l.Used.String(), l.Kind+"_share_percent", l.Share)
	}
}

func (t *longTable) purse(account, name string, p *Purse) {
	if p == nil {
		return
	}
	if p.Opening != nil {
		t.info(account, name+"_opening", p.Opening.String())
	}
	t.info(account, name+"_paid_in", p.PaidIn.String(), name+"_adjusted", p.Adjusted.String(), name+"_allocated", p.Allocated.String(),
		name+"_moved", p.Moved.String(), name+"_charged", p.Charged.String())
	if p.Closing != nil {
		t.info(account, name+"_closing", p.Closing.String())
	}
	for i := range p.Movements {
		m := &p.Movements[i]
		t.add("section", "transfer", "account", account, "day", instant(m.At), "amount", m.Amount.String(), "currency", m.Amount.Currency,
			"name", m.Kind, "value", m.Ref, "purse", m.Purse, "other", m.Other, "reason", m.Reason, "actor", m.Actor, "invoiced", yesWord(m.Invoiced))
	}
}

func (t *longTable) completeness(account string, c *Completeness) {
	t.info(account, "quarantined", count(c.Quarantined), "not_yet_priced", count(c.NotYetPriced), "waiting_refunds", count(c.Waiting))
	for _, r := range sortedKeys(c.Reasons) {
		t.info(account, "quarantined_"+r, count(c.Reasons[r]))
	}
}

func (p *ParentStatement) table() ([]string, [][]string) {
	t := moneyTable()
	t.header = append(t.header, "purse", "other", "reason", "actor", "invoiced") // of transfers and re-ratings, which are the parent's alone
	t.info(p.Account, "report", p.Kind, "layout", count(p.Layout), "number", p.Number, "account_name", p.Name, "period", p.Period, "timezone", p.Timezone, "start", instant(p.Start),
		"end", instant(p.End), "as_of", instant(p.AsOf), "state", closedWord(p.Closed), "funding", p.Funding)
	if p.Issuer != nil {
		t.info(p.Account, "issuer", p.Issuer.Name, "issuer_address", p.Issuer.Address)
	}
	t.completeness(p.Account, &p.Completeness)
	t.limit(p.Account, p.Ceiling)
	t.purse(p.Account, "wallet", p.Wallet)
	t.add(append(p.Totals.pairs(), "section", "total")...)
	t.cuts("", "total_", &p.Cuts)
	if p.Payable != nil {
		t.info(p.Account, "payable", p.Payable.String())
	}
	if m := p.Previous; m != nil {
		t.add("section", "previous", "period", m.Period, "records", count(m.Records), "amount", m.Amount.String(), "refunds", m.Refunds.String(),
			"net", m.Amount.with(m.Amount.Sum.Minus(m.Refunds.Sum)).String(), "adjustments", m.Adjustments.String(), "billable", m.Billable.String(),
			"currency", m.Billable.Currency)
	}
	for i := range p.Reratings {
		x := &p.Reratings[i]
		t.add("section", "rerating", "account", p.Account, "period", x.Period, "records", count(x.Messages), "corrections", x.Corrections.String(),
			"currency", p.Currency, "name", x.Ref, "reason", x.Reason)
	}
	for i := range p.Accounts {
		s := &p.Accounts[i]
		t.info(s.Account, "account_name", s.Name, "account_state", s.State, "reasons", strings.Join(s.Reasons, " "))
		if s.Completeness.Quarantined+s.Completeness.Waiting > 0 && s.Account != p.Account {
			t.completeness(s.Account, &s.Completeness)
		}
		t.limit(s.Account, s.Limit)
		t.purse(s.Account, "budget", s.Budget)
		t.suspensions(s.Account, s.Suspensions)
		t.alerts(s.Account, s.Alerts)
		t.usage(s.Account, &s.Usage)
	}
	return t.header, t.lines
}

func (e *EnterpriseStatement) table() ([]string, [][]string) {
	t := moneyTable()
	t.info(e.Account, "report", e.Kind, "layout", count(e.Layout), "number", e.Number, "account_name", e.Name, "period", e.Period, "timezone", e.Timezone, "start", instant(e.Start),
		"end", instant(e.End), "as_of", instant(e.AsOf), "state", closedWord(e.Closed), "account_state", e.State,
		"reasons", strings.Join(e.Reasons, " "), "funds", e.Funds)
	if e.Budget != nil {
		t.info(e.Account, "budget_charged", e.Budget.Charged.String())
		if e.Budget.Balance != nil {
			t.info(e.Account, "budget_balance", e.Budget.Balance.String())
		}
	}
	t.completeness(e.Account, &e.Completeness)
	t.limit(e.Account, e.Limit)
	t.suspensions(e.Account, e.Suspensions)
	t.alerts(e.Account, e.Alerts)
	t.usage(e.Account, &e.Usage)
	return t.header, t.lines
}

func (t *longTable) activity(account string, list []ActivityLine) {
	for _, l := range list {
		calls := ""
		if l.Channel == "voice" {
			calls = strconv.FormatInt(l.CallSeconds, 10)
		}
		t.add("section", "activity", "account", account, "day", l.Day, "channel", l.Channel, "direction", l.Direction,
			"outcome", l.Outcome, "messages", count(l.Messages), "call_seconds", calls)
	}
}

func (a *ActivityStatement) table() ([]string, [][]string) {
	t := activityTable()
	t.info(a.Account, "report", a.Kind, "layout", count(a.Layout), "account_name", a.Name, "period", a.Period, "timezone", a.Timezone, "as_of", instant(a.AsOf),
		"state", closedWord(a.Closed), "account_state", suspendedWord(a.Suspended), "rejected", count(a.Rejected))
	t.activity(a.Account, a.Activity)
	return t.header, t.lines
}

func (o *ActivityOverview) table() ([]string, [][]string) {
	t := activityTable()
	t.info(o.Account, "report", o.Kind, "layout", count(o.Layout), "account_name", o.Name, "period", o.Period, "timezone", o.Timezone, "as_of", instant(o.AsOf),
		"state", closedWord(o.Closed), "rejected", count(o.Rejected))
	t.add("section", "total", "messages", count(o.Messages))
	for i := range o.Accounts {
		s := &o.Accounts[i]
		t.info(s.Account, "account_name", s.Name, "account_state", suspendedWord(s.Suspended), "rejected", count(s.Rejected))
		t.add("section", "account_total", "account", s.Account, "messages", count(s.Messages))
		t.activity(s.Account, s.Activity)
	}
	return t.header, t.lines
}

func (p *ParentStatement) baseName() string {
	return p.Account + "-" + fileSpan(p.Period) + "-statement"
}

func (e *EnterpriseStatement) baseName() string {
	return e.Account + "-" + fileSpan(e.Period) + "-statement"
}

func (a *ActivityStatement) baseName() string {
	return a.Account + "-" + fileSpan(a.Period) + "-activity"
}

func (o *ActivityOverview) baseName() string {
	return o.Account + "-" + fileSpan(o.Period) + "-activity-overview"
}

func (p *ParentStatement) closed() bool     { return p.Closed }
func (e *EnterpriseStatement) closed() bool { return e.Closed }
func (a *ActivityStatement) closed() bool   { return a.Closed }
func (o *ActivityOverview) closed() bool    { return o.Closed }
func (w *WalletStatement) closed() bool     { return w.Closed }

// fileSpan is a period as a part of a file's name.
func fileSpan(period string) string { return strings.ReplaceAll(period, "..", "_") }

func count(n uint64) string { return strconv.FormatUint(n, 10) }

func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func yesWord(yes bool) string {
	if yes {
		return "yes"
	}
	return ""
}

func closedWord(closed bool) string {
	if closed {
		return "closed"
	}
	return "open"
}

func suspendedWord(suspended bool) string {
	if suspended {
		return "suspended"
	}
	return "active"
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
