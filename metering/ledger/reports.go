package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// OpeningBalances are what each purse of a parent's accounts held when a period
// began, by account: the parent's wallet, a sub-account's budget.
func (l *Ledger) OpeningBalances(ctx context.Context, parent, period string) (map[string]metering.Micros, error) {
	base, err := l.Base(ctx, parent, period)
	if err != nil {
		return nil, err
	}
	out := maps.Clone(base.Balances)
	params := map[string]string{"parent": parent, "after": base.Through, "booked": period}
	return out, l.each(ctx, "report_opening", params, func(r driver.Rows) error {
		var id string
		var d decimal.Decimal
		if err := r.Scan(&id, &d); err != nil {
			return err
		}
		n, err := metering.SumOf(d)
		if err == nil {
			out[id], err = out[id].Sum().Plus(n).Micros()
		}
		return err
	})
}

// TransferQuery selects movements of a parent's and its sub-accounts' purses.
type TransferQuery struct {
	Parent   string
	Booked   string    // "": any period
	From, To time.Time // of the transfer, [From, To). Zero: unbounded
}

// ParentTransfers calls f for each movement, by account, oldest first.
func (l *Ledger) ParentTransfers(ctx context.Context, q TransferQuery, f func(*TransferLine) error) error {
	from, to := millis(q.From, q.To)
	params := map[string]string{"parent": q.Parent, "booked": q.Booked, "from": from, "to": to}
	return l.each(ctx, "report_transfers", params, func(r driver.Rows) error {
		var t TransferLine
		if err := t.scan(r); err != nil {
			return err
		}
		return f(&t)
	})
}

// CampaignLine sums one account's messages of one campaign, "" where none is
// named, and their refunds.
type CampaignLine struct {
	Account, Campaign     string
	Records               uint64
	BilledUnits           decimal.Decimal
	Amount, Fees, Refunds metering.Sum
}

// Campaigns calls f for each campaign of the accounts that have any, sorted.
// Late records and corrections of closed months aren't in them.
func (l *Ledger) Campaigns(ctx context.Context, q ActivityQuery, f func(*CampaignLine) error) error {
	return l.each(ctx, "report_campaigns", q.params(), func(r driver.Rows) error {
		var c CampaignLine
		var amount, fees, refunds decimal.Decimal
		if err := r.Scan(&c.Account, &c.Campaign, &c.Records, &c.BilledUnits, &amount, &fees, &refunds); err != nil {
			return err
		}
		if err := sumsOf([]decimal.Decimal{amount, fees, refunds}, &c.Amount, &c.Fees, &c.Refunds); err != nil {
			return err
		}
		return f(&c)
	})
}

// QuarantinedAt are the entries of accounts that were open at an instant, by
// account and reason.
func (l *Ledger) QuarantinedAt(ctx context.Context, accounts []string, asOf time.Time) (map[string]map[metering.Reason]uint64, error) {
	out := map[string]map[metering.Reason]uint64{}
	params := map[string]string{"accounts": array(accounts), "as_of": ms(asOf)}
	err := l.each(ctx, "report_quarantined", params, func(r driver.Rows) error {
		var id, reason string
		var n uint64
		err := r.Scan(&id, &reason, &n)
		if out[id] == nil {
			out[id] = map[metering.Reason]uint64{}
		}
		out[id][metering.Reason(reason)] = n
		return err
	})
	return out, err
}

// RejectedAt counts the entries of accounts that were open at an instant,
// without their reasons, for readers who see no money: without refunds and
// corrections.
func (l *Ledger) RejectedAt(ctx context.Context, accounts []string, asOf time.Time) (map[string]uint64, error) {
	return l.countsAt(ctx, "report_rejected", accounts, asOf)
}

// WaitingAt counts the refunds that waited for their message at an instant.
func (l *Ledger) WaitingAt(ctx context.Context, accounts []string, asOf time.Time) (map[string]uint64, error) {
	return l.countsAt(ctx, "report_waiting", accounts, asOf)
}

func (l *Ledger) countsAt(ctx context.Context, name string, accounts []string, asOf time.Time) (map[string]uint64, error) {
	out := map[string]uint64{}
	err := l.each(ctx, name, map[string]string{"accounts": array(accounts), "as_of": ms(asOf)}, func(r driver.Rows) error {
		var id string
		var n uint64
		err := r.Scan(&id, &n)
		out[id] = n
		return err
	})
	return out, err
}

// AccountsAt are a parent and its sub-accounts as they stood at a catalog
// number, so that a closed month's reports keep the limits and names of then. They are in
// no snapshot: they have no Calendar.
func (l *Ledger) AccountsAt(ctx context.Context, parent string, number int64) ([]*metering.Account, error) {
	var out []*metering.Account
	err := l.each(ctx, "report_accounts", map[string]string{"parent": parent, "number": strconv.FormatInt(number, 10)}, func(r driver.Rows) error {
		var id, doc string
		if err := r.Scan(&id, &doc); err != nil {
			return err
		}
		a := &metering.Account{}
		if err := json.Unmarshal([]byte(doc), a); err != nil {
			return fmt.Errorf("stored account: %w", err)
		}
		out = append(out, a)
		return nil
	})
	return out, err
}

// Versions calls f for each version of an account, oldest first, with when it
// was applied.
func (l *Ledger) Versions(ctx context.Context, account string, f func(a *metering.Account, applied time.Time) error) error {
	return l.each(ctx, "report_schedules", map[string]string{"account": account}, func(r driver.Rows) error {
		var doc string
		var at time.Time
		if err := r.Scan(&doc, &at); err != nil {
			return err
		}
		a := &metering.Account{}
		if err := json.Unmarshal([]byte(doc), a); err != nil {
			return fmt.Errorf("stored account: %w", err)
		}
		return f(a, at)
	})
}
