package ledger

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/bodies"
	"github.com/meterd/meterd/metering"
)

// insertColumns sends one insert of whole columns.
func (l *Ledger) insertColumns(ctx context.Context, table, columns string, data ...any) error {
	return l.server.Insert(ctx, table, columns, data)
}

// Insert implements Server.
func (l remote) Insert(ctx context.Context, table, columns string, data []any) error {
	if native := natives(data); native != nil {
		return l.insertNative(ctx, table, columns, native)
	}
	batch, err := l.conn.PrepareBatch(ctx, l.text("INSERT INTO {db}."+table+" ("+columns+")"))
	if err != nil {
		return fmt.Errorf("insert into %s: %w", table, away(err))
	}
	defer func() { _ = batch.Close() }() // after Send it has nothing left to say
	for i, c := range data {
		if err := batch.Column(i).Append(c); err != nil {
			return fmt.Errorf("insert into %s, column %d: %w", table, i+1, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("insert into %s: %w", table, away(err))
	}
	return nil
}

// insertNative sends one block that is laid out here.
func (l remote) insertNative(ctx context.Context, table, columns string, data []Column) error {
	body := bodies.Get()
	_, _ = body.Write(appendBlock(body.AvailableBuffer(), strings.Split(columns, ","), data)) // in place, if it fits
	err := l.conn.InsertFormat(ctx, "Native", l.text("INSERT INTO {db}."+table+" ("+columns+")"), bytes.NewReader(body.Bytes()))
	if err != nil {
		// A request that was given up may still be read: its memory isn't reused.
		return fmt.Errorf("insert into %s: %w", table, away(err))
	}
	bodies.Put(body)
	return nil
}

// insertRows stores the rows. Those that ClickHouse refuses for good, found by
// halving, are returned by index; every other one is stored.
func (l *Ledger) insertRows(ctx context.Context, rows []*Row, now time.Time) ([]int, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	b := newBlock(len(rows))
	for _, i := range sorted(rows) {
		b.add(rows[i], now)
	}
	err := l.insertColumns(ctx, "records", recordColumns, b.columns()...)
	if err == nil {
		return nil, nil
	}
	if !forGood(err) {
		return nil, err
	}
	if len(rows) == 1 {
		return []int{0}, nil
	}
	half := len(rows) / 2
	left, err := l.insertRows(ctx, rows[:half], now)
	if err != nil {
		return nil, err
	}
	right, err := l.insertRows(ctx, rows[half:], now)
	if err != nil {
		return nil, err
	}
	for _, i := range right {
		left = append(left, half+i)
	}
	return left, nil
}

// lateArrival of a message is a reason to look: statuses may have waited for it in vain.
const lateArrival = time.Hour

// noteStatuses writes the statuses of rows, then the reasons to look whether their
// messages are refunded, before the rows: whoever finds a row stored finds those.
// Of rows that don't follow they do no harm: a message that isn't there is looked for
// again, and is there when its task comes again.
func (l *Ledger) noteStatuses(ctx context.Context, rows []*Row, now time.Time) error {
	var statuses struct {
		account, status symbols
		message, id     texts
		at, stored      times
		epoch           smalls
	}
	var looks struct {
		parent, account symbols
		message         texts
		due, arrived    times
	}
	fine := metering.FineStatuses()
	for _, r := range rows {
		rec := r.Record
		message, late := rec.ID, now.Sub(rec.OccurredAt) > lateArrival
		switch rec.Kind {
		case metering.KindStatus:
			message, late = rec.RefersTo, false
			statuses.account.add(rec.AccountID)
			statuses.status.add(rec.Status)
			statuses.message, statuses.id = append(statuses.message, message), append(statuses.id, rec.ID)
			statuses.at, statuses.stored = append(statuses.at, rec.OccurredAt.UnixMilli()), append(statuses.stored, now.UnixMilli())
			statuses.epoch = append(statuses.epoch, uint32(r.Epoch))
		case metering.KindRefund, metering.KindAdjustment:
			continue
		case metering.KindUsage:
			if !r.Refundable {
				continue // whatever becomes of it
			}
		}
		if late || !slices.Contains(fine, rec.Status) {
			looks.parent.add(r.ParentID)
			looks.account.add(rec.AccountID)
			looks.message = append(looks.message, message)
			looks.due, looks.arrived = append(looks.due, rec.OccurredAt.UnixMilli()), append(looks.arrived, now.UnixMilli())
		}
	}
	if len(statuses.id) > 0 {
		err := l.insertColumns(ctx, "statuses", "account_id, message_id, id, status, occurred_at, epoch, stored_at",
			&statuses.account, statuses.message, statuses.id, &statuses.status, statuses.at, statuses.epoch, statuses.stored)
		if err != nil {
			return err
		}
	}
	n := len(looks.message)
	if n == 0 {
		return nil
	}
	return l.insertColumns(ctx, "refund_looks", "again, due, parent_id, account_id, message_id, arrived, sign",
		constant{"UInt8", 0, n}, looks.due, &looks.parent, &looks.account, looks.message, looks.arrived, constant{"Int8", 1, n})
}

// forGood tells errors of the data from errors of the system: the codes with
// which ClickHouse refuses values.
func forGood(err error) bool {
	switch code(err) {
	case 6, // CANNOT_PARSE_TEXT
		26,  // CANNOT_PARSE_QUOTED_STRING
		27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
		38,  // CANNOT_PARSE_DATE
		41,  // CANNOT_PARSE_DATETIME
		53,  // TYPE_MISMATCH
		69,  // ARGUMENT_OUT_OF_BOUND
		70,  // CANNOT_CONVERT_TYPE
		72,  // CANNOT_PARSE_NUMBER
		117, // INCORRECT_DATA
		131, // TOO_LARGE_STRING_SIZE
		321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
		349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
		407, // DECIMAL_OVERFLOW
		469, // VIOLATED_CONSTRAINT
		691: // UNKNOWN_ELEMENT_OF_ENUM
		return true
	}
	return false
}

// localHour is one of an account's.
type localHour struct {
	account string
	start   time.Time
}

func dirtyHoursTable(marked time.Time) *table[localHour] {
	return &table[localHour]{"dirty_hours", []column[localHour]{
		col("account_id", func(h *localHour) string { return h.account }),
		col("hour", func(h *localHour) time.Time { return h.start }),
		col("marked_at", func(*localHour) time.Time { return marked }),
	}}
}

// markHours notes the local hours whose rollup is due, by marks of that instant.
func (l *Ledger) markHours(ctx context.Context, rows []*Row, now time.Time) error {
	seen := map[localHour]bool{}
	var hours []localHour
	for _, r := range rows {
		h := localHour{r.Record.AccountID, r.Hour.UTC()}
		if !seen[h] {
			seen[h] = true
			hours = append(hours, h)
		}
	}
	return dirtyHoursTable(now).insert(ctx, l, hours)
}
