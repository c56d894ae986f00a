package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

// rollUp brings every hour's rollup up to date.
func (h *harness) rollUp() {
	h.TB.Helper()
	soon := time.Now().Add(metering.LandMax + time.Minute) // as if its quiet time had passed
	for {
		due, err := h.Ledger.DueHours(h.TB.Context(), time.Time{}, soon)
		require.NoError(h.TB, err)
		require.NoError(h.TB, h.Ledger.RollHours(h.TB.Context(), due, soon))
		if len(due) < ledger.DueMax {
			return
		}
	}
}

// amounts of an account by month of UTC, with adjustments.
func (h *harness) amounts(account string) map[string]metering.Sum {
	h.TB.Helper()
	by, err := ledger.ParseDimensions("month")
	require.NoError(h.TB, err)
	out := map[string]metering.Sum{}
	require.NoError(h.TB, h.Ledger.Usage(h.TB.Context(), ledger.UsageQuery{Accounts: []string{account}, By: by}, func(u *ledger.UsageLine) error {
		out[u.Keys[0]] = u.Net().Plus(u.Adjustments)
		return nil
	}))
	return out
}

// TestRetentionOfRows: rows go only with closed bills; wallets, bills and usage
// stay exact, copies of what is gone are refused, not charged.
func TestRetentionOfRows(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(movingAccounts)
	h.work(Options{})
	h.transfer("top", metering.TransferTopup, "mover", 1_000_000)
	h.KnowsAccounts()
	old, next := h.monthsAgo("mover", 4), h.monthsAgo("mover", 3)
	var lines []string
	for i := range 10 {
		lines = append(lines, messageAt("mover", fmt.Sprint("o", i), old.Start.Add(time.Duration(i+3)*time.Hour)))
		lines = append(lines, messageAt("mover", fmt.Sprint("n", i), next.Start.Add(time.Duration(i+3)*time.Hour)))
	}
	h.Batch().Task(lines...).Wait()
	keep := admin.Retention{Rows: time.Since(next.Start.Add(48 * time.Hour))} // all of old's UTC month is past it
	require.NoError(t, h.Admin.Retain(t.Context(), keep, h.Log))
	assert.EqualValues(t, 20, h.Rows("mover").Usage, "nothing is closed: nothing goes")
	closed := h.closing("mover", old)
	require.NoError(t, h.Admin.Retain(t.Context(), keep, h.Log))
	assert.EqualValues(t, 20, h.Rows("mover").Usage, "rollups aren't up to date: nothing goes")
	h.rollUp()
	amounts := h.amounts("mover")
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	require.ErrorContains(t, h.Admin.Retain(t.Context(), keep, h.Log), "rows of the one before may still be on their way")
	assert.EqualValues(t, 20, h.Rows("mover").Usage, "what the projection before has charged may land: nothing goes")

	later := admin.NewService(h.Ledger, h.Store, h.Snapshots, clock.NewFake(time.Now().Add(2*metering.LandMax)), h.Projector.Ensure)
	for range 2 { // again is harmless
		require.NoError(t, later.Retain(t.Context(), keep, h.Log))
		assert.EqualValues(t, 10, h.Rows("mover").Usage)
	}
	assert.Equal(t, metering.Micros(800_000), h.balanceOf("mover"))
	assert.Zero(t, h.Reconcile())
	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	assert.Equal(t, metering.Micros(800_000), h.balanceOf("mover"), "closing balances carry the wallet")
	assert.Zero(t, h.Reconcile())
	assert.Equal(t, amounts, h.amounts("mover"), "usage stays, by its rollups")
	list, err := h.Ledger.Closings(t.Context(), "mover")
	require.NoError(t, err)
	assert.Equal(t, *closed, list[0])

	copies := []string{lines[0], lines[2], messageAt("mover", "new", old.Start.Add(5*time.Hour)), messageAt("mover", "n1", next.Start.Add(4*time.Hour))}
	assert.Equal(t, balance.Counts{Quarantined: 3, Duplicates: 1}, h.Batch().Task(copies...).Wait())
	assert.Equal(t, []metering.Reason{metering.ReasonTooOld}, h.Reasons("mover", "o0"))
	assert.Equal(t, metering.Micros(800_000), h.balanceOf("mover"))
	_, err = h.Snapshots.Refresh(t.Context())
	require.NoError(t, err)
	snap := h.Snapshots.Current()
	assert.False(t, snap.RowsFrom.IsZero())
	assert.Zero(t, h.Reconcile())

	// Whoever refunds what is gone isn't sent to look for it.
	assert.Equal(t, balance.Counts{Waiting: 1}, h.Batch().Task(workertest.RefundLine("mover", "never")).Wait())
	require.NoError(t, h.byHand().pipeline.DueRefunds(t.Context(), 0))
	var detail string
	require.NoError(t, h.Engines.ClickHouse(t).QueryRow(t.Context(), "SELECT detail FROM quarantine FINAL WHERE record_id = 'never'").Scan(&detail))
	assert.Contains(t, detail, fmt.Sprintf("if it is of before %s its row is gone: discard this", snap.RowsFrom.Format(time.RFC3339)))
}

// TestRetentionKeepsOpenBills: a late record of an old month is in an open bill,
// so its row stays when the others of its month go.
func TestRetentionKeepsOpenBills(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	h.KnowsAccounts()
	old, next := h.monthsAgo("globex", 4), h.monthsAgo("globex", 3)
	h.Batch().Task(messageAt(workertest.Shop, "a", old.Start.Add(10*time.Hour))).Wait()
	h.closing("globex", old)
	h.Batch().Task(messageAt(workertest.Shop, "late", old.Start.Add(30*time.Hour))).Wait()
	h.rollUp()
	require.NoError(t, h.Admin.Retain(t.Context(), admin.Retention{Rows: time.Since(next.Start.Add(48 * time.Hour))}, h.Log))
	assert.Equal(t, []string{"usage late"}, h.ids(workertest.Shop))
	assert.Zero(t, h.Reconcile())
}

// TestRetentionOfNumbers blanks them and nothing else: a copy is still a copy.
func TestRetentionOfNumbers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	to := `,"to":"+393331234567","from":"+393337654321"`
	old, young := workertest.Line(workertest.Shop, "old", 100*24*time.Hour, to), workertest.Line(workertest.Shop, "young", time.Hour, to)
	h.Batch().Task(old, young).Wait()
	require.NoError(t, h.Admin.Retain(t.Context(), admin.Retention{Numbers: 90 * 24 * time.Hour}, h.Log))
	numbers := func() (out []string) {
		require.NoError(t, h.Engines.ClickHouse(t).QueryRow(t.Context(),
			"SELECT arraySort(groupArray(concat(id, ' ', recipient, ' ', sender, ' ', country))) FROM records FINAL").Scan(&out))
		return out
	}
	want := []string{"old   IT", "young +393331234567 +393337654321 IT"}
	assert.Equal(t, want, numbers())
	require.NoError(t, h.Admin.Retain(t.Context(), admin.Retention{Numbers: 90 * 24 * time.Hour}, h.Log))
	assert.Equal(t, want, numbers())
	assert.Equal(t, balance.Counts{Duplicates: 2}, h.Batch().Task(old, young).Wait())
	assert.Zero(t, h.Reconcile())
}

const prefixAccounts = `
plans:
  - id: wrong
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "1"}, {channel: sms, prefix: "39333", unit: segment, price: "0.1"}]}]
  - id: other
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.70"}]}]
parents:
  - {id: kilo, module: enterprise, timezone: UTC, plan: wrong, funding: {mode: postpaid}}
`

// TestRatingAnewAfterRetention: what rules with a prefix need and is blanked is
// refused, before anything is noted; messages without a number don't count.
func TestRatingAnewAfterRetention(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(prefixAccounts)
	h.work(Options{})
	h.Batch().Task(workertest.Line("kilo", "none", 0, `,"tags":{"b":"1","a":"2"}`), workertest.Message("kilo", "less", 0)).Wait()
	forget := admin.Retention{Numbers: time.Nanosecond}
	require.NoError(t, h.Admin.Retain(t.Context(), forget, h.Log))
	require.NoError(t, h.Rerate("a", "wrong", nil), "they never had a number")
	h.Batch().Task(workertest.Line("kilo", "some", 0, `,"to":"+393331234567"`)).Wait()
	require.NoError(t, h.Rerate("b", "wrong", nil))
	require.NoError(t, h.Admin.Retain(t.Context(), forget, h.Log))
	err := h.Rerate("c", "wrong", nil)
	require.ErrorIs(t, err, metering.ErrNumbersBlanked)
	require.ErrorIs(t, err, admin.ErrRefused)
	used, err := h.Ledger.RerateByRef(t.Context(), "c")
	require.NoError(t, err)
	assert.Nil(t, used)
	f, err := admin.ParseAccountsFile("a.yaml", []byte(strings.Replace(prefixAccounts, "module: enterprise", "module: reseller", 1)))
	require.NoError(t, err)
	_, err = h.Admin.Impact(t.Context(), f, 30)
	require.ErrorIs(t, err, metering.ErrNumbersBlanked)
	assert.Equal(t, metering.Micros(2_100_000), h.Used("kilo"))

	require.NoError(t, h.Rerate("d", "other", nil), "no rule with a prefix")
	assert.Equal(t, metering.Micros(2_100_000), h.Used("kilo"))
	assert.Zero(t, h.Reconcile())
}
