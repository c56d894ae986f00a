package ledger

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// RuleKey names a rule of a plan's version, as rows do.
type RuleKey struct {
	Plan          string
	Version, Rule int
}

// String is "plan/version/rule".
func (k RuleKey) String() string {
	return k.Plan + "/" + strconv.Itoa(k.Version) + "/" + strconv.Itoa(k.Rule)
}

// ChargeQuery selects the lines of a month's bill.
type ChargeQuery struct {
	Parent string
	Booked string
	Zone   *time.Location // of the days
	Tags   []string       // keys of tags whose values are told apart
	// Minimums are the rules that have a minimum: what is priced at it is told
	// apart, since no quantity gives it.
	Minimums map[RuleKey]metering.Micros
}

// ChargeLine sums lines that differ in nothing that a price may depend on, so
// that quantity × unit price gives their amount but for rounding.
type ChargeLine struct {
	Account, Day, Period string // day and period of occurred_at
	Kind                 metering.Kind
	Channel, Direction   string
	Country, Network     string
	Category, Unit       string
	Currency             string
	Purse                metering.Purse
	Rule                 RuleKey  // Plan "": came rated
	Tags                 []string // values, as in ChargeQuery.Tags
	Fee                  metering.Micros
	Minimum              bool   // priced at the rule's minimum
	Whole                bool   // a refund of all that its message was charged but the fee
	Ref                  string // of the re-rating that booked it

	Messages      uint64
	Units, Billed decimal.Decimal
	Amount        metering.Sum // a refund's is what it gives back
}

// ChargeLines calls f for each, sorted by account and day.
func (l *Ledger) ChargeLines(ctx context.Context, q ChargeQuery, f func(*ChargeLine) error) error {
	var minimums strings.Builder
	for k, v := range q.Minimums {
		if minimums.Len() > 0 {
			minimums.WriteByte(',')
		}
		minimums.WriteString("'" + k.String() + "':" + strconv.FormatInt(int64(v), 10)) // an id needs no escape
	}
	params := map[string]string{
		"parent": q.Parent, "booked": q.Booked, "zone": q.Zone.String(), "tags": array(q.Tags), "minimums": "{" + minimums.String() + "}",
	}
	return l.each(ctx, "charge_lines", params, func(r driver.Rows) error {
		var x ChargeLine
		var kind, purse string
		var version, rule uint32
		var fee int64
		var minimum, whole uint8
		var amount decimal.Decimal
		err := r.Scan(&x.Account, &x.Day, &x.Period, &kind, &x.Channel, &x.Direction, &x.Country, &x.Network, &x.Category, &x.Unit, &x.Currency,
			&purse, &x.Rule.Plan, &version, &rule, &x.Tags, &fee, &minimum, &whole, &x.Ref, &x.Messages, &x.Units, &x.Billed, &amount)
		if err != nil {
			return err
		}
		if err := sumsOf([]decimal.Decimal{amount}, &x.Amount); err != nil {
			return err
		}
		x.Kind, x.Purse, x.Fee = metering.Kind(kind), metering.Purse(purse), metering.Micros(fee)
		x.Rule.Version, x.Rule.Rule = int(version), int(rule)
		x.Minimum, x.Whole = minimum != 0, whole != 0
		return f(&x)
	})
}

// RulesUsed by the lines of a parent's month.
func (l *Ledger) RulesUsed(ctx context.Context, parent, booked string) ([]RuleKey, error) {
	var out []RuleKey
	err := l.each(ctx, "rules_used", map[string]string{"parent": parent, "booked": booked}, func(r driver.Rows) error {
		var k RuleKey
		var version, rule uint32
		err := r.Scan(&k.Plan, &version, &rule)
		k.Version, k.Rule = int(version), int(rule)
		out = append(out, k)
		return err
	})
	return out, err
}

// changeSlack is how long before it is seen a change may be dated: a mark is
// made before its insert, which may take its bound twice over, and the clocks
// of ClickHouse's nodes differ.
const changeSlack = markDelay + rollSlack

// Watermark is the instant from which ChangedHours must be asked next time, to
// miss nothing of what isn't seen yet.
func (l *Ledger) Watermark(ctx context.Context) (time.Time, error) {
	now, err := l.Now(ctx)
	return now.Add(-changeSlack).UTC(), err
}

// ChangedHours calls f for each local hour of an account of the parent whose rows have
// changed since a watermark.
func (l *Ledger) ChangedHours(ctx context.Context, parent string, since time.Time, f func(AccountHour) error) error {
	return l.each(ctx, "changed_hours", map[string]string{"parent": parent, "since": ms(since)}, func(r driver.Rows) error {
		var h AccountHour
		if err := r.Scan(&h.AccountID, &h.Hour); err != nil {
			return err
		}
		return f(h)
	})
}
