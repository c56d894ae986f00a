package reports

import (
	"context"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// Shared is what an enterprise sub-account reads of a purse that isn't its own.
const Shared = "shared"

// EnterpriseStatement is an enterprise sub-account's report: its own usage,
// prices and deductions, its own budget or limit. It has no field for what is
// its parent's; a shared wallet or the ceiling reads "shared".
type EnterpriseStatement struct {
	Kind    string `json:"kind"`             // "statement"
	Layout  uint64 `json:"layout"`           // that made it
	Number  string `json:"number,omitempty"` // of a month's
	Account string `json:"account"`
	Name    string `json:"name"`
	Heading
	Completeness Completeness `json:"completeness"`
	State        string       `json:"state"`
	Reasons      []string     `json:"reasons"`
	Suspensions  []Suspension `json:"suspensions"`
	Alerts       []Alert      `json:"alerts"` // about its own budget or limit
	Funds        string       `json:"funds"`  // budget or shared
	Budget       *OwnBudget   `json:"budget"` // where it has one of its own
	Limit        *Limit       `json:"limit"`  // its own monthly cap
	Usage
}

// OwnBudget is what a sub-account knows of its budget: what it holds and what
// the period took of it, not how it was filled.
type OwnBudget struct {
	Charged Money  `json:"charged"`
	Balance *Money `json:"balance"` // at the end; null for a report of days
	Share   string `json:"share,omitempty"`
}

// BuildEnterprise makes an enterprise sub-account's statement.
func (r *Reporter) BuildEnterprise(ctx context.Context, a *metering.Account, s *reportPeriod) (*EnterpriseStatement, error) {
	zone := ownZone(a, s)
	s.clamp = a.OwnZone == ""
	list := []*metering.Account{a}
	all, err := r.charges(ctx, list, zone, s)
	if err != nil {
		return nil, err
	}
	c := all[a.ID]
	out := &EnterpriseStatement{
		Kind: "statement", Layout: render.Layout, Number: statementNumber(a, s), Account: a.ID, Name: a.Name,
		Heading: s.heading(zone, a.Currency), Funds: Shared, Usage: c.usage,
	}
	outcomes, err := r.activity(ctx, a.ParentID, []string{a.ID}, zone, s)
	if err != nil {
		return nil, err
	}
	out.Outcomes = append(out.Outcomes, outcomes[a.ID]...)
	states, err := r.states(ctx, a.ParentID, list, s)
	if err != nil {
		return nil, err
	}
	st := states[a.ID]
	out.State = stateOf(a, st, s)
	out.Reasons = metering.VisibleReasons(metering.AudienceEnterprise, st.Own, st.Inherited)
	h, err := r.history(ctx, a.Calendar, []string{a.ID, a.ParentID}, earlier(s.end, s.asOf))
	if err != nil {
		return nil, err
	}
	out.Suspensions = h.suspensions(a, metering.AudienceEnterprise, s)
	alerts, err := r.alerts(ctx, []string{a.ID}, s)
	if err != nil {
		return nil, err
	}
	out.Alerts = append([]Alert{}, alerts[a.ID]...)
	f := &facts{quarantined: map[string]map[metering.Reason]uint64{}, waiting: map[string]uint64{}}
	if err := r.incomplete(ctx, f, []string{a.ID}, s); err != nil {
		return nil, err
	}
	out.Completeness.add(f.quarantined[a.ID], f.waiting[a.ID])
	out.Limit = newLimit(metering.ReasonMonthlyLimit, a.MonthlyLimit, out.Totals.Billable, s)
	if a.Source == metering.SourceAllocated {
		out.Funds = string(metering.PurseBudget)
		out.Budget, err = r.ownBudget(ctx, a, Money{c.purse[metering.PurseBudget], a.Currency}, s)
	}
	return out, err
}

// ownBudget works out what the budget holds.
func (r *Reporter) ownBudget(ctx context.Context, a *metering.Account, charged Money, s *reportPeriod) (*OwnBudget, error) {
	b := &OwnBudget{Charged: charged}
	if !s.month {
		return b, nil
	}
	opening, err := r.deps.Ledger.OpeningBalances(ctx, a.ParentID, s.name)
	if err != nil {
		return nil, err
	}
	there := opening[a.ID].Sum()
	if err := r.deps.Ledger.Transfers(ctx, a.ID, func(t *ledger.TransferLine) error {
		if t.Booked == s.name && t.Purse == string(metering.PurseBudget) {
			there = there.Plus(t.Amount.Sum())
		}
		return nil
	}); err != nil {
		return nil, err
	}
	balance := charged.with(there.Minus(charged.Sum))
	b.Balance = &balance
	if there.Sign() > 0 {
		b.Share = percent(charged.Sum, there)
	}
	return b, nil
}
