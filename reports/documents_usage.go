package reports

import (
	"slices"
	"strconv"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/render"
)

func figureColumns() []render.Column {
	return []render.Column{
		{Name: "Messages", Kind: render.Count},
		{Name: "Amount", Kind: render.Money},
		{Name: "Non-refundable fees", Kind: render.Money},
		{Name: "Refunded", Kind: render.Money},
		{Name: "Net", Kind: render.Money},
	}
}

func (f *Figures) cells() []string {
	return []string{count(f.Records), f.Amount.String(), f.Fees.String(), f.Refunds.String(), f.Net.String()}
}

func (t *Totals) facts(billableWord string) []render.Fact {
	out := []render.Fact{
		countFact("Messages", t.Booked), t.Amount.fact("Amount"), t.Refunds.fact("Refunded"),
	}
	if t.LateRecords > 0 || t.Late.Sum.Sign() != 0 {
		out = append(out, t.Late.fact("Late, of closed months"))
	}
	if t.Corrections.Sum.Sign() != 0 {
		out = append(out, t.Corrections.fact("Corrections of prices"))
	}
	return append(out, t.Billable.fact(billableWord))
}

// charts of an account's usage, on an axis of days.
func (u *Usage) charts(axis []string) []render.Chart {
	if u.Totals.Records == 0 {
		return nil
	}
	days := render.Chart{Caption: "Net amount by day", Series: []string{"Net"}}
	for i := range u.ByDay {
		l := &u.ByDay[i]
		days.Bars = append(days.Bars, render.Bar{Label: l.Day, Values: []string{l.Net.String()}, Text: l.Net.text()})
	}
	days.Bars = everyDay(days.Bars, axis, none(1, u.Totals.Net.with(metering.Sum{}).text()))
	countries := render.Chart{Caption: "Net amount by country", Series: []string{"Net"}, Rows: true}
	list := slices.Clone(u.ByCountry)
	slices.SortStableFunc(list, func(a, b CountryLine) int { return b.Net.Sum.Cmp(a.Net.Sum) })
	for i := range list {
		if l := &list[i]; len(countries.Bars) < topBars && l.Net.Sum.Sign() != 0 {
			countries.Bars = append(countries.Bars, render.Bar{Label: countryWord(l.Country), Values: []string{l.Net.String()}, Text: l.Net.text()})
		}
	}
	return []render.Chart{days, countries}
}

func countryWord(c string) string {
	if c == "" {
		return "unknown"
	}
	return c
}

// tables of an account's usage in a period.
func (u *Usage) tables(period string) []render.Table {
	if u.Totals.Records == 0 && u.Totals.Billable.Sum.Sign() == 0 && len(u.Adjustments) == 0 {
		return nil
	}
	out := append(u.Cuts.tables(&u.Totals), u.rateTable())
	if len(u.Adjustments) > 0 {
		out = append(out, u.adjustmentTable())
	}
	return append(out, outcomeTables("Delivery by day", period, u.Outcomes)...)
}

// tables of figures, each with their totals.
func (c *Cuts) tables(of *Totals) []render.Table {
	total := of.cells()
	channels := render.Table{Caption: "By channel", Columns: append([]render.Column{
		{Name: "Channel", Kind: render.Text},
		{Name: "Direction", Kind: render.Text},
		{Name: "Unit", Kind: render.Text},
		{Name: "Units", Kind: render.Number},
		{Name: "Units charged", Kind: render.Number},
	}, figureColumns()...)}
	for i := range c.ByChannel {
		l := &c.ByChannel[i]
		channels.Rows = append(channels.Rows, render.Row{Cells: append([]string{l.Channel, l.Direction, l.Unit, l.Units.String(), l.BilledUnits.String()}, l.cells()...)})
	}
	channels.Rows = append(channels.Rows, render.Row{Cells: append([]string{"Total", "", "", "", ""}, total...), Total: true})

	countries := render.Table{Caption: "By destination country", Columns: append([]render.Column{{Name: "Country", Kind: render.Text}}, figureColumns()...)}
	for i := range c.ByCountry {
		l := &c.ByCountry[i]
		countries.Rows = append(countries.Rows, render.Row{Cells: append([]string{countryWord(l.Country)}, l.cells()...)})
	}
	countries.Rows = append(countries.Rows, render.Row{Cells: append([]string{"Total"}, total...), Total: true})

	days := render.Table{Caption: "By day", Columns: append([]render.Column{{Name: "Day", Kind: render.Date}}, figureColumns()...)}
	for i := range c.ByDay {
		days.Rows = append(days.Rows, render.Row{Cells: append([]string{c.ByDay[i].Day}, c.ByDay[i].cells()...)})
	}
	days.Rows = append(days.Rows, render.Row{Cells: append([]string{"Total"}, total...), Total: true})

	out := []render.Table{channels, countries}
	if len(c.ByCampaign) > 0 {
		out = append(out, c.campaignTable(total))
	}
	return append(out, days)
}

func (c *Cuts) campaignTable(total []string) render.Table {
	t := render.Table{Caption: "By campaign", Columns: append([]render.Column{
		{Name: "Campaign", Kind: render.Text}, {Name: "Units charged", Kind: render.Number},
	}, figureColumns()...)}
	for i := range c.ByCampaign {
		l := &c.ByCampaign[i]
		name := l.Campaign
		if name == "" {
			name = "none"
		}
		t.Rows = append(t.Rows, render.Row{Cells: append([]string{name, l.BilledUnits.String()}, l.cells()...)})
	}
	t.Rows = append(t.Rows, render.Row{Cells: append([]string{"Total", ""}, total...), Total: true})
	return t
}

func alertTables(list []Alert, zone string) []render.Table {
	if len(list) == 0 {
		return nil
	}
	t := render.Table{Caption: "Alerts", Columns: []render.Column{
		{Name: "When", Kind: render.Date}, {Name: "Of", Kind: render.Text}, {Name: "Used", Kind: render.Percent},
	}}
	for _, a := range list {
		t.Rows = append(t.Rows, render.Row{Cells: []string{stamp(a.At, zone), limitWord(a.Limit), strconv.Itoa(a.Share)}})
	}
	return []render.Table{t}
}

func (u *Usage) rateTable() render.Table {
	t := render.Table{Caption: "By price", Columns: append([]render.Column{
		{Name: "Plan", Kind: render.Text},
		{Name: "Version", Kind: render.Count},
		{Name: "Rule", Kind: render.Count},
		{Name: "For", Kind: render.Text},
		{Name: "Unit", Kind: render.Text},
		{Name: "Price", Kind: render.Number},
		{Name: "Fee", Kind: render.Money},
		{Name: "Units charged", Kind: render.Number},
	}, figureColumns()...)}
	for i := range u.ByRate {
		l := &u.ByRate[i]
		cells := []string{l.Plan, strconv.Itoa(l.Version), strconv.Itoa(l.Rule), l.Selects, l.Unit, l.Price, l.Fee.String(), l.BilledUnits.String()}
		if l.Plan == "" {
			cells = []string{"came rated", "", "", "", "", "", "", l.BilledUnits.String()}
		}
		t.Rows = append(t.Rows, render.Row{Cells: append(cells, l.cells()...)})
	}
	t.Rows = append(t.Rows, render.Row{Cells: append([]string{"Total", "", "", "", "", "", "", ""}, u.Totals.cells()...), Total: true})
	return t
}

func (u *Usage) adjustmentTable() render.Table {
	t := render.Table{Caption: "Late messages and corrections", Columns: append(append([]render.Column{{Name: "Month", Kind: render.Text}}, figureColumns()...),
		render.Column{Name: "Corrections", Kind: render.Money}, render.Column{Name: "Total", Kind: render.Money})}
	for i := range u.Adjustments {
		l := &u.Adjustments[i]
		t.Rows = append(t.Rows, render.Row{Cells: append(append([]string{l.Period}, l.cells()...), l.Corrections.String(), l.Total.String())})
	}
	t.Rows = append(t.Rows, render.Row{Cells: []string{
		"Total", count(u.Totals.LateRecords), "", "", "", u.Totals.Late.String(), u.Totals.Corrections.String(), u.Totals.Adjustments.String(),
	}, Total: true})
	return t
}

func suspensionTables(list []Suspension, zone string, full bool) []render.Table {
	if len(list) == 0 {
		return nil
	}
	t := render.Table{Caption: "Suspensions", Columns: []render.Column{
		{Name: "From", Kind: render.Date}, {Name: "Until", Kind: render.Date}, {Name: "Reasons", Kind: render.Text},
	}}
	if full {
		t.Columns = append(t.Columns, render.Column{Name: "By", Kind: render.Text}, render.Column{Name: "Note", Kind: render.Text})
	}
	for _, s := range list {
		until := "still"
		if s.Until != nil {
			until = stamp(*s.Until, zone)
		}
		cells := []string{stamp(s.From, zone), until, reasonWords(s.Reasons)}
		if full {
			cells = append(cells, s.Actor, s.Note)
		}
		t.Rows = append(t.Rows, render.Row{Cells: cells})
	}
	return []render.Table{t}
}
