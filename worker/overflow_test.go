package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
)

// TestCopiesOfALineThatOverflows are judged by themselves: none is counted as a
// copy of a line that is in quarantine.
func TestCopiesOfALineThatOverflows(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	amount := func(id, amount string) string {
		return line("globex-shop", id, 0, `,"currency":"EUR","amount":"`+amount+`"`)
	}
	const most = "999999999999"
	var full []string
	for id := range strings.SplitSeq("123456789", "") {
		full = append(full, amount(id, most))
	}
	assert.EqualValues(t, 9, h.batch().task(full...).wait().Stored)
	got := h.batch().task(amount("x", most), amount("x", "1"), amount("x", "2"), amount("x", "999999999998"), amount("x", "1"), amount("y", most), amount("y", most)).wait()
	// x: the first is refused; 1 stands, once sent again; the two others are conflicts with it.
	assert.Equal(t, balance.Counts{Stored: 1, Duplicates: 1, Quarantined: 5}, got)
	assert.ElementsMatch(t, []metering.Reason{metering.ReasonOverflow, metering.ReasonConflict, metering.ReasonConflict}, h.reasons("globex-shop", "x"))
	assert.EqualValues(t, 10, h.rows("globex-shop").Usage)
	assert.Zero(t, h.reconcile())
	many := make([]string, 0, 40)
	for i := range 40 { // each less than the one before, none small enough
		many = append(many, amount("z", "9999999999"+string(rune('9'-i/10))+string(rune('9'-i%10))))
	}
	assert.EqualValues(t, 40, h.batch().task(many...).wait().Quarantined)
}

// TestSumsAboveARecordsMost: two of the largest amounts are summed up, reported
// and closed; the digest is that of the lines.
func TestSumsAboveARecordsMost(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	require.Eventually(t, func() bool { return h.Snapshots.Current().Catalog > 0 }, 10*time.Second, 10*time.Millisecond)
	last := h.monthsAgo("globex", 2)
	var lines []string
	for i := range 2 {
		lines = append(lines, fmt.Sprintf(`{"id":"m%d","account_id":%q,"channel":"sms","occurred_at":%q,"currency":"EUR","amount":"999999999999"}`,
			i, shop, last.Start.Add(time.Duration(40+i)*time.Hour).Format(time.RFC3339)))
	}
	assert.EqualValues(t, 2, h.batch().task(lines...).wait().Stored)
	const sum = metering.Micros(2 * 999_999_999_999 * 1_000_000)
	for range 2 { // from rows, then from rollups
		assert.Equal(t, sum, h.amounts(shop)[last.Start.Add(40*time.Hour).UTC().Format("2006-01")])
		h.rollUp()
	}
	assert.Equal(t, sum, h.months("globex")[last.Name].Amount)
	open := h.report("globex", last.Name)
	assert.Contains(t, open, `"1999999999998.00"`)
	c := h.closing("globex", last)
	assert.Equal(t, sum, c.Amount)
	list, err := h.Ledger.Closings(t.Context(), "globex")
	require.NoError(t, err)
	assert.Equal(t, []any{sum, c.Digest}, []any{list[0].Amount, list[0].Digest})
	assert.Contains(t, h.report("globex", last.Name), `"1999999999998.00"`)
	assert.Zero(t, h.reconcile())
}
