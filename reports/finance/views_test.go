package finance

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

func finance(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/finance.md")
	require.NoError(t, err)
	return string(text)
}

func query(t *testing.T, b *books, text string) driver.Rows {
	t.Helper()
	text = strings.ReplaceAll(text, "meterd.finance", b.ledger.Database()+".finance")
	rows, err := b.conn().Query(t.Context(), text)
	require.NoError(t, err, text)
	t.Cleanup(func() { _ = rows.Close() })
	return rows
}

func TestTheDocumentsQueriesRun(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.november(60)
	b.money()
	b.viewTotals(t)
	examples := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(finance(t), -1)
	require.Len(t, examples, 4)
	for i, x := range examples {
		rows := query(t, b, x[1])
		n := 0
		for rows.Next() {
			n++
		}
		require.NoError(t, rows.Err())
		if i == 2 {
			require.Zero(t, n, "no closed month differs")
			continue
		}
		require.NotZero(t, n, x[1])
	}
}

// viewTotals compares the view's sum with the test's own.
func (b *books) viewTotals(t *testing.T) {
	t.Helper()
	want := b.bill("acme")
	rows := query(t, b, "SELECT sum(billable) FROM meterd.finance_charges WHERE parent_id = 'acme' AND booked = '2026-11'")
	var got decimal.Decimal
	for rows.Next() {
		require.NoError(t, rows.Scan(&got))
	}
	require.NoError(t, rows.Err())
	same(t, want.lines, got, "the view")
}

func TestTheDocumentNamesTheViewsColumns(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	views := map[string][]string{}
	rows := query(t, b, "SELECT table, name FROM system.columns WHERE database = '"+b.ledger.Database()+"' AND table LIKE 'finance%' ORDER BY table, position")
	for rows.Next() {
		var view, name string
		require.NoError(t, rows.Scan(&view, &name))
		views[view] = append(views[view], name)
	}
	require.NoError(t, rows.Err())
	require.Len(t, views, 4)
	for line := range strings.Lines(finance(t)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`finance_") {
			continue
		}
		view := strings.Trim(cells[1], " `")
		var told []string
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[3], -1) {
			told = append(told, m[1])
		}
		if view == "finance_transfers" { // `ref` is named once more beside it
			require.Equal(t, "ref", told[3])
		}
		require.Equal(t, views[view], told, view)
		delete(views, view)
	}
	require.Empty(t, views, "each view is in the document")
}

func TestTheDocumentNamesTheExportsColumns(t *testing.T) {
	t.Parallel()
	var names []string
	for _, c := range aggregateColumns() {
		names = append(names, c.name)
	}
	_, text, _ := strings.Cut(finance(t), "| Column | What it holds |")
	text, _, _ = strings.Cut(text, "\n\n")
	var told []string
	for line := range strings.Lines(text) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				told = append(told, m[1])
			}
		}
	}
	require.Equal(t, names, told)
}
