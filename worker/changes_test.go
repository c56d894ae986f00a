package worker

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

const movingAccounts = `
plans:
  - {id: cheap, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.01"}]}]}
  - {id: dear, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.05"}]}]}
parents:
  - id: mover
    module: enterprise
    timezone: Europe/Rome
    plan: cheap
    funding: {mode: prepaid}
    sub_accounts:
      - {id: mover-sub, channels: [sms], funding: {source: allocated}}
`

// balanceOf a purse.
func (h *harness) balanceOf(id string) metering.Micros {
	h.TB.Helper()
	st, err := h.Store.State(h.TB.Context(), id)
	require.NoError(h.TB, err)
	return st.Balance
}

func (h *harness) transfer(ref string, kind metering.TransferKind, account string, amount metering.Micros) {
	h.TB.Helper()
	_, err := h.Admin.Transfer(h.TB.Context(), metering.Transfer{Ref: ref, Kind: kind, AccountID: account, Amount: amount, Actor: "operator"})
	require.NoError(h.TB, err)
}

// TestSourceChanges in mid-month, both ways: the budget is swept, what was
// charged stays where it was, later refunds follow the money.
func TestSourceChanges(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(movingAccounts)
	h.work(Options{})
	h.transfer("top", metering.TransferTopup, "mover", 1_000_000)
	h.transfer("all", metering.TransferAllocate, "mover-sub", 500_000)
	h.Batch().Task(workertest.Message("mover-sub", "a", time.Minute), workertest.Message("mover-sub", "b", time.Minute)).Wait()
	assert.Equal(t, []metering.Micros{500_000, 480_000}, []metering.Micros{h.balanceOf("mover"), h.balanceOf("mover-sub")})

	h.Apply(strings.Replace(movingAccounts, "allocated", "shared", 1))
	assert.Equal(t, []metering.Micros{980_000, 0}, []metering.Micros{h.balanceOf("mover"), h.balanceOf("mover-sub")}, "the budget is swept to the parent")
	h.Batch().Task(workertest.Message("mover-sub", "c", 0)).Wait()
	assert.Equal(t, metering.Micros(970_000), h.balanceOf("mover"))
	assert.EqualValues(t, 1, h.Batch().Task(workertest.RefundLine("mover-sub", "a")).Wait().Stored)
	assert.Equal(t, []metering.Micros{980_000, 0}, []metering.Micros{h.balanceOf("mover"), h.balanceOf("mover-sub")}, "a refund of that budget follows")
	assert.Zero(t, h.Reconcile())

	h.Apply(movingAccounts)
	st, err := h.Store.State(t.Context(), "mover-sub")
	require.NoError(t, err)
	assert.Equal(t, metering.FlagBudget, st.Own, "a budget of its own starts at 0")
	h.transfer("again", metering.TransferAllocate, "mover-sub", 100_000)
	assert.EqualValues(t, 2, h.Batch().Task(workertest.RefundLine("mover-sub", "b"), workertest.RefundLine("mover-sub", "c")).Wait().Stored)
	assert.Equal(t, []metering.Micros{890_000, 110_000}, []metering.Micros{h.balanceOf("mover"), h.balanceOf("mover-sub")},
		"each to the purse that its message drew on")
	assert.Zero(t, h.Reconcile())
	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	assert.Equal(t, []metering.Micros{890_000, 110_000}, []metering.Micros{h.balanceOf("mover"), h.balanceOf("mover-sub")})
	assert.Zero(t, h.Reconcile())
}

// TestLateUsageOfAClosedAccount: its budget has gone back, so the parent pays for
// what occurred before the closing, and gets its refund.
func TestLateUsageOfAClosedAccount(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(movingAccounts)
	h.work(Options{})
	h.transfer("top", metering.TransferTopup, "mover", 1_000_000)
	h.transfer("all", metering.TransferAllocate, "mover-sub", 500_000)
	late := workertest.Message("mover-sub", "late", time.Minute)
	assert.EqualValues(t, 1, h.Batch().Task(workertest.Message("mover-sub", "early", time.Minute)).Wait().Stored)
	_, err := h.Admin.Close(t.Context(), "mover-sub")
	require.NoError(t, err)
	holds := func(wallet metering.Micros) {
		assert.Equal(t, []metering.Micros{wallet, 0}, []metering.Micros{h.balanceOf("mover"), h.balanceOf("mover-sub")})
		assert.Zero(t, h.Reconcile())
	}
	holds(1_000_000 - workertest.Price)
	assert.EqualValues(t, 1, h.Batch().Task(workertest.Line("mover-sub", "first", time.Minute, `,"kind":"refund","refers_to":"early"`)).Wait().Stored)
	holds(1_000_000)
	assert.EqualValues(t, 1, h.Batch().Task(late).Wait().Stored)
	holds(1_000_000 - workertest.Price)
	refund := func(id, of string, ago time.Duration) {
		assert.EqualValues(t, 1, h.Batch().Task(workertest.Line("mover-sub", id, ago, `,"kind":"refund","refers_to":"`+of+`"`)).Wait().Stored, id)
		holds(1_000_000)
	}
	refund("back", "late", time.Minute)
	// An automatic one is due after the closing.
	assert.EqualValues(t, 1, h.Batch().Task(workertest.Message("mover-sub", "other", time.Minute)).Wait().Stored)
	holds(1_000_000 - workertest.Price)
	refund(metering.AutoRefundID("other"), "other", 0)
}

// TestPlanAndZoneChanges in mid-month: a message is rated by the plan of its own
// time, and a zone holds from the next month.
func TestPlanAndZoneChanges(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(movingAccounts)
	h.work(Options{})
	before := time.Now()
	h.Apply(strings.NewReplacer("plan: cheap", "plan: dear", "Europe/Rome", "Asia/Tokyo").Replace(movingAccounts))
	late := messageAt("mover", "late", before.Add(-time.Second))
	assert.Equal(t, balance.Counts{Stored: 2}, h.Batch().Task(late, workertest.Message("mover", "new", 0)).Wait())
	assert.Equal(t, metering.Micros(60_000), h.Used("mover"), "one at the old workertest.Price, one at the new")
	_, err := h.Snapshots.Refresh(t.Context())
	require.NoError(t, err)
	a := h.Snapshots.Current().Accounts["mover"]
	now := a.Calendar.Of(time.Now())
	assert.Equal(t, "Europe/Rome", a.Calendar.Location(now.Start).String())
	assert.Equal(t, "Asia/Tokyo", a.Calendar.Location(now.End).String())
	rome, err := metering.NewCalendar([]metering.ZoneFrom{{Zone: "Europe/Rome"}})
	require.NoError(t, err)
	assert.Equal(t, rome.Of(time.Now()).Start, now.Start)
	assert.Equal(t, rome.Of(time.Now()).End, now.End, "months meet without gap or overlap")
	assert.Zero(t, h.Reconcile())
}

// TestAnOpenMonthKeepsItsBounds: they are those of when it was opened, whatever
// this machine knows of its zone.
func TestAnOpenMonthKeepsItsBounds(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	calendar := func() *metering.Calendar {
		_, err := h.Snapshots.Refresh(t.Context())
		require.NoError(t, err)
		return h.Snapshots.Current().Accounts["globex"].Calendar
	}
	opened := func() metering.MonthStarts {
		calendar()
		return h.Snapshots.Current().Accounts["globex"].Opened
	}
	h.Eventually("the months are kept", func() bool { return len(opened().Starts) > 0 })
	o := opened()
	require.Len(t, o.Starts, 26, "two years before, this month, its end")
	require.Equal(t, calendar().Of(time.Now()).End.Unix(), o.Starts[25])
	month := h.monthsAgo("globex", 1)
	before := calendar().Of(month.Start.Add(-time.Millisecond))

	// As if they had been opened by a machine whose zone was another.
	for i := range o.Starts {
		o.Starts[i] += 7200
	}
	number, err := h.Ledger.CatalogNumber(t.Context())
	require.NoError(t, err)
	require.NoError(t, h.Ledger.SaveOpened(t.Context(), number+1, map[string]metering.MonthStarts{"globex": o}, time.Now()))
	h.Eventually("all know", func() bool { return calendar().Of(month.Start).Name == before.Name })
	require.EqualValues(t, 2, h.Batch().Task(
		messageAt(workertest.Shop, "before", month.Start.Add(time.Hour)), messageAt(workertest.Shop, "within", month.Start.Add(3*time.Hour)),
	).Wait().Stored)
	m := h.months("globex")
	assert.EqualValues(t, []uint64{1, 1}, []uint64{m[before.Name].Records, m[month.Name].Records})
	require.NoError(t, h.Admin.OpenMonths(t.Context()))
	assert.Equal(t, o, opened(), "they stay")
	assert.Zero(t, h.Reconcile())
}
