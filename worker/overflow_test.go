package worker

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/finance"
	"github.com/meterd/meterd/worker/workertest"
)

// TestCopiesOfALineThatOverflows are judged by themselves: none is counted as a
// copy of a line that is in quarantine.
func TestCopiesOfALineThatOverflows(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	amount := func(id, amount string) string {
		return workertest.Line("globex-shop", id, 0, `,"currency":"EUR","amount":"`+amount+`"`)
	}
	const most = "999999999999"
	var full []string
	for id := range strings.SplitSeq("123456789", "") {
		full = append(full, amount(id, most))
	}
	assert.EqualValues(t, 9, h.Batch().Task(full...).Wait().Stored)
	got := h.Batch().Task(amount("x", most), amount("x", "1"), amount("x", "2"), amount("x", "999999999998"), amount("x", "1"), amount("y", most), amount("y", most)).Wait()
	// x: the first is refused; 1 stands, once sent again; the two others are conflicts with it.
	assert.Equal(t, balance.Counts{Stored: 1, Duplicates: 1, Quarantined: 5}, got)
	assert.ElementsMatch(t, []metering.Reason{metering.ReasonOverflow, metering.ReasonConflict, metering.ReasonConflict}, h.Reasons("globex-shop", "x"))
	assert.EqualValues(t, 10, h.Rows("globex-shop").Usage)
	assert.Zero(t, h.Reconcile())
	many := make([]string, 0, 40)
	for i := range 40 { // each less than the one before, none small enough
		many = append(many, amount("z", "9999999999"+string(rune('9'-i/10))+string(rune('9'-i%10))))
	}
	assert.EqualValues(t, 40, h.Batch().Task(many...).Wait().Quarantined)
	// What makes the sums no larger is taken there too.
	assert.EqualValues(t, 9, h.Batch().Task(full...).Wait().Duplicates)
	back := func(id string) string {
		return workertest.Line("globex-shop", "back-"+id, 0, fmt.Sprintf(`,"kind":"refund","refers_to":%q`, id))
	}
	assert.EqualValues(t, 3, h.Batch().Task(back("1"), back("2"), back("3")).Wait().Stored)
	assert.Zero(t, h.Reconcile())
}

// TestSumsBeyond64Bits: what a month charged and gave back may be more than what an
// account may owe at once. It is summed up, reported, closed and exported.
func TestSumsBeyond64Bits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	h.KnowsAccounts()
	last := h.monthsAgo("globex", 2)
	at := func(i int) time.Duration { return time.Since(last.Start.Add(time.Duration(40+i) * time.Hour)) }
	const rounds, each = 3, 4 // 9 of the largest amount are as much as one account may owe
	for round := range rounds {
		var sent, back []string
		for i := range each {
			id := fmt.Sprintf("m%d-%d", round, i)
			sent = append(sent, workertest.Line(workertest.Shop, id, at(i), `,"currency":"EUR","amount":"999999999999"`))
			back = append(back, workertest.Line(workertest.Shop, "back-"+id, at(i), fmt.Sprintf(`,"kind":"refund","refers_to":%q`, id)))
		}
		assert.EqualValues(t, each, h.Batch().Task(sent...).Wait().Stored)
		if round < rounds-1 {
			assert.EqualValues(t, each, h.Batch().Task(back...).Wait().Stored)
		}
	}
	const charged, refunded, net = "11999999999988", "7999999999992", "3999999999996"
	for range 2 { // from rows, then from rollups
		require.NoError(t, h.Ledger.Usage(t.Context(), ledger.UsageQuery{Accounts: []string{workertest.Shop}}, func(u *ledger.UsageLine) error {
			assert.Equal(t, []string{charged, refunded, net}, []string{u.Amount.String(), u.Refunds.String(), u.Net().String()})
			return nil
		}))
		h.rollUp()
	}
	m := h.months("globex")[last.Name]
	assert.Equal(t, []string{charged, refunded}, []string{m.Amount.String(), m.Refunds.String()})
	assert.Contains(t, h.report("globex", last.Name), `"`+charged+`.00"`)
	c := h.closing("globex", last)
	assert.Equal(t, []string{charged, refunded}, []string{c.Amount.String(), c.Refunds.String()})
	list, err := h.Ledger.Closings(t.Context(), "globex")
	require.NoError(t, err)
	assert.Equal(t, []any{c.Amount, c.Refunds, c.Digest}, []any{list[0].Amount, list[0].Refunds, list[0].Digest})
	assert.Contains(t, h.report("globex", last.Name), `"`+charged+`.00"`)
	for _, format := range []string{finance.FormatCSV, finance.FormatParquet, finance.FormatFOCUS} {
		x := finance.New(finance.Deps{Ledger: h.Ledger, Snapshot: h.Snapshots.Current(), Clock: h.Clock})
		done, err := x.Run(t.Context(), finance.Request{Parent: "globex", From: last.Name, To: last.Name, Format: format, Out: filepath.Join(t.TempDir(), "out")})
		require.NoError(t, err)
		assert.Equal(t, []string{charged + ".00", refunded + ".00"}, []string{done.Months[0].Amount, done.Months[0].Refunds}, format)
	}
	assert.Zero(t, h.Reconcile())
}

// TestTransfersBeyond64Bits: a purse may take in and spend more since a month closed
// than it can hold. Projection, closing and statement know what is left of it.
func TestTransfersBeyond64Bits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	h.KnowsAccounts()
	const rounds = 12 // 9 of the largest amount are as much as a purse holds, or an account owes of a month
	last := h.monthsAgo("acme", 1)
	for i := range rounds {
		h.transfer(fmt.Sprint("top", i), metering.TransferTopup, "acme", metering.MicrosMax)
		at := time.Duration(0)
		if i%2 == 0 {
			at = time.Since(last.Start.Add(40 * time.Hour))
		}
		assert.EqualValues(t, 1, h.Batch().Task(workertest.Line("acme-shared", fmt.Sprint("m", i), at, `,"currency":"EUR","amount":"999999999998"`)).Wait().Stored)
	}
	holds := func() {
		t.Helper()
		assert.Zero(t, h.Reconcile())
		assert.EqualValues(t, rounds*1_999_999, h.balanceOf("acme"))
	}
	holds()
	const before = -rounds / 2 * 999_999_999_998_000_000
	assert.EqualValues(t, before, h.closing("acme", last).Balances["acme"])
	holds()
	opening, err := h.Ledger.OpeningBalances(t.Context(), "acme", h.monthsAgo("acme", 0).Name)
	require.NoError(t, err)
	assert.EqualValues(t, before, opening["acme"])
	assert.Contains(t, h.report("acme", h.monthsAgo("acme", 0).Name), `"11999999999999.999988"`)
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	holds()
}
