package ledger

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// AlertRow is a share of a limit that was passed.
type AlertRow struct {
	AccountID, ParentID string
	Limit               string // wallet, budget, credit, monthly_limit
	Mark                string // of the transfer or the month that it is raised once for
	Share               int    // percent
	Period              string
	Epoch               int64 // of the projection
	At                  time.Time
}

// InsertAlerts stores them; the same one twice is the same.
func (l *Ledger) InsertAlerts(ctx context.Context, list []AlertRow) error {
	n := len(list)
	if n == 0 {
		return nil
	}
	accounts, parents, limits, marks, periods := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	shares, epochs, at := make([]uint16, n), make([]uint32, n), make([]time.Time, n)
	for i, a := range list {
		accounts[i], parents[i], limits[i], marks[i], periods[i] = a.AccountID, a.ParentID, a.Limit, a.Mark, a.Period
		shares[i], epochs[i], at[i] = uint16(a.Share), uint32(a.Epoch), a.At
	}
	return l.insertColumns(ctx, "alerts", "account_id, limit_kind, mark, share, epoch, parent_id, period, raised_at",
		accounts, limits, marks, shares, epochs, parents, periods, at)
}

// Alerts about accounts within [from, to), by account, oldest first.
func (l *Ledger) Alerts(ctx context.Context, accounts []string, from, to time.Time, f func(*AlertRow) error) error {
	params := map[string]string{"accounts": array(accounts), "from": ms(from), "to": ms(to)}
	return l.each(ctx, "report_alerts", params, func(r driver.Rows) error {
		var a AlertRow
		var share uint16
		if err := r.Scan(&a.AccountID, &a.Limit, &share, &a.At); err != nil {
			return err
		}
		a.Share = int(share)
		return f(&a)
	})
}

// AlertMark is the highest share of a limit that was alerted under its newest mark.
type AlertMark struct {
	Limit string // MarkPurse, MarkCredit, MarkMonthly
	Mark  string // of a purse the number of its newest top-up or allocation, else the month
	Share int    // 0: none yet
	Base  metering.Micros
}

// Limits of marks. Of a purse, a wallet or budget, Base is what it held right
// after its newest top-up or allocation, and what other transfers have moved since.
const (
	MarkPurse   = "purse"
	MarkCredit  = "credit"
	MarkMonthly = "monthly_limit"
)

// AlertMarks of parents' accounts, by account.
func (l *Ledger) AlertMarks(ctx context.Context, parents []string) (map[string][]AlertMark, error) {
	out := map[string][]AlertMark{}
	return out, l.each(ctx, "alert_marks", map[string]string{"parents": array(parents)}, func(r driver.Rows) error {
		var id string
		var m AlertMark
		var share uint16
		var base decimal.Decimal
		err := r.Scan(&id, &m.Limit, &m.Mark, &share, &base)
		m.Share, m.Base = int(share), micros(base)
		out[id] = append(out[id], m)
		return err
	})
}
