package finance

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// FOCUSOptions say what meterd can't know.
type FOCUSOptions struct {
	Version       string            `json:"version"`              // FOCUS14, FOCUS12
	Provider      string            `json:"provider"`             // whose service it is: a brand
	InvoiceIssuer string            `json:"invoice_issuer"`       // who invoices; "": the parent's issuer, else the provider
	Categories    map[string]string `json:"categories,omitempty"` // channel → ServiceCategory, where the default doesn't fit
	Tags          []string          `json:"tags,omitempty"`       // keys of the messages' tags that go into Tags
}

// focusMonth is a month with what its rows need.
type focusMonth struct {
	*month
	options *FOCUSOptions
	plans   map[string]*metering.Plan
	write   func(*charge) error

	reasons map[string]string // of re-ratings, by reference

	// rest is what an account's lines came to beyond quantity × price.
	rest        map[restKey]decimal.Decimal
	restAccount string
}

// restMax is how many sums wait for the end of their account: one that has more, by tags,
// has several rows for each.
const restMax = 100_000

// restKey tells apart what is rounded on its own row.
type restKey struct{ period, channel, purse, tags string }

// focus writes a month's rows: its charges by account and day, then what moved
// in and out of the parent's purses.
func (x *Exporter) focus(ctx context.Context, q *Request, mo *month, write func([]any) error, sum *running) error {
	columns := ofVersion(q.FOCUS.Version)
	m := &focusMonth{month: mo, options: &q.FOCUS, plans: x.deps.Snapshot.Plans}
	m.write = func(c *charge) error {
		line := make([]any, len(columns))
		for i := range columns {
			line[i] = columns[i].of(m, c)
		}
		return write(line)
	}
	rules, err := x.deps.Ledger.RulesUsed(ctx, mo.parent.ID, mo.period.Name)
	if err != nil {
		return err
	}
	query := ledger.ChargeQuery{
		Parent: mo.parent.ID, Booked: mo.period.Name, Zone: mo.zone, Tags: q.FOCUS.Tags, Minimums: map[ledger.RuleKey]metering.Micros{},
	}
	for _, k := range rules {
		if r := m.plans[k.Plan].Rule(k.Version, k.Rule); r != nil && r.Minimum > 0 {
			query.Minimums[k] = r.Minimum
		}
	}
	if m.reasons, err = x.deps.Ledger.RerateReasons(ctx, mo.parent.ID); err != nil {
		return err
	}
	if err := x.deps.Ledger.ChargeLines(ctx, query, func(l *ledger.ChargeLine) error {
		l.Day = m.day(l.Period, l.Day)
		if err := m.turn(l.Account); err != nil {
			return err
		}
		sum.line(l)
		return m.line(l)
	}); err != nil {
		return err
	}
	if err := m.turn(""); err != nil {
		return err
	}
	return x.purses(ctx, m, sum)
}

func (s *running) line(l *ledger.ChargeLine) {
	none, net := metering.Sum{}, l.Amount
	var b bill
	switch l.Kind {
	case metering.KindRefund:
		net = net.Neg()
		b = billOf(s.Period, l.Period, 0, none, none, l.Amount, none)
	case metering.KindAdjustment:
		b = billOf(s.Period, l.Period, 0, none, none, none, l.Amount)
	case metering.KindUsage, metering.KindStatus:
		b = billOf(s.Period, l.Period, l.Messages, l.Amount, l.Fee.Sum().Times(l.Messages), none, none)
	}
	s.add(&b)
	if l.Purse == metering.PurseWallet || l.Purse == metering.PurseBudget {
		s.drawn = s.drawn.Plus(net)
	}
}

// Tiers of a SKU's price.
const (
	tierUnit    = ""         // quantity × price of the rule
	tierMinimum = "minimum"  // the rule's minimum, a message
	tierFee     = "fee"      // the rule's fee, a message
	tierRated   = "rated"    // came with its amount: a unit of the currency
	tierPartial = "refunded" // an amount given back that isn't its message's: a unit of the currency
)

// line writes the rows of one line of the bill.
func (m *focusMonth) line(l *ledger.ChargeLine) error {
	if l.Kind == metering.KindAdjustment {
		return m.correction(l)
	}
	rule := m.plans[l.Rule.Plan].Rule(l.Rule.Version, l.Rule.Rule)
	sign := decimal.NewFromInt(1)
	if l.Kind == metering.KindRefund {
		sign = sign.Neg()
	}
	messages := decimal.NewFromUint64(l.Messages)
	c := m.charge(l)
	total := l.Amount.Decimal().Mul(sign)
	var priced decimal.Decimal
	switch {
	case rule == nil || l.Kind == metering.KindRefund && !l.Whole:
		tier := tierRated
		if rule != nil {
			tier = tierPartial
		}
		consumed := l.Units.Mul(sign)
		if l.Kind == metering.KindRefund && !l.Whole { // the message stays consumed
			consumed = decimal.Zero
		}
		priced = m.price(c, l, tier, total, decimal.NewFromInt(1), l.Currency, consumed)
	case l.Minimum:
		priced = m.price(c, l, tierMinimum, messages.Mul(sign), rule.Minimum.Decimal(), unitName("message"), l.Units.Mul(sign))
	default:
		priced = m.price(c, l, tierUnit, l.Billed.Mul(sign), metering.PriceDecimal(rule.Price), unitName(rule.Unit), l.Units.Mul(sign))
	}
	if err := m.write(c); err != nil {
		return err
	}
	if l.Fee != 0 && rule != nil {
		fee := m.charge(l)
		priced = priced.Add(m.price(fee, l, tierFee, messages.Mul(sign), l.Fee.Decimal(), unitName("message"), decimal.Zero))
		fee.messages = 0 // they are counted on the row before
		if err := m.write(fee); err != nil {
			return err
		}
	}
	if d := total.Sub(priced); !d.IsZero() {
		k := restKey{l.Period, l.Channel, string(l.Purse), c.tags}
		m.rest[k] = m.rest[k].Add(d)
	}
	return nil
}

// charge of a line, without its price.
func (m *focusMonth) charge(l *ledger.ChargeLine) *charge {
	c := &charge{
		category: chargeUsage, frequency: frequencyUsage, channel: l.Channel, direction: l.Direction, country: l.Country, network: l.Network,
		messageCategory: l.Category, plan: l.Rule.Plan, version: uint64(l.Rule.Version), rule: uint64(l.Rule.Rule), messages: l.Messages,
		tags: tagsJSON(m.options.Tags, l.Tags),
	}
	if l.Kind != metering.KindUsage {
		c.messages = 0
	}
	m.place(c, l.Account, l.Period, l.Day, l.Purse)
	return c
}

// issuer is who invoices.
func (m *focusMonth) issuer() string {
	name := m.options.InvoiceIssuer
	if is := m.parent.Issuer; name == "" && is != nil {
		name = is.Name
	}
	return cmp.Or(name, m.options.Provider)
}

// place says whose a row is, of when, and from which money.
func (m *focusMonth) place(c *charge, account, period, day string, purse metering.Purse) {
	if account != m.parent.ID {
		c.accountID = account
		if a := m.accounts[account]; a != nil {
			c.accountName = a.Name
		}
		if c.accountName == "" {
			c.accountName = account
		}
	}
	c.funding = string(purse)
	if period != m.period.Name {
		c.class = classCorrection
	}
	c.start, c.end = m.dayBounds(period, day)
}

// dayBounds are a local day as instants, within the month that it is of.
func (m *focusMonth) dayBounds(period, day string) (start, end time.Time) {
	p := m.period
	if period != p.Name {
		if named, err := m.parent.Calendar.Named(period); err == nil {
			p = named
		}
	}
	date, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return p.Start, p.End
	}
	next := date.AddDate(0, 0, 1)
	start = metering.StartOfDay(date.Year(), date.Month(), date.Day(), m.zone)
	end = metering.StartOfDay(next.Year(), next.Month(), next.Day(), m.zone)
	if start.Before(p.Start) {
		start = p.Start
	}
	if end.After(p.End) {
		end = p.End
	}
	if !start.Before(end) {
		return p.Start, p.End
	}
	return start, end
}

// price a row: quantity × price is its cost, exact.
func (m *focusMonth) price(c *charge, l *ledger.ChargeLine, tier string, quantity, price decimal.Decimal, unit string, consumed decimal.Decimal) decimal.Decimal {
	c.quantity, c.price, c.unit = &quantity, &price, unit
	c.consumed, c.consumedUnit = &consumed, unitName(l.Unit)
	if c.consumedUnit == "" {
		c.consumedUnit = unitName("message")
	}
	c.sku = join(l.Channel, l.Direction, l.Country)
	c.skuPrice = join(c.sku, l.Category, l.Network, tier)
	c.meter = render.ChannelName(l.Channel) + " " + l.Direction
	c.skuDetails = skuDetails(tier)
	c.description = describe(l, tier)
	c.cost = quantity.Mul(price)
	m.fund(c, c.cost)
	return c.cost
}

// fund gives a row its accrued cost; what a prepaid purse covers isn't invoiced
// again: its top-up was.
func (m *focusMonth) fund(c *charge, cost decimal.Decimal) {
	c.effective = cost
	if metering.Purse(c.funding) == metering.PurseCredit {
		c.billed = cost
	}
}

// correction is a re-rating's adjustment: money alone.
func (m *focusMonth) correction(l *ledger.ChargeLine) error {
	c := m.charge(l)
	c.category, c.frequency = chargeAdjustment, frequencyOneTime
	c.reference = l.Ref
	c.description = because("Re-rating of "+describe(l, tierUnit), m.reasons[l.Ref])
	c.cost = l.Amount.Decimal()
	m.fund(c, c.cost)
	return m.write(c)
}

// turn writes, when the lines turn to another account, what those before came to beyond
// quantity × price: each message's charge is rounded once. A row is of the whole month that
// they are of.
func (m *focusMonth) turn(account string) error {
	if account == m.restAccount && len(m.rest) < restMax {
		return nil
	}
	for _, k := range sortedRest(m.rest) {
		c := &charge{category: chargeAdjustment, frequency: frequencyOneTime, channel: k.channel, tags: k.tags, description: "Rounding of each message's charge to a millionth"}
		m.place(c, m.restAccount, k.period, "", metering.Purse(k.purse))
		c.cost = m.rest[k]
		m.fund(c, c.cost)
		if err := m.write(c); err != nil {
			return err
		}
	}
	m.rest, m.restAccount = map[restKey]decimal.Decimal{}, account
	return nil
}

func sortedRest(rest map[restKey]decimal.Decimal) []restKey {
	out := make([]restKey, 0, len(rest))
	for k, v := range rest {
		if !v.IsZero() {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b restKey) int {
		return strings.Compare(strings.Join([]string{a.period, a.channel, a.purse, a.tags}, "\x00"), strings.Join([]string{b.period, b.channel, b.purse, b.tags}, "\x00"))
	})
	return out
}

// join puts the parts that there are together with dots.
func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ".")
}

// unitName is a unit as FOCUS writes it: capitalised, plural.
func unitName(unit string) string {
	if unit == "" {
		return ""
	}
	name := strings.ToUpper(unit[:1]) + unit[1:]
	if !strings.HasSuffix(name, "s") {
		name += "s"
	}
	return name
}

func skuDetails(tier string) string {
	if tier == tierUnit {
		tier = "unit"
	}
	return `{"x_Tier":` + strconv.Quote(tier) + `}`
}

// because adds a reason, where there is one.
func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

func describe(l *ledger.ChargeLine, tier string) string {
	s := render.ChannelName(l.Channel) + " " + l.Direction
	if l.Country != "" {
		s += " " + l.Country
	}
	if l.Category != "" {
		s += ", " + l.Category
	}
	switch {
	case l.Kind == metering.KindRefund:
		s += ", refund"
	case tier == tierFee:
		s += ", fee"
	case tier == tierMinimum:
		s += ", at the minimum"
	case tier == tierRated:
		s += ", rated by the channel"
	}
	return s
}

// tagsJSON is a flat object of the tags that have a value; "" if none has.
func tagsJSON(keys, values []string) string {
	tags := map[string]string{}
	for i, k := range keys {
		if i < len(values) && values[i] != "" {
			tags[k] = values[i]
		}
	}
	if len(tags) == 0 {
		return ""
	}
	b, err := json.Marshal(tags)
	if err != nil {
		return "" // strings always marshal
	}
	return string(b)
}

// purses writes top-ups and corrections of a parent's purses, and checks them
// off: what was there and came in, less what was drawn, is left. A parent that
// pays afterwards now may have paid ahead in this month, or still hold a wallet.
func (x *Exporter) purses(ctx context.Context, m *focusMonth, sum *running) error {
	opening, err := x.deps.Ledger.OpeningBalances(ctx, m.parent.ID, m.period.Name)
	if err != nil {
		return err
	}
	var opened, purchased, adjusted metering.Sum
	held := m.parent.Mode == metering.Prepaid || sum.drawn.Sign() != 0
	for _, v := range opening {
		held = held || v != 0
		opened = opened.Plus(v.Sum())
	}
	if err := x.deps.Ledger.ParentTransfers(ctx, ledger.TransferQuery{Parent: m.parent.ID, Booked: m.period.Name}, func(t *ledger.TransferLine) error {
		held = true
		switch metering.TransferKind(t.Kind) {
		case metering.TransferTopup:
			purchased = purchased.Plus(t.Amount.Sum())
		case metering.TransferAdjust:
			adjusted = adjusted.Plus(t.Amount.Sum())
		case metering.TransferAllocate, metering.TransferReclaim, metering.TransferSweep, metering.TransferClose:
			return nil // between purses of the same parent: nobody pays
		}
		return m.write(m.movement(t))
	}); err != nil {
		return err
	}
	if !held {
		return nil
	}
	in := func(v metering.Sum) string { return v.Format(m.parent.Currency) }
	sum.Wallet = &WalletSum{
		Opening: in(opened), Purchased: in(purchased), Adjusted: in(adjusted), Drawn: in(sum.drawn),
		Closing: in(opened.Plus(purchased).Plus(adjusted).Minus(sum.drawn)),
	}
	return nil
}

// movement is a top-up, which is a purchase invoiced at once and used up later,
// or an operator's adjustment, which is billed if the operator said so: a gift costs nothing,
// and what is drawn from it later accrues as any.
func (m *focusMonth) movement(t *ledger.TransferLine) *charge {
	one, value := decimal.NewFromInt(1), t.Amount.Decimal()
	c := &charge{frequency: frequencyOneTime, channel: walletService, reference: t.Ref, moved: &value}
	m.place(c, t.AccountID, m.period.Name, m.parent.Calendar.Day(t.At), metering.Purse(t.Purse))
	if metering.TransferKind(t.Kind) == metering.TransferAdjust {
		c.category, c.description = chargeAdjustment, because("Adjustment of the "+t.Purse+", not invoiced", t.Reason)
		if t.Invoiced {
			c.billed, c.cost, c.description = value, value, because("Adjustment of the "+t.Purse+", invoiced", t.Reason)
		}
		return c
	}
	c.billed, c.cost = value, value
	c.category, c.description = chargePurchase, "Top-up of the wallet"
	c.quantity, c.price, c.unit = &value, &one, t.Currency
	c.sku, c.skuPrice, c.meter, c.skuDetails = "wallet.topup", "wallet.topup", "Money paid in", `{"x_Tier":"topup"}`
	return c
}

// check the options and fill in defaults.
func (o *FOCUSOptions) check() error {
	if o.Version == "" {
		o.Version = FOCUS14
	}
	if o.Version != FOCUS14 && o.Version != FOCUS12 {
		return fmt.Errorf("%w: --focus-version is 1.4 or 1.2", ErrFOCUS)
	}
	if o.Provider == "" {
		o.Provider = "meterd"
	}
	for channel, c := range o.Categories {
		if !slices.Contains(serviceCategories(), c) {
			return fmt.Errorf("%w: %q isn't a ServiceCategory (of channel %s): give one of %s", ErrFOCUS, c, channel, strings.Join(serviceCategories(), ", "))
		}
	}
	return nil
}
