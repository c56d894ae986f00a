package reports

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// footer of a document says its layout.
func footer(text string) string {
	return strings.TrimSpace(text + " Layout " + strconv.Itoa(render.Layout) + ".")
}

// Statement is a report, made for one audience.
type Statement interface {
	baseName() string // of its files, without a format
	closed() bool     // its month was closed
	table() (header []string, lines [][]string)
	document() *render.Document
}

// ParentStatement is a parent's report in full.
type ParentStatement struct {
	Kind    string           `json:"kind"`             // "statement"
	Layout  uint64           `json:"layout"`           // that made it
	Number  string           `json:"number,omitempty"` // of a month's; days are no bill
	Issuer  *metering.Issuer `json:"issuer"`           // who bills; null: not said
	Account string           `json:"account"`
	Name    string           `json:"name"`
	Module  string           `json:"module"`
	Heading
	Completeness Completeness   `json:"completeness"`
	Funding      string         `json:"funding"`   // prepaid or postpaid
	Wallet       *Purse         `json:"wallet"`    // prepaid, and while one that was holds or moves anything
	Ceiling      *Limit         `json:"ceiling"`   // postpaid, where there is one
	Totals       Totals         `json:"totals"`    // the sum of the accounts'
	Payable      *Money         `json:"payable"`   // of a postpaid parent's month, in the currency's own digits
	Previous     *PreviousMonth `json:"previous"`  // null: there is none, or it is of days
	Reratings    []Rerating     `json:"reratings"` // that booked the month's corrections; none of days
	Cuts                        // of the totals
	Accounts     []Section      `json:"accounts"`
}

// Completeness says what isn't in the figures.
type Completeness struct {
	Quarantined  uint64            `json:"quarantined"`    // open entries
	NotYetPriced uint64            `json:"not_yet_priced"` // of them, for want of a price
	Reasons      map[string]uint64 `json:"reasons"`
	Waiting      uint64            `json:"waiting"` // refunds that wait for their message
}

func (c *Completeness) add(reasons map[metering.Reason]uint64, waiting uint64) {
	if c.Reasons == nil {
		c.Reasons = map[string]uint64{}
	}
	for r, n := range reasons {
		c.Quarantined += n
		c.Reasons[string(r)] += n
		if r == metering.ReasonNoPrice || r == metering.ReasonUnitMismatch || r == metering.ReasonCurrencyMismatch {
			c.NotYetPriced += n
		}
	}
	c.Waiting += waiting
}

// Section is the dedicated view of one account: a sub-account, or the parent's
// own traffic.
type Section struct {
	Account      string       `json:"account"`
	Name         string       `json:"name"`
	Module       string       `json:"module"`
	Source       string       `json:"source"` // what its records draw on
	State        string       `json:"state"`
	Reasons      []string     `json:"reasons"`
	Suspensions  []Suspension `json:"suspensions"`
	Alerts       []Alert      `json:"alerts"` // that were raised about it
	Limit        *Limit       `json:"limit"`  // its own monthly cap
	Budget       *Purse       `json:"budget"` // where it has one
	Completeness Completeness `json:"completeness"`
	Usage
}

// Limit of a month, and how much of it is used.
type Limit struct {
	Kind  string `json:"kind"` // monthly_limit or credit_ceiling
	Limit Money  `json:"limit"`
	Used  Money  `json:"used"`
	Share string `json:"share"` // percent
}

func newLimit(kind string, limit *metering.Micros, used Money, s *reportPeriod) *Limit {
	if limit == nil || !s.month {
		return nil
	}
	return &Limit{Kind: kind, Limit: used.with(limit.Sum()), Used: used, Share: percent(used.Sum, limit.Sum())}
}

// Heading is what each statement with money says of itself, in this order.
type Heading struct {
	Timezone string    `json:"timezone"`
	Currency string    `json:"currency"`
	Period   string    `json:"period"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	AsOf     time.Time `json:"as_of"`
	Closed   bool      `json:"closed"` // the month is: nothing in it changes any more
}

func (s *reportPeriod) heading(zone *time.Location, currency string) Heading {
	return Heading{Timezone: zone.String(), Currency: currency, Period: s.name, Start: s.start, End: s.end, AsOf: s.asOf, Closed: s.closed}
}

// Purse is a wallet or a budget over a month: opening + moved − charged =
// closing. A report of days has the movements only.
type Purse struct {
	Opening   *Money     `json:"opening"`
	PaidIn    Money      `json:"paid_in"`
	Adjusted  Money      `json:"adjusted"`  // by the operator, signed
	Allocated Money      `json:"allocated"` // from the wallet to budgets: below 0 where it left this purse
	Moved     Money      `json:"moved"`     // the sum of these three, and of the movements
	Charged   Money      `json:"charged"`   // net of refunds, with adjustments, whoever drew on it
	Closing   *Money     `json:"closing"`
	Share     string     `json:"share,omitempty"` // percent charged of what was there: opening and moved
	Movements []Movement `json:"movements"`
}

// Movement is one transfer, seen from a purse.
type Movement struct {
	At       time.Time `json:"at"`
	Ref      string    `json:"ref"`
	Kind     string    `json:"kind"`
	Purse    string    `json:"purse"`
	Other    string    `json:"other,omitempty"` // whose purse is the other side; "": the world outside
	Amount   Money     `json:"amount"`          // signed
	Actor    string    `json:"actor"`
	Reason   string    `json:"reason,omitempty"`
	Invoiced bool      `json:"invoiced,omitempty"` // an adjustment that is on an invoice
}

// BuildParent makes a parent's statement in full.
func (r *Reporter) BuildParent(ctx context.Context, parent *metering.Account, s *reportPeriod) (*ParentStatement, error) {
	s.clamp = true
	f, err := r.gather(ctx, parent, s)
	if err != nil {
		return nil, err
	}
	out := &ParentStatement{
		Kind: "statement", Layout: render.Layout, Number: statementNumber(parent, s), Issuer: parent.Issuer, Account: parent.ID, Name: parent.Name, Module: string(parent.Module),
		Heading: s.heading(s.zone, parent.Currency), Funding: string(parent.Mode), Accounts: []Section{}, Reratings: []Rerating{},
	}
	out.Totals.in(parent.Currency)
	out.Completeness.add(nil, 0)
	fromWallet := metering.Sum{}
	usages := make([]*Usage, 0, len(f.accounts))
	for _, a := range f.accounts {
		c := f.charges[a.ID]
		usages = append(usages, &c.usage)
		out.Totals.plus(&c.usage.Totals)
		out.Completeness.add(f.quarantined[a.ID], f.waiting[a.ID])
		fromWallet = fromWallet.Plus(c.purse[metering.PurseWallet])
		if sec := f.section(a, s); !outsidePeriod(a, s) || sec.Totals.Booked > 0 || sec.Totals.Billable.Sum.Sign() != 0 {
			out.Accounts = append(out.Accounts, *sec)
		}
	}
	out.Cuts = cutsOf(usages, parent.Currency)
	if w := f.purse(parent.ID, metering.PurseWallet, Money{fromWallet, parent.Currency}, s); parent.Mode == metering.Prepaid || w.used() {
		out.Wallet = w
	}
	if err := r.owe(ctx, parent, s, out); err != nil {
		return nil, err
	}
	if err := r.reratings(ctx, parent, s, out); err != nil {
		return nil, err
	}
	if parent.Mode != metering.Prepaid {
		out.Ceiling = newLimit(metering.ReasonCreditCeiling, parent.CreditLimit, out.Totals.Billable, s)
	}
	return out, nil
}

// statementNumber names a month's statement, open or closed; "" for days.
func statementNumber(a *metering.Account, s *reportPeriod) string {
	if !s.month {
		return ""
	}
	return a.ID + "-" + s.name
}

// facts is all that a parent's statement is made of.
type facts struct {
	accounts    []*metering.Account // the parent first
	charges     map[string]*charges
	outcomes    map[string][]ActivityLine
	states      map[string]AccountState
	history     history
	alerts      map[string][]Alert
	quarantined map[string]map[metering.Reason]uint64
	waiting     map[string]uint64
	opening     map[string]metering.Micros
	movements   map[string][]ledger.TransferLine
}

func (r *Reporter) gather(ctx context.Context, parent *metering.Account, s *reportPeriod) (*facts, error) {
	f := &facts{
		accounts: s.family(parent.ID), quarantined: map[string]map[metering.Reason]uint64{}, waiting: map[string]uint64{}, movements: map[string][]ledger.TransferLine{},
	}
	var err error
	ids := idsOf(f.accounts)
	if f.charges, err = r.charges(ctx, f.accounts, s.zone, s); err != nil {
		return nil, err
	}
	if f.outcomes, err = r.activity(ctx, parent.ID, ids, s.zone, s); err != nil {
		return nil, err
	}
	if f.states, err = r.states(ctx, parent.ID, f.accounts, s); err != nil {
		return nil, err
	}
	if f.history, err = r.history(ctx, parent.Calendar, ids, earlier(s.end, s.asOf)); err != nil {
		return nil, err
	}
	if f.alerts, err = r.alerts(ctx, ids, s); err != nil {
		return nil, err
	}
	if err = perPage(ids, func(page []string) error { return r.incomplete(ctx, f, page, s) }); err != nil {
		return nil, err
	}
	return f, r.purses(ctx, f, parent, s)
}

// purses reads what the purses held when a month began, and what moved in them.
func (r *Reporter) purses(ctx context.Context, f *facts, parent *metering.Account, s *reportPeriod) (err error) {
	if s.month {
		if f.opening, err = r.deps.Ledger.OpeningBalances(ctx, parent.ID, s.name); err != nil {
			return err
		}
	}
	from, to := s.bounds()
	return r.deps.Ledger.ParentTransfers(ctx, ledger.TransferQuery{Parent: parent.ID, Booked: s.booked(), From: from, To: to}, func(t *ledger.TransferLine) error {
		f.movements[t.AccountID] = append(f.movements[t.AccountID], *t)
		return nil
	})
}

// incomplete adds what a page of accounts has in quarantine or waiting.
func (r *Reporter) incomplete(ctx context.Context, f *facts, page []string, s *reportPeriod) error {
	if s.closed {
		maps.Copy(f.quarantined, s.fixed.Frozen.Quarantined)
		maps.Copy(f.waiting, s.fixed.Frozen.Waiting)
		return nil
	}
	quarantined, err := r.deps.Ledger.QuarantinedAt(ctx, page, s.asOf)
	if err != nil {
		return err
	}
	waiting, err := r.deps.Ledger.WaitingAt(ctx, page, s.asOf)
	if err != nil {
		return err
	}
	maps.Copy(f.quarantined, quarantined)
	maps.Copy(f.waiting, waiting)
	return nil
}

// section of one account.
func (f *facts) section(a *metering.Account, s *reportPeriod) *Section {
	c := f.charges[a.ID]
	st := f.states[a.ID]
	sec := &Section{
		Account: a.ID, Name: a.Name, Module: string(a.Module), Source: string(a.Source), State: stateOf(a, st, s),
		Reasons:     metering.VisibleReasons(metering.AudienceParent, st.Own, st.Inherited),
		Suspensions: f.history.suspensions(a, metering.AudienceParent, s), Alerts: append([]Alert{}, f.alerts[a.ID]...), Usage: c.usage,
	}
	sec.Outcomes = append(sec.Outcomes, f.outcomes[a.ID]...)
	sec.Completeness.add(f.quarantined[a.ID], f.waiting[a.ID])
	sec.Limit = newLimit(metering.ReasonMonthlyLimit, a.MonthlyLimit, c.usage.Totals.Billable, s)
	if !a.IsParent() {
		b := f.purse(a.ID, metering.PurseBudget, Money{c.purse[metering.PurseBudget], a.Currency}, s)
		if a.Source == metering.SourceAllocated || b.used() {
			sec.Budget = b
		}
	}
	return sec
}

func stateOf(a *metering.Account, st AccountState, s *reportPeriod) string {
	switch {
	case a.ClosedAt != nil && !a.ClosedAt.After(s.asOf):
		return string(metering.StateClosed)
	case st.suspended():
		return string(metering.StateSuspended)
	default:
		return string(metering.StateActive)
	}
}

// purse of an account, with what was charged to it.
func (f *facts) purse(id string, kind metering.Purse, charged Money, s *reportPeriod) *Purse {
	none := charged.with(metering.Sum{})
	p := &Purse{PaidIn: none, Adjusted: none, Allocated: none, Moved: none, Charged: charged, Movements: []Movement{}}
	for _, t := range f.movements[id] {
		if t.Purse != string(kind) {
			continue
		}
		p.moved(metering.TransferKind(t.Kind)).add(t.Amount.Sum())
		p.Moved.add(t.Amount.Sum())
		p.Movements = append(p.Movements, Movement{
			At: t.At.UTC(), Ref: t.Ref, Kind: t.Kind, Purse: t.Purse, Other: t.Other, Amount: charged.with(t.Amount.Sum()),
			Actor: t.Actor, Reason: t.Reason, Invoiced: t.Invoiced,
		})
	}
	if !s.month {
		return p
	}
	opening := charged.with(f.opening[id].Sum())
	closing := charged.with(opening.Sum.Plus(p.Moved.Sum).Minus(charged.Sum))
	p.Opening, p.Closing = &opening, &closing
	if there := closing.Sum.Plus(charged.Sum); there.Sign() > 0 {
		p.Share = percent(charged.Sum, there)
	}
	return p
}

// moved is the sum that a kind of transfer is in.
func (p *Purse) moved(k metering.TransferKind) *Money {
	switch k {
	case metering.TransferTopup:
		return &p.PaidIn
	case metering.TransferAdjust:
		return &p.Adjusted
	case metering.TransferAllocate, metering.TransferReclaim, metering.TransferSweep, metering.TransferClose:
	}
	return &p.Allocated
}

// used tells whether a purse holds, moved or paid anything: an account that draws
// on another now may have left one.
func (p *Purse) used() bool {
	return len(p.Movements) > 0 || p.Charged.Sum.Sign() != 0 || p.Opening != nil && p.Opening.Sum.Sign() != 0
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
