package reports

import (
	"context"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// Rerating is why a bill has corrections: what one re-rating booked in it for the messages
// of one month.
type Rerating struct {
	Ref         string `json:"ref"`
	Reason      string `json:"reason"`
	Period      string `json:"period"` // of the messages
	Accounts    uint64 `json:"accounts"`
	Messages    uint64 `json:"messages"`
	Corrections Money  `json:"corrections"`
}

// reratings sets those of a month's statement. The rows are only read where there is a
// correction to explain.
func (r *Reporter) reratings(ctx context.Context, parent *metering.Account, s *reportPeriod, out *ParentStatement) error {
	corrected := false
	for i := range out.Accounts {
		for j := range out.Accounts[i].Adjustments {
			corrected = corrected || out.Accounts[i].Adjustments[j].Corrections.Sum.Sign() != 0
		}
	}
	if !s.month || !corrected {
		return nil
	}
	return r.deps.Ledger.Reratings(ctx, parent.ID, s.name, func(x *ledger.Rerating) error {
		out.Reratings = append(out.Reratings, Rerating{
			Ref: x.Ref, Reason: x.Reason, Period: x.Period, Accounts: x.Accounts, Messages: x.Messages, Corrections: Money{x.Amount, parent.Currency},
		})
		return nil
	})
}

// reratingTable is nil where nothing was re-rated.
func (p *ParentStatement) reratingTable() []render.Table {
	if len(p.Reratings) == 0 {
		return nil
	}
	t := render.Table{Caption: "Corrections by re-rating", Columns: []render.Column{
		{Name: "Reference", Kind: render.Text},
		{Name: "Corrections", Kind: render.Money},
		{Name: "Reason", Kind: render.Text},
		{Name: "Messages of", Kind: render.Text},
		{Name: "Messages", Kind: render.Count},
		{Name: "Accounts", Kind: render.Count},
	}}
	sum := p.Totals.Corrections.with(metering.Sum{})
	for i := range p.Reratings {
		x := &p.Reratings[i]
		sum.add(x.Corrections.Sum)
		t.Rows = append(t.Rows, render.Row{Cells: []string{
			x.Ref, x.Corrections.String(), x.Reason, monthWord(x.Period), count(x.Messages), count(x.Accounts),
		}})
	}
	t.Rows = append(t.Rows, render.Row{Cells: []string{"Total", sum.String(), "", "", "", ""}, Total: true})
	return []render.Table{t}
}
