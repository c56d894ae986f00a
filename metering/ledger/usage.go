package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/sql"
)

// UsageQuery selects and groups usage.
type UsageQuery struct {
	// Parent whose accounts are read; "" is every parent's.
	Parent string
	// Accounts narrows them down. Empty: the parent and all its subs.
	Accounts []string
	// From and To bound occurred_at, [From, To). Zero: unbounded.
	From, To time.Time
	// Booked takes only rows that are in this period's bill. "": any.
	Booked string
	// By is what lines are grouped by. None: one line for each currency.
	By []Dimension
	// Zone of months, days and hours. Nil: UTC.
	Zone *time.Location
	// OnRows, unless nil, is called where rows alone answer, rollups can't: rows that
	// are past their retention count in rollups only.
	OnRows func()
}

// UsageLine is one group.
//
// Each row counts where its own columns put it: a refund in the day, month or
// hour of its own occurred_at, and in the channel, direction, country, network
// and category that were copied from its message. Only a status is looked up:
// a refund's is the latest of its message.
type UsageLine struct {
	Keys        []string        // as in UsageQuery.By; "" where there is no value
	Records     uint64          // of kind usage
	Units       decimal.Decimal // as reported, of kind usage
	BilledUnits decimal.Decimal
	Amount      metering.Sum // gross, of kind usage; with the fees
	Refunds     metering.Sum // ≥ 0
	Fees        metering.Sum // the part of Amount that is never refunded
	Adjustments metering.Sum // signed, of kind adjustment; not in Amount
	Currency    string

	by    []Dimension
	rated RatedBy
}

// RatedBy is what priced a record: a plan's version and its rule, from 1; zero where it
// came with its amount.
type RatedBy struct {
	Plan          string
	Version, Rule int
}

// Key is the line's value of a dimension; "" where it has none, or wasn't asked by it.
func (u *UsageLine) Key(d Dimension) string {
	if i := slices.Index(u.by, d); i >= 0 {
		return u.Keys[i]
	}
	return ""
}

// RatedBy is what priced the line, as far as it was asked by plan, version and rule.
func (u *UsageLine) RatedBy() RatedBy { return u.rated }

// Net is what is left after refunds.
func (u *UsageLine) Net() metering.Sum { return u.Amount.Minus(u.Refunds) }

// Add another line's figures; the keys stay.
func (u *UsageLine) Add(o *UsageLine) {
	u.Records += o.Records
	u.Units, u.BilledUnits = u.Units.Add(o.Units), u.BilledUnits.Add(o.BilledUnits)
	u.Amount, u.Refunds, u.Fees, u.Adjustments = u.Amount.Plus(o.Amount), u.Refunds.Plus(o.Refunds), u.Fees.Plus(o.Fees), u.Adjustments.Plus(o.Adjustments)
	u.Currency = o.Currency
}

// statusSlack is how long before its message a status may be dated and still
// be one of its statuses: the clocks of two senders differ.
const statusSlack = 24 * time.Hour

// Bounds of DateTime64(3), in ms, for a side that is unbounded.
const (
	earliest = 0
	latest   = 10_413_791_999_999 // the end of 2299
)

// Usage calls f for each group, sorted by the keys, then the currency.
func (l *Ledger) Usage(ctx context.Context, q UsageQuery, f func(*UsageLine) error) error {
	if err := checkDimensions(q.By); err != nil {
		return err
	}
	params, err := l.usageParams(ctx, &q)
	if err != nil {
		return err
	}
	if done, err := l.usageOfRollups(ctx, &q, params, f); done || err != nil {
		return err
	}
	if q.OnRows != nil {
		q.OnRows()
	}
	return l.usageOfRows(ctx, &q, params, f)
}

// usageParams are the filters that every query of usage has.
func (l *Ledger) usageParams(ctx context.Context, q *UsageQuery) (map[string]string, error) {
	accounts := q.Accounts
	if len(accounts) == 0 && q.Parent != "" {
		// The rows are sorted by account, not by parent.
		var err error
		if accounts, err = l.accountsOf(ctx, q.Parent); err != nil {
			return nil, err
		}
	}
	from, to := millis(q.From, q.To)
	return map[string]string{
		"parent": q.Parent, "accounts": array(accounts), "booked": q.Booked,
		"from": from, "to": to,
	}, nil
}

// millis bounds instants, [from, to), in ms as parameters; zero: unbounded.
func millis(from, to time.Time) (since, until string) {
	bound := func(t time.Time, unbounded int64) string {
		if !t.IsZero() {
			unbounded = ceilMilli(t)
		}
		return strconv.FormatInt(unbounded, 10)
	}
	return bound(from, earliest), bound(to, latest)
}

// ceilMilli is the first millisecond that isn't before t.
func ceilMilli(t time.Time) int64 { return t.Add(time.Millisecond - time.Nanosecond).UnixMilli() }

// accountsBoundary is how many accounts are named in a query: its parameters
// travel in the address of the request. A parent with more is filtered by its
// own name.
const accountsBoundary = 500

// accountsOf are a parent and its sub-accounts as far as they were applied;
// none if they are too many to name.
func (l *Ledger) accountsOf(ctx context.Context, parent string) ([]string, error) {
	var out []string
	err := l.each(ctx, "usage_accounts", map[string]string{"parent": parent}, func(r driver.Rows) error {
		var id string
		err := r.Scan(&id)
		out = append(out, id)
		return err
	})
	if len(out) > accountsBoundary {
		out = nil
	}
	return out, err
}

// usageOfRows reads rows only.
func (l *Ledger) usageOfRows(ctx context.Context, q *UsageQuery, params map[string]string, f func(*UsageLine) error) error {
	name := "usage_rows"
	if q.byStatus() {
		name = "usage_status"
		since, err := l.statusesSince(ctx, params)
		if err != nil {
			return err
		}
		params["since"] = strconv.FormatInt(since, 10)
		params["slack"] = strconv.FormatInt(statusSlack.Milliseconds(), 10)
	}
	return l.usageLines(ctx, name, q, params, f)
}

// byStatus tells whether a dimension needs the messages' latest statuses.
func (q *UsageQuery) byStatus() bool {
	for _, d := range q.By {
		if d == DimStatus || d == DimErrorCode {
			return true
		}
	}
	return false
}

// statusesSince is the first instant, in ms, of messages and statuses that the
// query needs: the messages that are refunded within it may be older.
func (l *Ledger) statusesSince(ctx context.Context, params map[string]string) (int64, error) {
	var ms int64
	if err := l.each(ctx, "usage_since", params, func(r driver.Rows) error { return r.Scan(&ms) }); err != nil {
		return 0, err
	}
	return max(ms-statusSlack.Milliseconds(), earliest), nil
}

// usageLines runs a query of usage, with its grouping put in.
func (l *Ledger) usageLines(ctx context.Context, name string, q *UsageQuery, params map[string]string, f func(*UsageLine) error) error {
	g := groupBy(q.By, zoneName(q.Zone))
	maps.Copy(params, g.params)
	text := strings.NewReplacer("{columns}", g.columns, "{group}", g.group, "{keys}", g.keys).Replace(sql.Query(name))
	return l.eachText(ctx, name, text, params, func(r driver.Rows) error {
		line, err := scanUsage(r, q.By)
		if err != nil {
			return err
		}
		return f(line)
	})
}

// readRated reads the numbers among the keys.
func (u *UsageLine) readRated() error {
	plan := u.Key(DimPlan)
	if plan == "" {
		return nil
	}
	version, err := u.number(DimPlanVersion)
	rule, err2 := u.number(DimRule)
	u.rated = RatedBy{Plan: plan, Version: version, Rule: rule}
	return errors.Join(err, err2)
}

func (u *UsageLine) number(d Dimension) (int, error) {
	text := u.Key(d)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s of a usage line: %w", d, err)
	}
	return n, nil
}

func scanUsage(r driver.Rows, by []Dimension) (*UsageLine, error) {
	u := &UsageLine{by: by}
	var amount, refunds, fees, adjustments decimal.Decimal
	err := r.Scan(&u.Keys, &u.Currency, &u.Records, &u.Units, &u.BilledUnits, &amount, &refunds, &fees, &adjustments)
	if err != nil {
		return nil, err
	}
	if err := hourTexts(u.Keys, by); err != nil {
		return nil, err
	}
	if err := u.readRated(); err != nil {
		return nil, err
	}
	return u, sumsOf([]decimal.Decimal{amount, refunds, fees, adjustments}, &u.Amount, &u.Refunds, &u.Fees, &u.Adjustments)
}
