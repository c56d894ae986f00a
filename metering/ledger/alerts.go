package ledger

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
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
