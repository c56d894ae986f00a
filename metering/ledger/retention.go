package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/sql"
)

// retentionKind of the catalog's one document on rows that are gone.
const retentionKind = "retention"

// retention is that document.
type retention struct {
	RowsFrom time.Time `json:"rows_from"` // rows that occurred before are gone, or about to go
	RowsGone time.Time `json:"rows_gone"` // rows that occurred before are gone
}

// SaveRowsFrom stores, under the catalog's next number, that rows before an
// instant are about to go: every charge from then on refuses what is older. gone: those
// before this one have gone.
func (l *Ledger) SaveRowsFrom(ctx context.Context, number int64, from, gone, now time.Time) error {
	doc, err := json.Marshal(retention{from, gone})
	if err != nil {
		return fmt.Errorf("store the retention: %w", err)
	}
	return l.saveDocuments(ctx, number, []document{{kind: retentionKind, id: "rows", doc: string(doc)}}, now)
}

// StoredMonth is a month with which rows go: that of their bill, or of UTC if that is
// later.
type StoredMonth struct {
	Month  int               // 202611
	Booked map[string]string // parent → newest month that a row that goes with it is booked in
}

// End is the instant after it, in UTC.
func (m *StoredMonth) End() time.Time {
	return time.Date(m.Month/100, time.Month(m.Month%100)+1, 1, 0, 0, 0, 0, time.UTC)
}

// goes is the month (YYYYMM) with which a row of records goes: that of its bill, or of UTC
// if that is later. Rows of a month's last hours go with the next one: somewhere it has
// begun, and the rows of an hour, which is rolled up by all of them, stay or go together.
const goes = "greatest(toYYYYMM(addHours(occurred_at, 15)), toUInt32OrZero(replaceOne(booked, '-', '')))"

// MonthBefore is the number of the month of UTC that ended last by an instant; 0: none.
func MonthBefore(at time.Time) int {
	if at.IsZero() {
		return 0
	}
	last := time.Date(at.UTC().Year(), at.UTC().Month(), 1, 0, 0, 0, 0, time.UTC).AddDate(0, -1, 0)
	return last.Year()*100 + int(last.Month())
}

// StoredMonths that ended by an instant and after another, the oldest first.
func (l *Ledger) StoredMonths(ctx context.Context, after, before time.Time) ([]StoredMonth, error) {
	var out []StoredMonth
	params := map[string]string{"after": strconv.Itoa(MonthBefore(after)), "through": strconv.Itoa(MonthBefore(before))}
	err := l.each(ctx, "retention_months", params, func(r driver.Rows) error {
		var month uint32
		var parent, booked string
		if err := r.Scan(&month, &parent, &booked); err != nil {
			return err
		}
		if n := len(out); n == 0 || out[n-1].Month != int(month) {
			out = append(out, StoredMonth{Month: int(month), Booked: map[string]string{}})
		}
		out[len(out)-1].Booked[parent] = booked
		return nil
	})
	return out, err
}

// DueHoursBefore counts hours before an instant whose rollup isn't up to date.
func (l *Ledger) DueHoursBefore(ctx context.Context, before time.Time) (int, error) {
	var n uint64
	err := l.each(ctx, "retention_due_hours", map[string]string{
		"before": ms(before), "slack": strconv.FormatInt(rollSlack.Milliseconds(), 10),
	}, func(r driver.Rows) error { return r.Scan(&n) })
	return int(n), err
}

// DropMonth removes for good the rows that go with a month or earlier ones, their
// statuses, and what tells the lines of closed months before it from others; again is
// harmless.
func (l *Ledger) DropMonth(ctx context.Context, m *StoredMonth) error {
	params := map[string]string{
		"through": strconv.Itoa(m.Month), "until": ms(m.End().Add(statusSlack)), "period": fmt.Sprintf("%04d-%02d", m.Month/100, m.Month%100),
	}
	var partitions []uint32
	err := l.each(ctx, "retention_partitions", params, func(r driver.Rows) error {
		var p uint32
		err := r.Scan(&p)
		partitions = append(partitions, p)
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range partitions {
		text := strings.ReplaceAll(sql.Query("retention_rows"), "{partition}", strconv.Itoa(int(p)))
		if err := l.server.Exec(ctx, "retention_rows", text, params); err != nil {
			return err
		}
	}
	if err := l.exec(ctx, "retention_statuses", params); err != nil {
		return err
	}
	return l.exec(ctx, "retention_lines", params)
}

// ForgetNumbers blanks senders and receivers of rows that occurred before an
// instant, and the bytes of quarantine entries of before that aren't open. It
// waits until that is done. What identifies a message and its content stays.
func (l *Ledger) ForgetNumbers(ctx context.Context, before time.Time) error {
	params := map[string]string{"before": ms(before)}
	var rows, entries uint64
	if err := l.each(ctx, "retention_numbers", params, func(r driver.Rows) error {
		return r.Scan(&rows, &entries)
	}); err != nil {
		return err
	}
	if rows > 0 {
		if err := l.exec(ctx, "forget_numbers", params); err != nil {
			return err
		}
	}
	if entries > 0 {
		return l.exec(ctx, "forget_lines", params)
	}
	return nil
}
