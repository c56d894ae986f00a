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

func alertsTable() *table[AlertRow] {
	return &table[AlertRow]{"alerts", []column[AlertRow]{
		col("account_id", func(a *AlertRow) string { return a.AccountID }),
		col("limit_kind", func(a *AlertRow) string { return a.Limit }),
		col("mark", func(a *AlertRow) string { return a.Mark }),
		col("share", func(a *AlertRow) uint16 { return uint16(a.Share) }),
		col("epoch", func(a *AlertRow) uint32 { return uint32(a.Epoch) }),
		col("parent_id", func(a *AlertRow) string { return a.ParentID }),
		col("period", func(a *AlertRow) string { return a.Period }),
		col("raised_at", func(a *AlertRow) time.Time { return a.At }),
	}}
}

// InsertAlerts stores alerts; the same one twice is the same.
func (l *Ledger) InsertAlerts(ctx context.Context, list []AlertRow) error {
	return alertsTable().insert(ctx, l, list)
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
