package reports

import (
	"context"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// PreviousMonth is what the bill before a month's came to.
type PreviousMonth struct {
	Period      string `json:"period"`
	Closed      bool   `json:"closed"`
	Records     uint64 `json:"records"`
	Amount      Money  `json:"amount"`
	Refunds     Money  `json:"refunds"`
	Late        Money  `json:"late"`
	Corrections Money  `json:"corrections"`
	Adjustments Money  `json:"adjustments"`
	Billable    Money  `json:"billable"`
	Change      Money  `json:"change"` // from it to this month's billable
}

// owe sets what is payable of a month's statement, and the bill before it. Days are no bill.
func (r *Reporter) owe(ctx context.Context, parent *metering.Account, s *reportPeriod, out *ParentStatement) error {
	if !s.month {
		return nil
	}
	was, err := r.previous(ctx, parent, s, &out.Totals)
	if err != nil {
		return err
	}
	if was.Records > 0 || was.Billable.Sum.Sign() != 0 {
		out.Previous = was
	}
	if parent.Mode == metering.Prepaid { // it pays nothing of this
		return nil
	}
	sum, err := payable(out.Totals.Billable)
	out.Payable = &sum
	return err
}

// previous is the bill before a month's. Its sums are those of its closing, where it is
// closed; what that doesn't tell apart is known from rollups, also when its rows are gone.
func (r *Reporter) previous(ctx context.Context, parent *metering.Account, s *reportPeriod, now *Totals) (*PreviousMonth, error) {
	name := parent.Calendar.Of(s.start.Add(-time.Millisecond)).Name
	p := &PreviousMonth{Period: name}
	for _, m := range []*Money{&p.Amount, &p.Refunds, &p.Late, &p.Corrections, &p.Adjustments, &p.Billable, &p.Change} {
		m.Currency = parent.Currency
	}
	q := ledger.UsageQuery{Parent: parent.ID, Booked: name, By: []ledger.Dimension{ledger.DimPeriod}, Zone: s.zone}
	if err := r.deps.Ledger.Usage(ctx, q, func(u *ledger.UsageLine) error {
		p.Records += u.Records
		p.Corrections.add(u.Adjustments)
		if u.Key(ledger.DimPeriod) != name {
			p.Late.add(u.Net())
			return nil
		}
		p.Amount.add(u.Amount)
		p.Refunds.add(u.Refunds)
		return nil
	}); err != nil {
		return nil, err
	}
	p.Adjustments.Sum = p.Late.Sum.Plus(p.Corrections.Sum)
	closings, err := r.deps.Ledger.Closings(ctx, parent.ID)
	if err != nil {
		return nil, err
	}
	for i := range closings {
		if c := &closings[i]; c.Period == name && c.State == ledger.ClosingDone {
			p.Closed, p.Records, p.Amount.Sum, p.Refunds.Sum, p.Adjustments.Sum = true, c.Records, c.Amount, c.Refunds, c.Adjustments
		}
	}
	p.Billable.Sum = p.Amount.Sum.Minus(p.Refunds.Sum).Plus(p.Adjustments.Sum)
	p.Change.Sum = now.Billable.Sum.Minus(p.Billable.Sum)
	return p, nil
}

// payable is a bill in the currency's own digits, halves away from zero.
func payable(bill Money) (Money, error) {
	sum, err := metering.SumOf(bill.Sum.Decimal().Round(int32(metering.MinorDigits(bill.Currency))))
	return bill.with(sum), err
}

// payableCard is what a controller looks for first.
func (p *ParentStatement) payableCard() render.Card {
	word := "Payable"
	if !p.Closed {
		word = "Payable so far"
	}
	c := p.Payable.card(word)
	if p.Payable.Sum != p.Totals.Billable.Sum {
		c.Hint = render.Group(p.Totals.Billable.String()) + ", rounded"
	}
	return c
}

// bill sets the month beside the one before.
func (p *ParentStatement) bill() render.Section {
	t := render.Table{Caption: "What it is made of", Columns: []render.Column{{Name: "", Kind: render.Text}, {Name: monthWord(p.Period), Kind: render.Money}}}
	minus := func(m Money) Money { return m.with(m.Sum.Neg()) }
	rows := []struct {
		word      string
		now, then Money
	}{
		{"Amount", p.Totals.Amount, Money{}},
		{"Refunded", minus(p.Totals.Refunds), Money{}},
		{"Late", p.Totals.Late, Money{}},
		{"Corrections", p.Totals.Corrections, Money{}},
		{p.billableWord(), p.Totals.Billable, Money{}},
	}
	if was := p.Previous; was != nil {
		t.Columns = append(t.Columns, render.Column{Name: monthWord(was.Period), Kind: render.Money}, render.Column{Name: "Change", Kind: render.Money})
		for i, then := range []Money{was.Amount, minus(was.Refunds), was.Late, was.Corrections, was.Billable} {
			rows[i].then = then
		}
	}
	for i, r := range rows {
		cells := []string{r.word, r.now.String()}
		if p.Previous != nil {
			cells = append(cells, r.then.String(), r.now.with(r.now.Sum.Minus(r.then.Sum)).String())
		}
		t.Rows = append(t.Rows, render.Row{Cells: cells, Total: i == len(rows)-1})
	}
	tables := []render.Table{t}
	if p.Wallet != nil {
		tables = append(tables, p.purseTable())
	}
	return render.Section{Sheet: "Bill", Title: "Bill", Tables: append(tables, p.reratingTable()...)}
}

// purseTable sets the wallet's month, from what it held to what it holds, beside that of
// all budgets: together they paid the bill.
func (p *ParentStatement) purseTable() render.Table {
	t := render.Table{Caption: "Wallet and budgets", Columns: []render.Column{
		{Name: "", Kind: render.Text}, {Name: "Wallet", Kind: render.Money}, {Name: "Budgets", Kind: render.Money}, {Name: "Together", Kind: render.Money},
	}}
	none := p.Wallet.Moved.with(metering.Sum{})
	var budgets [6]metering.Sum
	budgeted := false
	for i := range p.Accounts {
		if b := p.Accounts[i].Budget; b != nil {
			budgeted = true
			for k, m := range b.steps() {
				budgets[k] = budgets[k].Plus(m.Sum)
			}
		}
	}
	words := []string{"Opening balance", "Paid in", "Adjusted", "Allocated, less what came back", "Drawn", "Closing balance"}
	for k, m := range p.Wallet.steps() {
		cells := []string{words[k], m.String()}
		if budgeted {
			cells = append(cells, none.with(budgets[k]).String(), none.with(m.Sum.Plus(budgets[k])).String())
		}
		t.Rows = append(t.Rows, render.Row{Cells: cells, Total: k == len(words)-1})
	}
	if !budgeted {
		t.Caption, t.Columns = "Wallet", t.Columns[:2]
	}
	return t
}

// steps from what a purse held to what it holds.
func (p *Purse) steps() [6]Money {
	return [6]Money{*p.Opening, p.PaidIn, p.Adjusted, p.Allocated, p.Charged.with(p.Charged.Sum.Neg()), *p.Closing}
}

// issuerFacts say who bills.
func issuerFacts(is *metering.Issuer) []render.Fact {
	if is == nil {
		return nil
	}
	facts := []render.Fact{{Label: "Issued by", Value: is.Name}}
	if is.Address != "" {
		facts = append(facts, render.Fact{Label: "Issuer's address", Value: strings.ReplaceAll(is.Address, "\n", ", ")})
	}
	return facts
}

// nameOf an issuer; "": not said.
func nameOf(is *metering.Issuer) string {
	if is == nil {
		return ""
	}
	return is.Name
}
