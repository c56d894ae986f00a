package reports

import (
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/render"
)

func (w *WalletStatement) baseName() string { return w.Account + "-" + fileSpan(w.Period) + "-wallet" }

func (w *WalletStatement) table() ([]string, [][]string) {
	header := []string{"account", "purse", "day", "at", "kind", "ref", "actor", "reason", "period", "amount", "balance", "currency", "other", "invoiced"}
	var lines [][]string
	for i := range w.Purses {
		p := &w.Purses[i]
		lines = append(lines, []string{p.Account, p.Purse, "", instant(w.Start), "opening", "", "", "", w.Period, "", p.Opening.String(), w.Currency, "", ""})
		for j := range p.Lines {
			l := &p.Lines[j]
			at := ""
			if l.At != nil {
				at = instant(*l.At)
			}
			lines = append(lines, []string{p.Account, p.Purse, l.Day, at, l.Kind, l.Ref, l.Actor, l.Reason, l.Period, l.Amount.String(), l.Balance.String(), w.Currency, l.Other, yesWord(l.Invoiced)})
		}
		lines = append(lines, []string{p.Account, p.Purse, "", instant(earlier(w.End, w.AsOf)), "closing", "", "", "", w.Period, "", p.Closing.String(), w.Currency, "", ""})
	}
	return header, lines
}

func (w *WalletStatement) document() *render.Document {
	d := &render.Document{
		AsOf: w.AsOf, Title: w.Name, Subtitle: "Wallet in " + monthWord(w.Period), Badge: closedBadge(w.Closed),
		Facts: []render.Fact{
			{Label: "Account", Value: w.Account},
			{Label: "Period", Value: periodWord(w.Start, w.End, w.Timezone)},
			{Label: "Time zone", Value: w.Timezone},
			asOf(w.AsOf, w.Timezone),
			{Label: "Currency", Value: w.Currency},
		},
		Currency: w.Currency, Digits: min(metering.MinorDigits(w.Currency), 6),
		Footer: footer("Opening balance and lines add up to the closing balance, to a millionth. Charges are net of refunds."),
	}
	d.Cards = []render.Card{
		w.Purses[0].Opening.card("Wallet at the start"), w.Purses[0].Moved.card("Moved in and out"),
		w.Purses[0].Charged.card("Charged"), w.Purses[0].Closing.card("Wallet at the end"),
	}
	if !w.Closed {
		d.Notes = []render.Note{{Level: render.Plain, Text: "This period is open: figures may still change."}}
	}
	for i := range w.Purses {
		d.Sections = append(d.Sections, w.Purses[i].section(w.Timezone, daysOf(w.Period, w.AsOf, w.Timezone)))
	}
	return d
}

// section of one purse on the page, and its sheet.
func (b *PurseBook) section(zone string, axis []string) render.Section {
	s := render.Section{
		Sheet: b.Account, Title: render.Isolated(b.Name) + " — budget", Subtitle: b.Account, Empty: "Nothing moved in this period.",
		Facts: []render.Fact{
			{Label: "Account", Value: b.Account},
			b.Opening.fact("Opening balance"),
			b.Moved.fact("Moved in and out"),
			b.Charged.fact("Charged"),
			b.Closing.fact("Closing balance"),
		},
	}
	if b.Purse == string(metering.PurseWallet) {
		s.Sheet, s.Title, s.Subtitle = "Wallet", "Wallet", ""
	}
	if len(b.Lines) == 0 {
		return s
	}
	t := render.Table{Caption: "Movements and charges", Columns: []render.Column{
		{Name: "When", Kind: render.Date},
		{Name: "Kind", Kind: render.Text},
		{Name: "Amount", Kind: render.Money},
		{Name: "Balance", Kind: render.Money},
		{Name: "To or from", Kind: render.Text},
		{Name: "Reason", Kind: render.Text},
		{Name: "Reference", Kind: render.Text},
		{Name: "By", Kind: render.Text},
	}}
	balance := render.Chart{Caption: "Balance at the end of each day", Series: []string{"Balance"}}
	for i := range b.Lines {
		l := &b.Lines[i]
		when, kind, other := l.Day, kindWord(l.Kind, l.Invoiced), ""
		if l.At != nil {
			when, other = stamp(*l.At, zone), otherWord(b.Purse, l.Other)
		}
		if l.Period != "" {
			kind += " of " + monthWord(l.Period)
		}
		t.Rows = append(t.Rows, render.Row{Cells: []string{when, kind, l.Amount.String(), l.Balance.String(), other, l.Reason, l.Ref, l.Actor}})
		if l.Day == "" {
			continue
		}
		bar := render.Bar{Label: l.Day, Values: []string{l.Balance.String()}, Text: l.Balance.text()}
		if n := len(balance.Bars); n > 0 && balance.Bars[n-1].Label == l.Day {
			balance.Bars[n-1] = bar
		} else {
			balance.Bars = append(balance.Bars, bar)
		}
	}
	balance.Bars = everyDay(balance.Bars, axis, func(day string, before *render.Bar) render.Bar {
		if before == nil {
			return render.Bar{Label: day, Values: []string{b.Opening.String()}, Text: b.Opening.text()}
		}
		return render.Bar{Label: day, Values: before.Values, Text: before.Text}
	})
	if n := len(balance.Bars); n > 0 && balance.Bars[n-1].Values[0] != b.Closing.String() { // what is of no day of the month
		balance.Bars = append(balance.Bars, render.Bar{Label: "closing", Values: []string{b.Closing.String()}, Text: b.Closing.text()})
	}
	t.Rows = append(t.Rows, render.Row{Cells: []string{"Closing", "", "", b.Closing.String(), "", "", "", ""}, Total: true})
	s.Charts, s.Tables = []render.Chart{balance}, []render.Table{t}
	return s
}
