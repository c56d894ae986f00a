package reports

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// Figures are sums over usage records and their refunds.
type Figures struct {
	Records uint64 `json:"records"` // messages
	Amount  Money  `json:"amount"`  // charged, with the fees
	Fees    Money  `json:"fees"`    // the part of amount that is never refunded
	Refunds Money  `json:"refunds"` // given back
	Net     Money  `json:"net"`     // amount − refunds
}

func (f *Figures) add(u *ledger.UsageLine) {
	f.Records += u.Records
	f.Amount.add(u.Amount)
	f.Fees.add(u.Fees)
	f.Refunds.add(u.Refunds)
	f.Net.add(u.Net())
}

func (f *Figures) plus(o *Figures) {
	f.Records += o.Records
	f.Amount.add(o.Amount.Sum)
	f.Fees.add(o.Fees.Sum)
	f.Refunds.add(o.Refunds.Sum)
	f.Net.add(o.Net.Sum)
}

func (f *Figures) in(currency string) {
	f.Amount.Currency, f.Fees.Currency, f.Refunds.Currency, f.Net.Currency = currency, currency, currency, currency
}

// Totals are what a month's bill comes to, in the words of docs/finance.md (What each
// sum is): the figures of the month's own messages, and what is beside them.
type Totals struct {
	Figures
	Booked      uint64 `json:"records"`      // messages in the bill, late ones too: in JSON instead of the figures' own
	LateRecords uint64 `json:"late_records"` // of them, of closed months
	Late        Money  `json:"late"`         // net of what came too late for the bill of its own month
	Corrections Money  `json:"corrections"`  // booked by re-ratings
	Adjustments Money  `json:"adjustments"`  // late + corrections
	Billable    Money  `json:"billable"`     // net + adjustments
}

// Usage is what an account's bill is made of. The lines of each list but
// Outcomes sum to the totals' figures, those of Adjustments to its adjustments and
// late records.
type Usage struct {
	Totals Totals `json:"totals"`
	Cuts
	ByRate      []RateLine       `json:"by_rate"`
	Adjustments []AdjustmentLine `json:"adjustments"`
	Outcomes    []ActivityLine   `json:"outcomes"` // late records of closed months too
}

// ChannelLine is one channel, direction and reported unit.
type ChannelLine struct {
	Channel     string          `json:"channel"`
	Direction   string          `json:"direction"`
	Unit        string          `json:"unit"`
	Units       decimal.Decimal `json:"units"`        // as reported
	BilledUnits decimal.Decimal `json:"billed_units"` // in the rule's unit
	Figures
}

// CountryLine is one destination country, "" where none is known.
type CountryLine struct {
	Country string `json:"country"`
	Figures
}

// CampaignLine is one campaign, by the messages' tag, "" for those without.
type CampaignLine struct {
	Campaign    string          `json:"campaign"`
	BilledUnits decimal.Decimal `json:"billed_units"`
	Figures
}

// DayLine is one local day.
type DayLine struct {
	Day string `json:"day"`
	Figures
}

// RateLine is one rule of a plan's version; without a plan, what came rated.
type RateLine struct {
	Plan        string          `json:"plan"`
	Version     int             `json:"version"`
	Rule        int             `json:"rule"`
	Selects     string          `json:"selects"` // what the rule is for
	Unit        string          `json:"unit"`
	Price       string          `json:"price"` // per unit
	Fee         Money           `json:"fee"`   // per message, never refunded
	BilledUnits decimal.Decimal `json:"billed_units"`
	Figures
}

// AdjustmentLine is what came too late for a closed month, or corrects it.
type AdjustmentLine struct {
	Period string `json:"period"` // the closed month
	Figures
	Corrections Money `json:"corrections"` // booked by a re-rating
	Total       Money `json:"total"`       // net + corrections
}

// charges is what an account's lines came to, and out of which purse.
type charges struct {
	usage Usage
	purse map[metering.Purse]metering.Sum // net, with adjustments
	daily map[chargeOf]metering.Sum       // the same, of each day
}

// chargeOf says what a purse was charged for: a day, or the closed month that
// rows came too late for, or correct.
type chargeOf struct {
	purse     metering.Purse
	day, late string
}

// usageDimensions are those of the one query that all money comes from.
func usageDimensions() []ledger.Dimension {
	return []ledger.Dimension{
		ledger.DimAccount, ledger.DimPeriod, ledger.DimDay, ledger.DimChannel, ledger.DimDirection, ledger.DimCountry,
		ledger.DimUnit, ledger.DimPurse, ledger.DimPlan, ledger.DimPlanVersion, ledger.DimRule,
	}
}

// charges reads the usage of accounts: one query a page of accounts, whose
// lines every list is summed from.
func (r *Reporter) charges(ctx context.Context, accounts []*metering.Account, zone *time.Location, s *reportPeriod) (map[string]*charges, error) {
	out := map[string]*charges{}
	sums := map[string]*sums{}
	for _, a := range accounts {
		sums[a.ID] = newSums(s, a.Currency, r.deps.Snapshot().Plans)
	}
	from, to := s.bounds()
	for page := range slices.Chunk(idsOf(accounts), accountsPage) {
		q := ledger.UsageQuery{
			Parent: accounts[0].Parent(), Accounts: page, From: from, To: to, Booked: s.booked(), By: usageDimensions(), Zone: zone,
		}
		if err := r.deps.Ledger.Usage(ctx, q, func(u *ledger.UsageLine) error {
			sums[u.Key(ledger.DimAccount)].add(u)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	for id, x := range sums {
		out[id] = x.finish()
	}
	return out, r.campaigns(ctx, accounts, s, out)
}

// campaigns adds the lists of campaigns.
func (r *Reporter) campaigns(ctx context.Context, accounts []*metering.Account, s *reportPeriod, to map[string]*charges) error {
	from, till := s.bounds()
	q := ledger.ActivityQuery{Parent: accounts[0].Parent(), Booked: s.booked(), From: from, To: till}
	return perPage(idsOf(accounts), func(page []string) error {
		q.Accounts = page
		return r.deps.Ledger.Campaigns(ctx, q, func(c *ledger.CampaignLine) error {
			u := &to[c.Account].usage
			l := CampaignLine{Campaign: c.Campaign, BilledUnits: c.BilledUnits}
			l.add(&ledger.UsageLine{Records: c.Records, Amount: c.Amount, Fees: c.Fees, Refunds: c.Refunds})
			l.in(u.Totals.Amount.Currency)
			u.ByCampaign = append(u.ByCampaign, l)
			return nil
		})
	})
}

// sums are an account's lists in the making.
type sums struct {
	span     *reportPeriod
	currency string
	plans    map[string]*metering.Plan
	charges  charges
	channels map[channelKey]*ChannelLine
	country  map[string]*CountryLine
	days     map[string]*DayLine
	rates    map[ledger.RatedBy]*RateLine
	adjusted map[string]*AdjustmentLine
}

func newSums(s *reportPeriod, currency string, plans map[string]*metering.Plan) *sums {
	return &sums{
		span: s, currency: currency, plans: plans, charges: charges{purse: map[metering.Purse]metering.Sum{}, daily: map[chargeOf]metering.Sum{}},
		channels: map[channelKey]*ChannelLine{}, country: map[string]*CountryLine{}, days: map[string]*DayLine{},
		rates: map[ledger.RatedBy]*RateLine{}, adjusted: map[string]*AdjustmentLine{},
	}
}

// get finds or makes the element of a map.
func get[K comparable, V any](m map[K]*V, k K, fresh func() V) *V {
	if m[k] == nil {
		v := fresh()
		m[k] = &v
	}
	return m[k]
}

func (x *sums) add(u *ledger.UsageLine) {
	purse, charged := metering.Purse(u.Key(ledger.DimPurse)), u.Net().Plus(u.Adjustments)
	x.charges.purse[purse] = x.charges.purse[purse].Plus(charged)
	period := u.Key(ledger.DimPeriod)
	late := x.span.month && period != x.span.name
	day := x.day(u.Key(ledger.DimDay))
	of := chargeOf{purse: purse}
	if late {
		of.late = period
	} else {
		of.day = day
	}
	x.charges.daily[of] = x.charges.daily[of].Plus(charged)
	if late || u.Adjustments.Sign() != 0 {
		l := get(x.adjusted, period, func() AdjustmentLine { return AdjustmentLine{Period: period} })
		if late {
			l.add(u)
		}
		l.Corrections.add(u.Adjustments)
	}
	if late || u.Records == 0 && u.Amount.Sign() == 0 && u.Refunds.Sign() == 0 {
		return
	}
	x.charges.usage.Totals.add(u)
	channel := channelKey{u.Key(ledger.DimChannel), u.Key(ledger.DimDirection), u.Key(ledger.DimUnit)}
	c := get(x.channels, channel, func() ChannelLine {
		return ChannelLine{Channel: channel[0], Direction: channel[1], Unit: channel[2]}
	})
	c.Units, c.BilledUnits = c.Units.Add(u.Units), c.BilledUnits.Add(u.BilledUnits)
	c.add(u)
	country := u.Key(ledger.DimCountry)
	get(x.country, country, func() CountryLine { return CountryLine{Country: country} }).add(u)
	get(x.days, day, func() DayLine { return DayLine{Day: day} }).add(u)
	rate := get(x.rates, u.RatedBy(), func() RateLine { return x.rate(u.RatedBy()) })
	rate.BilledUnits = rate.BilledUnits.Add(u.BilledUnits)
	rate.add(u)
}

// day of a month's record: a month has no days but its own, also where its
// zone lies west of the one before (metering.Calendar.Day).
func (x *sums) day(day string) string {
	if first := x.span.name + "-01"; x.span.month && day < first && x.span.clamp {
		return first
	}
	return day
}

// rate describes the rule that a line was rated by.
func (x *sums) rate(of ledger.RatedBy) RateLine {
	l := RateLine{Plan: of.Plan, Version: of.Version, Rule: of.Rule}
	rule := x.plans[l.Plan].Rule(l.Version, l.Rule)
	if rule == nil {
		return l
	}
	var parts []string
	for _, s := range []string{rule.Channel, rule.Direction, rule.Country, rule.Network, rule.Category} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if rule.Prefix != "" {
		parts = append(parts, "+"+rule.Prefix)
	}
	l.Selects, l.Unit, l.Price, l.Fee.Sum = strings.Join(parts, " "), rule.Unit, priceText(rule.Price), rule.Fee.Sum()
	return l
}

// priceText is a price of hundred-millionths.
func priceText(price int64) string { return metering.PriceDecimal(price).String() }

// finish sorts the lists and gives every amount its currency.
func (x *sums) finish() *charges {
	u := &x.charges.usage
	u.Cuts = cutsFrom(x.channels, x.country, x.days)
	u.ByRate = sorted(x.rates, func(a, b RateLine) int {
		return cmp.Or(strings.Compare(a.Plan, b.Plan), a.Version-b.Version, a.Rule-b.Rule)
	})
	u.Adjustments = sorted(x.adjusted, func(a, b AdjustmentLine) int { return strings.Compare(a.Period, b.Period) })
	for i := range u.Adjustments {
		l := &u.Adjustments[i]
		l.Total.Sum = l.Net.Sum.Plus(l.Corrections.Sum)
		u.Totals.LateRecords += l.Records
		u.Totals.Late.add(l.Net.Sum)
		u.Totals.Corrections.add(l.Corrections.Sum)
	}
	t := &u.Totals
	t.Booked = t.Records + t.LateRecords
	t.Adjustments.Sum = t.Late.Sum.Plus(t.Corrections.Sum)
	t.Billable.Sum = t.Net.Sum.Plus(t.Adjustments.Sum)
	u.Outcomes = []ActivityLine{}
	u.in(x.currency)
	return &x.charges
}

// in gives every amount its currency.
func (u *Usage) in(currency string) {
	u.Totals.in(currency)
	u.Cuts.in(currency)
	for i := range u.ByRate {
		u.ByRate[i].in(currency)
		u.ByRate[i].Fee.Currency = currency
	}
	for i := range u.Adjustments {
		l := &u.Adjustments[i]
		l.in(currency)
		l.Corrections.Currency, l.Total.Currency = currency, currency
	}
}

func (t *Totals) in(currency string) {
	t.Figures.in(currency)
	for _, m := range []*Money{&t.Late, &t.Corrections, &t.Adjustments, &t.Billable} {
		m.Currency = currency
	}
}

func (t *Totals) plus(o *Totals) {
	t.Figures.plus(&o.Figures)
	t.Booked += o.Booked
	t.LateRecords += o.LateRecords
	t.Late.add(o.Late.Sum)
	t.Corrections.add(o.Corrections.Sum)
	t.Adjustments.add(o.Adjustments.Sum)
	t.Billable.add(o.Billable.Sum)
}

// sorted are the values of a map in an order.
func sorted[K comparable, V any](m map[K]*V, order func(a, b V) int) []V {
	out := make([]V, 0, len(m))
	for _, v := range m {
		out = append(out, *v)
	}
	slices.SortFunc(out, order)
	return out
}
