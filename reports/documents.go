package reports

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/render"
)

// topBars is how many bars a chart shows before the rest becomes one.
const topBars = 12

func (p *ParentStatement) document() *render.Document {
	d := &render.Document{
		AsOf: p.AsOf, Title: p.Name, Subtitle: statementTitle(p.Period), Badge: closedBadge(p.Closed), Issuer: nameOf(p.Issuer),
		Facts: []render.Fact{
			{Label: "Account", Value: p.Account},
			{Label: "Period", Value: periodWord(p.Start, p.End, p.Timezone)},
			{Label: "Time zone", Value: p.Timezone},
			asOf(p.AsOf, p.Timezone),
			{Label: "Currency", Value: p.Currency},
		},
		Notes:    p.Completeness.notes(p.Closed),
		Currency: p.Currency, Digits: min(metering.MinorDigits(p.Currency), 6),
		Footer: footer("Amounts are rounded once, for each message; every total is the sum of its lines."),
	}
	d.Facts = append(numberFacts(p.Number), d.Facts...)
	d.Facts = append(d.Facts, issuerFacts(p.Issuer)...)
	d.Cards = p.Totals.cards(p.billableWord())
	if p.isMonth() {
		d.Cards = d.Cards[:2] // the bill has the others
	}
	d.Cards = append(d.Cards, p.purseCard())
	if p.Payable != nil {
		d.Cards = slices.Insert(d.Cards, 0, p.payableCard())
	}
	suspended := 0
	for i := range p.Accounts {
		if p.Accounts[i].State == string(metering.StateSuspended) {
			suspended++
		}
	}
	if suspended > 0 {
		d.Notes = append(d.Notes, render.Note{Level: render.Bad, Text: fmt.Sprintf("Suspended: %d of %s. The reasons are below, with each.", suspended, plural(uint64(len(p.Accounts)), "account"))})
	}
	if p.isMonth() {
		d.Sections = append(d.Sections, p.bill())
	} else {
		d.Notes = append(d.Notes, render.Note{Level: render.Plain, Text: "These figures are of what occurred in these days, in whatever month it is booked: no bill."})
	}
	d.Sections = append(d.Sections, p.overview(), p.accounts())
	if p.Wallet != nil {
		d.Sections = append(d.Sections, walletSection(p.Wallet, p.Timezone))
	}
	for i := range p.Accounts {
		d.Sections = append(d.Sections, p.Accounts[i].section(p))
	}
	return d
}

// billableWord names what a bill comes to: a prepaid parent doesn't owe it.
func (p *ParentStatement) billableWord() string {
	switch {
	case !p.isMonth():
		return chargedWord
	case p.Funding == string(metering.Prepaid):
		return "Amount drawn"
	}
	return "Amount billable"
}

// chargedWord is what a sub-account reads instead: who pays whom isn't its matter.
const chargedWord = "Amount charged"

// cards are the figures that are looked for first.
func (t *Totals) cards(billableWord string) []render.Card {
	cards := []render.Card{t.Billable.card(billableWord), countCard("Messages", t.Booked)}
	if t.LateRecords > 0 {
		cards[1].Hint = render.Group(count(t.LateRecords)) + " of closed months"
	}
	if t.Amount.Sum != t.Billable.Sum {
		cards = append(cards, t.Amount.card("Amount"))
	}
	var after []string
	for _, x := range []struct {
		sum               Money
		label, hint, word string
	}{
		{t.Refunds, "Refunded", "", "refunds"},
		{t.Late, "Late", "of closed months", "late messages"},
		{t.Corrections, "Corrections", "of prices", "corrections"},
	} {
		if x.sum.Sum.Sign() == 0 {
			continue
		}
		c := x.sum.card(x.label)
		c.Hint = x.hint
		cards, after = append(cards, c), append(after, x.word)
	}
	if len(after) > 0 {
		cards[0].Hint = "after " + strings.Join(after, ", ")
	}
	return cards
}

func (p *ParentStatement) purseCard() render.Card {
	switch {
	case p.Ceiling != nil:
		c := p.Ceiling.Limit.card("Credit limit")
		c.Share = share(p.Ceiling.Share, "used")
		return c
	case p.Funding != string(metering.Prepaid) && p.isMonth():
		return render.Card{Label: "Credit limit", Value: "none"}
	case p.Funding != string(metering.Prepaid):
		return countCard("Accounts", uint64(len(p.Accounts))) // a limit is a month's
	case p.Wallet.Closing != nil:
		c := p.Wallet.Closing.card("Wallet")
		if p.Wallet.Share != "" {
			c.Share = share(p.Wallet.Share, drawnShare)
		}
		return c
	default:
		return p.Wallet.Charged.card("Charged to wallet")
	}
}

// drawnShare is what a purse's share is of: alerts go by what was there after the last
// top-up or allocation, whatever the month.
const drawnShare = "drawn of what the month had"

// isMonth: else the statement is of days, and no bill.
func (p *ParentStatement) isMonth() bool { return isMonth(p.Period) }

func isMonth(period string) bool { return len(period) == len("2006-01") }

// statementTitle says of days that their statement isn't a bill.
func statementTitle(period string) string {
	if isMonth(period) {
		return "Statement for " + monthWord(period)
	}
	return "Usage of " + monthWord(period) + ", by when it occurred"
}

func share(percent, word string) *render.Share {
	whole, _, _ := strings.Cut(percent, ".")
	n, _ := strconv.Atoi(whole)
	return &render.Share{Percent: n, Text: render.Group(percent) + " % " + word}
}

// overview has what the accounts come to together.
func (p *ParentStatement) overview() render.Section {
	s := render.Section{Sheet: "Overview", Title: "Overview", Empty: "No messages in this period."}
	for _, c := range []render.Chart{p.daysChart(), p.accountsChart()} {
		if len(c.Bars) > 0 {
			s.Charts = append(s.Charts, c)
		}
	}
	if len(p.ByChannel) > 0 {
		s.Tables = p.tables(&p.Totals)
	}
	return s
}

func (p *ParentStatement) accountsChart() render.Chart {
	bars := render.Chart{Caption: p.billableWord() + " by account", Series: []string{p.billableWord()}, Rows: true}
	list := make([]*Section, len(p.Accounts))
	for i := range p.Accounts {
		list[i] = &p.Accounts[i]
	}
	list = slices.DeleteFunc(list, func(s *Section) bool { return s.Totals.Billable.Sum.Sign() == 0 })
	slices.SortStableFunc(list, func(a, b *Section) int {
		return b.Totals.Billable.Sum.Cmp(a.Totals.Billable.Sum)
	})
	if len(list) > topBars {
		bars.Caption += fmt.Sprintf(", the %d largest of %d", topBars, len(list))
	}
	for _, s := range list[:min(len(list), topBars)] {
		bars.Bars = append(bars.Bars, render.Bar{Label: label(s.Name, s.Account), Values: []string{s.Totals.Billable.String()}, Text: s.Totals.Billable.text()})
	}
	return bars
}

// accounts has all of them side by side: it leads to the details of each.
func (p *ParentStatement) accounts() render.Section {
	t := render.Table{Caption: "Accounts", Open: true, Columns: []render.Column{
		{Name: "Account", Kind: render.Text},
		{Name: p.billableWord(), Kind: render.Money}, // seen on a phone too
		{Name: "Name", Kind: render.Text},
		{Name: "State", Kind: render.Text},
		{Name: "Limit used", Kind: render.Percent},
		{Name: "Messages", Kind: render.Count},
		{Name: "Amount", Kind: render.Money},
		{Name: "Refunded", Kind: render.Money},
		{Name: "Late and corrections", Kind: render.Money},
		{Name: "Reasons", Kind: render.Text},
	}}
	cells := func(id, name, state, used string, x *Totals, reasons []string) []string {
		return []string{
			id, x.Billable.String(), name, state, used, count(x.Booked), x.Amount.String(), x.Refunds.String(), x.Adjustments.String(),
			reasonWords(reasons),
		}
	}
	for i := range p.Accounts {
		s := &p.Accounts[i]
		used := ""
		switch {
		case s.Limit != nil:
			used = s.Limit.Share
		case s.Budget != nil:
			used = s.Budget.Share
		}
		t.Rows = append(t.Rows, render.Row{
			Cells: cells(s.Account, s.Name, s.State, used, &s.Totals, s.Reasons), Levels: []render.Level{3: stateLevel(s.State)}, Details: s.Account,
		})
	}
	t.Rows = append(t.Rows, render.Row{Cells: cells("Total", "", "", "", &p.Totals, nil), Total: true})
	return render.Section{Sheet: "Accounts", Title: "Accounts", Tables: []render.Table{t}}
}

// daysChart has the accounts' net amounts of each day.
func (p *ParentStatement) daysChart() render.Chart {
	c := render.Chart{Caption: "Net amount by day", Series: []string{"Net"}}
	for i := range p.ByDay {
		l := &p.ByDay[i]
		c.Bars = append(c.Bars, render.Bar{Label: l.Day, Values: []string{l.Net.String()}, Text: l.Net.text()})
	}
	c.Bars = everyDay(c.Bars, daysOf(p.Period, p.AsOf, p.Timezone), none(1, p.Totals.Net.with(metering.Sum{}).text()))
	return c
}

func walletSection(w *Purse, zone string) render.Section {
	s := render.Section{Sheet: "Wallet", Title: "Wallet", Facts: purseFacts(w)}
	s.Tables = append(s.Tables, movementTable("Movements", w, zone))
	return s
}

func purseFacts(p *Purse) []render.Fact {
	var out []render.Fact
	if p.Opening != nil {
		out = append(out, p.Opening.fact("Opening balance"))
	}
	for _, x := range []struct {
		label string
		sum   Money
	}{{"Paid in", p.PaidIn}, {"Adjusted", p.Adjusted}, {"Allocated", p.Allocated}} {
		if x.sum.Sum.Sign() != 0 {
			out = append(out, x.sum.fact(x.label))
		}
	}
	out = append(out, p.Charged.fact("Drawn"))
	if p.Closing != nil {
		out = append(out, p.Closing.fact("Closing balance"))
	}
	return out
}

func movementTable(caption string, p *Purse, zone string) render.Table {
	t := render.Table{Caption: caption, Columns: []render.Column{
		{Name: "When", Kind: render.Date},
		{Name: "Kind", Kind: render.Text},
		{Name: "Amount", Kind: render.Money},
		{Name: "To or from", Kind: render.Text},
		{Name: "Reason", Kind: render.Text},
		{Name: "Reference", Kind: render.Text},
		{Name: "By", Kind: render.Text},
	}}
	for i := range p.Movements {
		m := &p.Movements[i]
		t.Rows = append(t.Rows, render.Row{Cells: []string{
			stamp(m.At, zone), kindWord(m.Kind, m.Invoiced), m.Amount.String(), otherWord(m.Purse, m.Other), m.Reason, m.Ref, m.Actor,
		}})
	}
	t.Rows = append(t.Rows, render.Row{Cells: []string{"Total", "", p.Moved.String(), "", "", "", ""}, Total: true})
	return t
}

// section of one account on the page, and its sheet.
func (s *Section) section(p *ParentStatement) render.Section {
	out := render.Section{
		Details: s.Account, Sheet: s.Account, Title: s.Name, Subtitle: s.Account, Badge: render.Badge{Level: stateLevel(s.State), Text: s.State},
		Facts: []render.Fact{{Label: "Account", Value: s.Account}, {Label: "Draws on", Value: sourceWord(s.Source)}},
		Empty: "No messages in this period.",
	}
	if s.Account == p.Account {
		out.Title, out.Sheet = render.Isolated(s.Name)+" — own traffic", s.Account+" own"
	}
	out.Facts = append(out.Facts, stateFacts(s.Reasons)...)
	out.Facts = append(out.Facts, s.Completeness.facts()...)
	out.Facts = append(out.Facts, s.Totals.facts(p.billableWord())...)
	if s.Limit != nil {
		out.Shares = append(out.Shares, *share(s.Limit.Share, "of "+s.Limit.Limit.text()+" monthly limit used"))
	}
	if s.Budget != nil {
		out.Facts = append(out.Facts, purseFacts(s.Budget)...)
		if s.Budget.Share != "" {
			out.Shares = append(out.Shares, *share(s.Budget.Share, drawnShare))
		}
	}
	out.Charts, out.Tables = s.charts(daysOf(p.Period, p.AsOf, p.Timezone)), s.tables(p.Period)
	if s.Budget != nil && len(s.Budget.Movements) > 0 {
		out.Tables = append(out.Tables, movementTable("Budget movements", s.Budget, p.Timezone))
	}
	out.Tables = append(out.Tables, suspensionTables(s.Suspensions, p.Timezone, true)...)
	out.Tables = append(out.Tables, alertTables(s.Alerts, p.Timezone)...)
	return out
}

func (e *EnterpriseStatement) document() *render.Document {
	d := &render.Document{
		AsOf: e.AsOf, Title: e.Name, Subtitle: statementTitle(e.Period), Badge: closedBadge(e.Closed),
		Facts: []render.Fact{
			{Label: "Account", Value: e.Account},
			{Label: "Period", Value: periodWord(e.Start, e.End, e.Timezone)},
			{Label: "Time zone", Value: e.Timezone},
			asOf(e.AsOf, e.Timezone),
			{Label: "State", Value: e.State},
			{Label: "Funds", Value: e.Funds},
		},
		Cards: e.Totals.cards(chargedWord), Notes: e.Completeness.notes(e.Closed),
		Currency: e.Currency, Digits: min(metering.MinorDigits(e.Currency), 6),
		Footer: footer("Amounts are rounded once, for each message; every total is the sum of its lines."),
	}
	d.Facts = append(numberFacts(e.Number), d.Facts...)
	d.Facts = append(d.Facts, stateFacts(e.Reasons)...)
	if e.State == string(metering.StateSuspended) {
		d.Notes = append(d.Notes, render.Note{Level: render.Bad, Text: "This account is suspended: " + reasonWords(e.Reasons)})
	}
	switch {
	case e.Budget != nil && e.Budget.Balance != nil:
		c := e.Budget.Balance.card("Budget left")
		if e.Budget.Share != "" {
			c.Share = share(e.Budget.Share, drawnShare)
		}
		d.Cards = append(d.Cards, c)
	case e.Limit != nil:
		c := e.Limit.Limit.card("Monthly limit")
		c.Share = share(e.Limit.Share, "used")
		d.Cards = append(d.Cards, c)
	}
	d.Sections = []render.Section{{
		Sheet: e.Account, Title: "Usage", Charts: e.charts(daysOf(e.Period, e.AsOf, e.Timezone)), Facts: e.Totals.facts(chargedWord),
		Tables: slices.Concat(e.tables(e.Period), suspensionTables(e.Suspensions, e.Timezone, false), alertTables(e.Alerts, e.Timezone)),
		Empty:  "No messages in this period.",
	}}
	return d
}

func numberFacts(number string) []render.Fact {
	if number == "" {
		return nil
	}
	return []render.Fact{{Label: "Statement", Value: number}}
}

func stateFacts(reasons []string) []render.Fact {
	if len(reasons) == 0 {
		return nil
	}
	return []render.Fact{{Label: "Suspended for", Value: reasonWords(reasons)}}
}

func stateLevel(state string) render.Level {
	switch metering.State(state) {
	case metering.StateActive:
		return render.Good
	case metering.StateSuspended:
		return render.Bad
	case metering.StateClosed:
		return render.Plain
	}
	return render.Plain
}

func sourceWord(source string) string {
	switch metering.Source(source) {
	case metering.SourceAllocated:
		return "its own budget"
	case metering.SourceShared, metering.SourceWallet:
		return "the wallet"
	case metering.SourceCredit:
		return "monthly credit"
	}
	return source
}

// notes say what isn't in the figures.
func (c *Completeness) notes(closed bool) []render.Note {
	var out []render.Note
	if c.Quarantined > 0 {
		var why []string
		for _, r := range sortedKeys(c.Reasons) {
			why = append(why, refusalWord(r)+" "+count(c.Reasons[r]))
		}
		out = append(out, render.Note{Level: render.Warn, Text: fmt.Sprintf(
			"%s of any month not charged, so not in these figures (%s); %d of them for want of a price.", plural(c.Quarantined, "record"), strings.Join(why, ", "), c.NotYetPriced)})
	}
	if c.Waiting > 0 {
		out = append(out, render.Note{Level: render.Warn, Text: "Waiting for their message: " + plural(c.Waiting, "refund") + "."})
	}
	if !closed {
		out = append(out, render.Note{Level: render.Plain, Text: "This period is open: figures may still change."})
	}
	return out
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

func (c *Completeness) facts() []render.Fact {
	if c.Quarantined+c.Waiting == 0 {
		return nil
	}
	return []render.Fact{
		countFact("Not charged, of any month", c.Quarantined),
		countFact("Of them not yet priced", c.NotYetPriced),
		countFact("Refunds waiting", c.Waiting),
	}
}

func closedBadge(closed bool) render.Badge {
	if closed {
		return render.Badge{Level: render.Good, Text: "closed"}
	}
	return render.Badge{Level: render.Warn, Text: "open"}
}

// monthWord is a period for people: November 2026.
func monthWord(period string) string {
	if t, err := time.Parse("2006-01", period); err == nil {
		return t.Format("January 2006")
	}
	return strings.ReplaceAll(period, "..", " to ")
}

// periodWord names the first and the last day.
func periodWord(start, end time.Time, zone string) string {
	loc := location(zone)
	return start.In(loc).Format("2 Jan 2006") + " to " + end.Add(-time.Millisecond).In(loc).Format("2 Jan 2006")
}

func asOf(t time.Time, zone string) render.Fact {
	text := stamp(t, zone)
	return render.Fact{Label: "As of", Value: text, Figure: render.Figure{Kind: render.Date, Exact: text}}
}

// stamp is an instant for people, in a zone.
func stamp(t time.Time, zone string) string {
	return t.In(location(zone)).Format("2006-01-02 15:04 MST")
}

func location(zone string) *time.Location {
	loc, err := metering.LoadZone(zone)
	if err != nil {
		return time.UTC // it was loaded before
	}
	return loc
}
