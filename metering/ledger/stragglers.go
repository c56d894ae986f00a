package ledger

import (
	"context"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

// ParentMonth is a month of a parent's.
type ParentMonth struct{ ParentID, Period string }

func closedLinesTable(m ParentMonth, account string) *table[uint64] {
	return &table[uint64]{"closed_lines", []column[uint64]{
		col("parent_id", func(*uint64) string { return m.ParentID }),
		col("period", func(*uint64) string { return m.Period }),
		col("account_id", func(*uint64) string { return account }),
		col("line", func(line *uint64) uint64 { return *line }),
	}}
}

// SaveClosedLines notes which lines of an account a month's digest covers, by their
// hashes. Again is harmless, and so is a line that no row gives any more.
func (l *Ledger) SaveClosedLines(ctx context.Context, m ParentMonth, account string, lines []uint64) error {
	return closedLinesTable(m, account).insert(ctx, l, lines)
}

// ClosedLines are an account's lines of a closed month.
func (l *Ledger) ClosedLines(ctx context.Context, m ParentMonth, account string) (map[uint64]bool, error) {
	out := map[uint64]bool{}
	params := map[string]string{"parent": m.ParentID, "period": m.Period, "account": account}
	err := l.each(ctx, "closed_lines", params, func(r driver.Rows) error {
		var line uint64
		err := r.Scan(&line)
		out[line] = true
		return err
	})
	return out, err
}

// RowsThrough counts the rows of each parent's months up to one that could be
// lines of a bill, copies that aren't merged yet included.
func (l *Ledger) RowsThrough(ctx context.Context, through string) (map[ParentMonth]uint64, error) {
	out := map[ParentMonth]uint64{}
	err := l.each(ctx, "closed_counts", map[string]string{"through": through}, func(r driver.Rows) error {
		var m ParentMonth
		var n uint64
		err := r.Scan(&m.ParentID, &m.Period, &n)
		out[m] = n
		return err
	})
	return out, err
}

// rebookPage is how many identities one rebooking names.
const rebookPage = 1000

// Rebook books rows of a month in another, under no older an epoch than the
// projection's. It may be cut off and run again anywhere.
func (l *Ledger) Rebook(ctx context.Context, from ParentMonth, to string, epoch int64, rows []metering.Identity) error {
	ctx, cancel := context.WithTimeout(ctx, metering.InsertMax)
	defer cancel()
	for page := range slices.Chunk(rows, rebookPage) {
		params := identityParams(page)
		params["parent"], params["booked"], params["to"] = from.ParentID, from.Period, to
		params["epoch"], params["ahead"] = strconv.FormatInt(epoch, 10), strconv.Itoa(int(metering.InsertMax.Seconds()))
		for _, name := range []string{"rebook_hours", "rebook"} {
			if err := l.exec(ctx, name, params); err != nil {
				return err
			}
		}
	}
	return nil
}
