package worker

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

// monthsAgo is the parent's present month (0), or the one so many months back that may be
// closed: in a month's first hours the one before it may not, for copies of its records may
// still come within the dedup window.
func (h *harness) monthsAgo(parent string, n int) metering.Period {
	h.TB.Helper()
	c := h.Snapshots.Current().Accounts[parent].Calendar
	before := func(p metering.Period) metering.Period { return c.Of(p.Start.Add(-time.Millisecond)) }
	p := c.Of(time.Now())
	for range n {
		p = before(p)
		for time.Since(p.End) < dedupWindow+time.Hour {
			p = before(p)
		}
	}
	return p
}

// dedupWindow is what the harness's projections have.
const dedupWindow = 24 * time.Hour

// messageAt is a message of an instant.
func messageAt(account, id string, at time.Time) string {
	return workertest.Message(account, id, time.Since(at))
}

func (h *harness) closer() *admin.Closer {
	return admin.NewCloser(h.Ledger, h.Store, h.Snapshots, h.Clock, h.Log, h.Projector.Ensure)
}

// closing of a month, by hand.
func (h *harness) closing(parent string, month metering.Period) *ledger.Closing {
	h.TB.Helper()
	c, err := h.closer().CloseMonth(h.TB.Context(), parent, month.Name, nil)
	require.NoError(h.TB, err)
	return c
}

// sum of one amount, in micro-units.
func sum(m metering.Micros) metering.Sum { return m.Sum() }

// months that a parent's bills are of.
func (h *harness) months(parent string) map[string]ledger.Month {
	h.TB.Helper()
	out := map[string]ledger.Month{}
	require.NoError(h.TB, h.Ledger.Months(h.TB.Context(), parent, func(m *ledger.Month) error {
		out[m.Period] = *m
		return nil
	}))
	return out
}

// TestCloseMonth: a closed month's figures and digest stay; what comes later is
// an adjustment of the open month, in its bill and in its limit.
func TestCloseMonth(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	h.KnowsAccounts()
	old, last, now := h.monthsAgo("globex", 2), h.monthsAgo("globex", 1), h.monthsAgo("globex", 0)
	var lines []string
	for i := range 30 {
		lines = append(lines, messageAt(workertest.Shop, fmt.Sprint("o", i), old.Start.Add(time.Duration(i)*time.Hour)))
		lines = append(lines, messageAt(workertest.Shop, fmt.Sprint("l", i), last.End.Add(-time.Duration(i+1)*time.Minute)))
	}
	lines = append(lines, messageAt("globex", "own", old.Start), workertest.Message(workertest.Shop, "now", time.Second))
	require.EqualValues(t, len(lines), h.Batch().Task(lines...).Wait().Stored)

	closer := h.closer()
	_, err := closer.CloseMonth(t.Context(), "globex", last.Name, nil)
	require.ErrorIs(t, err, admin.ErrRefused, "an older month is open")
	require.ErrorContains(t, err, old.Name)
	_, err = closer.CloseMonth(t.Context(), "globex", now.Name, nil)
	require.ErrorIs(t, err, admin.ErrRefused, "not over yet")
	_, err = closer.CloseMonth(t.Context(), workertest.Shop, old.Name, nil)
	require.ErrorIs(t, err, admin.ErrWrongKind)
	_, err = closer.CloseMonth(t.Context(), "nobody", old.Name, nil)
	require.ErrorIs(t, err, metering.ErrUnknownAccount)
	_, err = closer.CloseMonth(t.Context(), "globex", "2026-13", nil)
	require.ErrorIs(t, err, metering.ErrPeriod)

	first := h.closing("globex", old)
	assert.Equal(t, []any{uint64(31), sum(31 * workertest.Price), ledger.ClosingDone}, []any{first.Records, first.Amount, first.State})
	second := h.closing("globex", last)
	assert.Equal(t, *first, *h.closing("globex", old), "again changes nothing")

	// Late: a new message of each closed month, a copy of an old one, a refund.
	late := []string{
		messageAt(workertest.Shop, "late-o", old.Start.Add(time.Hour)), messageAt(workertest.Shop, "late-l", last.Start.Add(time.Hour)),
		messageAt(workertest.Shop, "o1", old.Start.Add(time.Hour)), workertest.RefundLine(workertest.Shop, "o2"),
		workertest.Line(workertest.Shop, "r-late", time.Since(last.End.Add(-time.Hour)), `,"kind":"refund","refers_to":"o3"`),
	}
	assert.Equal(t, balance.Counts{Stored: 4, Duplicates: 1}, h.Batch().Task(late...).Wait())
	assert.Equal(t, *first, *h.closing("globex", old))
	assert.Equal(t, *second, *h.closing("globex", last))
	m := h.months("globex")
	assert.Equal(t, ledger.Month{ParentID: "globex", Period: old.Name, Records: 31, Amount: sum(31 * workertest.Price)}, m[old.Name], "the rows agree with what was fixed")
	assert.Equal(t, ledger.Month{
		ParentID: "globex", Period: now.Name, Records: 3, Amount: sum(workertest.Price), Refunds: sum(workertest.Price), // the refund is of today
		Adjustments: sum(2*workertest.Price - workertest.Price),
	}, m[now.Name])
	st, err := h.Store.State(t.Context(), "globex")
	require.NoError(t, err)
	assert.Equal(t, metering.Micros(workertest.Price), st.Used[now.Name], "the projection books them in the same month")
	assert.Zero(t, h.Reconcile())

	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	assert.Zero(t, h.Reconcile(), "a rebuild starts from what was fixed")
	again := h.Batch().Task(messageAt(workertest.Shop, "late-2", old.Start.Add(time.Hour))).Wait()
	assert.EqualValues(t, 1, again.Stored)
	assert.Equal(t, sum(2*workertest.Price), h.months("globex")[now.Name].Adjustments)
	assert.Zero(t, h.Reconcile())
}

// TestAnOlderMonthOnItsWay: a record of August is charged, and not stored yet,
// when October closes: August is closed first, and no charge is in no balance.
func TestAnOlderMonthOnItsWay(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.work(Options{Crash: func(point string) {
		if point == "charged" {
			once.Do(func() { close(held); <-release })
		}
	}})
	h.KnowsAccounts()
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	august, october := h.monthsAgo("acme", 3), h.monthsAgo("acme", 1)
	b := h.Batch().Task(messageAt("acme-shared", "old", august.Start.Add(time.Hour)))
	<-held
	var g sync.WaitGroup
	g.Go(func() { h.closing("acme", october) })
	require.Eventually(t, func() bool {
		thr, err := h.Redis.HGet(t.Context(), "{p00}:a:acme", "thr").Result()
		return err == nil && thr == october.Name
	}, 20*time.Second, 10*time.Millisecond, "the closing waits for what is on its way")
	close(release)
	b.Wait()
	g.Wait()

	list, err := h.Ledger.Closings(t.Context(), "acme")
	require.NoError(t, err)
	require.Len(t, list, 2)
	for i, want := range []metering.Period{august, october} {
		assert.Equal(t, []any{want.Name, ledger.ClosingDone}, []any{list[i].Period, list[i].State})
		assert.Equal(t, metering.Micros(-workertest.Price), list[i].Balances["acme"], "it was filled later")
	}
	assert.Zero(t, h.Reconcile())
	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	st, err := h.Store.State(t.Context(), "acme")
	require.NoError(t, err)
	assert.Equal(t, metering.Micros(1_000_000-workertest.Price), st.Balance)
	_, err = h.closer().CloseMonth(t.Context(), "acme", h.monthsAgo("acme", 2).Name, nil)
	require.ErrorIs(t, err, admin.ErrRefused, "a month between them was passed over")
}

// TestAMonthThatWasPassedOver: rows that land in a month before the closed one
// are booked in the open one too.
func TestAMonthThatWasPassedOver(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{ReconcileEvery: time.Hour})
	h.KnowsAccounts()
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	h.Batch().Task(workertest.Message("acme-shared", "new", time.Second)).Wait()
	h.closing("acme", h.monthsAgo("acme", 1))
	old := h.monthsAgo("acme", 3)
	h.sql(`INSERT INTO records SELECT * REPLACE ('late' AS id, toDateTime64('%s', 3, 'UTC') AS occurred_at, '%s' AS period, '%s' AS booked) FROM records AS r FINAL WHERE r.id = 'new'`,
		old.Start.UTC().Format("2006-01-02 15:04:05"), old.Name, old.Name)
	require.Positive(t, h.Reconcile())
	assert.Zero(t, h.Reconcile(), "once")
	now := h.monthsAgo("acme", 0).Name
	assert.Equal(t, map[string]string{"acme-shared usage late": now}, h.findings("closed_month_straggler"))
	st, err := h.Store.State(t.Context(), "acme")
	require.NoError(t, err)
	assert.Equal(t, metering.Micros(1_000_000-2*workertest.Price), st.Balance)
}

// TestAnIdentityTwiceInAMonth: a retry with another occurred_at was charged again
// and stands beside the first, for they lie in different months of UTC. Closing
// leaves one of them.
func TestAnIdentityTwiceInAMonth(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{ReconcileEvery: time.Hour})
	h.KnowsAccounts()
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	last := h.monthsAgo("acme", 1)
	require.NotEqual(t, last.Start.UTC().Month(), last.Start.Add(5*time.Hour).UTC().Month(), "Rome is ahead of UTC")
	h.Batch().Task(messageAt("acme-shared", "twice", last.Start.Add(time.Minute)), messageAt("acme-shared", "once", last.Start.Add(time.Hour))).Wait()
	h.sql(`INSERT INTO records SELECT * REPLACE (occurred_at + toIntervalHour(50) AS occurred_at) FROM records AS r FINAL WHERE r.id = 'twice'`)
	require.Positive(t, h.Reconcile(), "it counts, as it would have been charged")
	balance := func() metering.Micros {
		st, err := h.Store.State(t.Context(), "acme")
		require.NoError(t, err)
		return st.Balance
	}
	require.Equal(t, metering.Micros(1_000_000-3*workertest.Price), balance())

	c := h.closing("acme", last)
	assert.Equal(t, []any{uint64(2), sum(2 * workertest.Price), metering.Micros(-2 * workertest.Price)}, []any{c.Records, c.Amount, c.Balances["acme"]})
	assert.Equal(t, c.Digest, h.auditor("acme", last.Name))
	assert.Equal(t, map[string]string{"acme-shared usage twice": "1 row"}, h.findings("identity_twice"))
	require.Positive(t, h.Reconcile(), "its charge is given back")
	assert.Zero(t, h.Reconcile())
	assert.Equal(t, metering.Micros(1_000_000-2*workertest.Price), balance())
	assert.Equal(t, *c, *h.closing("acme", last))
}

// TestAnIdentityInTwoMonths: the same where the two are booked in different months.
// What is booked first stands, whichever of them is closed.
func TestAnIdentityInTwoMonths(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{ReconcileEvery: time.Hour})
	h.KnowsAccounts()
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	h.transfer("budget", metering.TransferAllocate, "acme-own", 200_000)
	first, second := h.monthsAgo("acme", 2), h.monthsAgo("acme", 1)
	h.Batch().Task(
		messageAt("acme-own", "open", first.Start.Add(100*time.Hour)), messageAt("acme-own", "closed", first.Start.Add(100*time.Hour)),
		messageAt("acme-own", "other", second.Start.Add(100*time.Hour)),
	).Wait()
	copied := func(id string) {
		h.sql(`INSERT INTO records SELECT * REPLACE (occurred_at + toIntervalDay(35) AS occurred_at, '%s' AS period, '%s' AS booked) FROM records AS r FINAL WHERE r.id = '%s'`, second.Name, second.Name, id)
	}
	balance := func() metering.Micros {
		for h.Reconcile() > 0 {
		}
		st, err := h.Store.State(t.Context(), "acme-own")
		require.NoError(t, err)
		return st.Balance
	}
	copied("open")
	require.Equal(t, metering.Micros(200_000-4*workertest.Price), balance(), "it counts, as it would have been charged")
	c := h.closing("acme", first)
	assert.EqualValues(t, 2, c.Records)
	assert.Equal(t, metering.Micros(200_000-3*workertest.Price), balance(), "the copy's charge is given back")

	copied("closed")
	require.Equal(t, metering.Micros(200_000-4*workertest.Price), balance())
	d := h.closing("acme", second)
	assert.EqualValues(t, 1, d.Records)
	assert.Equal(t, metering.Micros(200_000-3*workertest.Price), balance())
	assert.Equal(t, metering.Micros(-3*workertest.Price), d.Balances["acme-own"], "the budget came later")
	assert.Equal(t, map[string]string{"acme-own usage open": "1 row", "acme-own usage closed": "1 row"}, h.findings("identity_twice"))
	assert.Equal(t, c.Digest, h.auditor("acme", first.Name))
	assert.Equal(t, *c, *h.closing("acme", first))
}

// TestTwoCloseTheSameMonth: at once, while records come, in processes of their
// own: one row, one digest, nothing lost.
func TestTwoCloseTheSameMonth(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	h.KnowsAccounts()
	last := h.monthsAgo("globex", 1)
	var lines []string
	for i := range 50 {
		lines = append(lines, messageAt(workertest.Shop, fmt.Sprint(i), last.Start.Add(time.Duration(i)*time.Hour)))
	}
	h.Batch().Task(lines...).Wait()
	b := h.Batch()
	for i := range 40 {
		b.Task(messageAt(workertest.Shop, fmt.Sprint("more", i), last.Start.Add(time.Minute)), workertest.Message(workertest.Shop, fmt.Sprint("new", i), time.Second))
	}
	var done [4]*ledger.Closing
	var g sync.WaitGroup
	for i := range done {
		g.Go(func() {
			c, err := h.closer().CloseMonth(t.Context(), "globex", last.Name, nil)
			if assert.NoError(t, err) {
				done[i] = c
			}
		})
	}
	g.Wait()
	b.Wait()
	for _, c := range done {
		require.NotNil(t, c)
		assert.Equal(t, *done[0], *c)
	}
	bill := metering.NewBill(last.Name)
	require.NoError(t, h.Ledger.BillLines(t.Context(), "globex", last.Name, bill.Add))
	assert.Equal(t, done[0].Digest, bill.Digest(), "the rows are what was digested")
	assert.Equal(t, workertest.RowSums{Usage: 130, Identities: 130, Net: 130 * workertest.Price}, h.Rows(workertest.Shop))
	m := h.months("globex")
	total := m[last.Name].Records + m[h.monthsAgo("globex", 0).Name].Records
	assert.EqualValues(t, 130, total, "each record is in one bill")
	assert.Zero(t, h.Reconcile())
}

// TestCloseDue closes by itself, from the month of the first apply on, oldest
// first, and only after the grace.
func TestCloseDue(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	h.KnowsAccounts()
	// Applied two months ago; a backfill of the month before that is open.
	back, old, last := h.monthsAgo("globex", 3), h.monthsAgo("globex", 2), h.monthsAgo("globex", 1)
	a := *h.Snapshots.Current().Accounts["globex"]
	a.CreatedAt = old.Start.Add(50 * time.Hour)
	h.SaveAccount(&a)
	_, err := h.Snapshots.Refresh(t.Context())
	require.NoError(t, err)
	h.Batch().Task(messageAt(workertest.Shop, "back", back.Start), messageAt(workertest.Shop, "old", old.Start), messageAt(workertest.Shop, "last", last.Start)).Wait()

	closed := func() (names []string) {
		list, err := h.Ledger.Closings(t.Context(), "globex")
		require.NoError(t, err)
		for i := range list {
			require.Equal(t, ledger.ClosingDone, list[i].State)
			names = append(names, list[i].Period)
		}
		return names
	}
	require.NoError(t, h.closer().CloseDue(t.Context(), 24*time.Hour))
	assert.Empty(t, closed(), "the backfill closes by hand, and months close in order")
	h.closing("globex", back)
	require.NoError(t, h.closer().CloseDue(t.Context(), time.Since(last.End)+time.Hour))
	assert.Equal(t, []string{back.Name, old.Name}, closed(), "the grace of the last month isn't over")
	require.NoError(t, h.closer().CloseDue(t.Context(), time.Since(last.End)-time.Minute))
	assert.Equal(t, []string{back.Name, old.Name, last.Name}, closed())
	require.NoError(t, h.closer().CloseDue(t.Context(), 0))
	assert.Equal(t, []string{back.Name, old.Name, last.Name}, closed()[:3])
	assert.NotContains(t, closed(), h.monthsAgo("globex", 0).Name, "it isn't over")
	assert.Zero(t, h.Reconcile())
}
