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
)

// monthsAgo is the parent's present month (0), or the one so many months back that may be
// closed: in a month's first hours the one before it may not, for copies of its records may
// still come within the dedup window.
func (h *harness) monthsAgo(parent string, n int) metering.Period {
	h.tb.Helper()
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
func messageAt(account, id string, at time.Time) string { return message(account, id, time.Since(at)) }

func (h *harness) closer() *admin.Closer {
	return admin.NewCloser(h.Ledger, h.Store, h.Snapshots, h.Clock, h.Log, h.Projector.Ensure)
}

// closing of a month, by hand.
func (h *harness) closing(parent string, month metering.Period) *ledger.Closing {
	h.tb.Helper()
	c, err := h.closer().CloseMonth(h.tb.Context(), parent, month.Name, nil)
	require.NoError(h.tb, err)
	return c
}

// sum of one amount, in micro-units.
func sum(m metering.Micros) metering.Sum { return m.Sum() }

// months that a parent's bills are of.
func (h *harness) months(parent string) map[string]ledger.Month {
	h.tb.Helper()
	out := map[string]ledger.Month{}
	require.NoError(h.tb, h.Ledger.Months(h.tb.Context(), parent, func(m *ledger.Month) error {
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
	h.knowsAccounts()
	old, last, now := h.monthsAgo("globex", 2), h.monthsAgo("globex", 1), h.monthsAgo("globex", 0)
	var lines []string
	for i := range 30 {
		lines = append(lines, messageAt(shop, fmt.Sprint("o", i), old.Start.Add(time.Duration(i)*time.Hour)))
		lines = append(lines, messageAt(shop, fmt.Sprint("l", i), last.End.Add(-time.Duration(i+1)*time.Minute)))
	}
	lines = append(lines, messageAt("globex", "own", old.Start), message(shop, "now", time.Second))
	require.EqualValues(t, len(lines), h.batch().task(lines...).wait().Stored)

	closer := h.closer()
	_, err := closer.CloseMonth(t.Context(), "globex", last.Name, nil)
	require.ErrorIs(t, err, admin.ErrRefused, "an older month is open")
	require.ErrorContains(t, err, old.Name)
	_, err = closer.CloseMonth(t.Context(), "globex", now.Name, nil)
	require.ErrorIs(t, err, admin.ErrRefused, "not over yet")
	_, err = closer.CloseMonth(t.Context(), shop, old.Name, nil)
	require.ErrorIs(t, err, admin.ErrWrongKind)
	_, err = closer.CloseMonth(t.Context(), "nobody", old.Name, nil)
	require.ErrorIs(t, err, metering.ErrUnknownAccount)
	_, err = closer.CloseMonth(t.Context(), "globex", "2026-13", nil)
	require.ErrorIs(t, err, metering.ErrPeriod)

	first := h.closing("globex", old)
	assert.Equal(t, []any{uint64(31), sum(31 * price), ledger.ClosingDone}, []any{first.Records, first.Amount, first.State})
	second := h.closing("globex", last)
	assert.Equal(t, *first, *h.closing("globex", old), "again changes nothing")

	// Late: a new message of each closed month, a copy of an old one, a refund.
	late := []string{
		messageAt(shop, "late-o", old.Start.Add(time.Hour)), messageAt(shop, "late-l", last.Start.Add(time.Hour)),
		messageAt(shop, "o1", old.Start.Add(time.Hour)), refundLine(shop, "o2"),
		line(shop, "r-late", time.Since(last.End.Add(-time.Hour)), `,"kind":"refund","refers_to":"o3"`),
	}
	assert.Equal(t, balance.Counts{Stored: 4, Duplicates: 1}, h.batch().task(late...).wait())
	assert.Equal(t, *first, *h.closing("globex", old))
	assert.Equal(t, *second, *h.closing("globex", last))
	m := h.months("globex")
	assert.Equal(t, ledger.Month{ParentID: "globex", Period: old.Name, Records: 31, Amount: sum(31 * price)}, m[old.Name], "the rows agree with what was fixed")
	assert.Equal(t, ledger.Month{
		ParentID: "globex", Period: now.Name, Records: 3, Amount: sum(price), Refunds: sum(price), // the refund is of today
		Adjustments: sum(2*price - price),
	}, m[now.Name])
	st, err := h.Store.State(t.Context(), "globex")
	require.NoError(t, err)
	assert.Equal(t, metering.Micros(price), st.Used[now.Name], "the projection books them in the same month")
	assert.Zero(t, h.reconcile())

	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	assert.Zero(t, h.reconcile(), "a rebuild starts from what was fixed")
	again := h.batch().task(messageAt(shop, "late-2", old.Start.Add(time.Hour))).wait()
	assert.EqualValues(t, 1, again.Stored)
	assert.Equal(t, sum(2*price), h.months("globex")[now.Name].Adjustments)
	assert.Zero(t, h.reconcile())
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
	h.knowsAccounts()
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	august, october := h.monthsAgo("acme", 3), h.monthsAgo("acme", 1)
	b := h.batch().task(messageAt("acme-shared", "old", august.Start.Add(time.Hour)))
	<-held
	var g sync.WaitGroup
	g.Go(func() { h.closing("acme", october) })
	require.Eventually(t, func() bool {
		thr, err := h.Redis.HGet(t.Context(), "{p00}:a:acme", "thr").Result()
		return err == nil && thr == october.Name
	}, 20*time.Second, 10*time.Millisecond, "the closing waits for what is on its way")
	close(release)
	b.wait()
	g.Wait()

	list, err := h.Ledger.Closings(t.Context(), "acme")
	require.NoError(t, err)
	require.Len(t, list, 2)
	for i, want := range []metering.Period{august, october} {
		assert.Equal(t, []any{want.Name, ledger.ClosingDone}, []any{list[i].Period, list[i].State})
		assert.Equal(t, metering.Micros(-price), list[i].Balances["acme"], "it was filled later")
	}
	assert.Zero(t, h.reconcile())
	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	st, err := h.Store.State(t.Context(), "acme")
	require.NoError(t, err)
	assert.Equal(t, metering.Micros(1_000_000-price), st.Balance)
	_, err = h.closer().CloseMonth(t.Context(), "acme", h.monthsAgo("acme", 2).Name, nil)
	require.ErrorIs(t, err, admin.ErrRefused, "a month between them was passed over")
}

// TestAMonthThatWasPassedOver: rows that land in a month before the closed one
// are booked in the open one too.
func TestAMonthThatWasPassedOver(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{ReconcileEvery: time.Hour})
	h.knowsAccounts()
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	h.batch().task(message("acme-shared", "new", time.Second)).wait()
	h.closing("acme", h.monthsAgo("acme", 1))
	old := h.monthsAgo("acme", 3)
	h.sql(`INSERT INTO records SELECT * REPLACE ('late' AS id, toDateTime64('%s', 3, 'UTC') AS occurred_at, '%s' AS period, '%s' AS booked) FROM records AS r FINAL WHERE r.id = 'new'`,
		old.Start.UTC().Format("2006-01-02 15:04:05"), old.Name, old.Name)
	require.Positive(t, h.reconcile())
	assert.Zero(t, h.reconcile(), "once")
	now := h.monthsAgo("acme", 0).Name
	assert.Equal(t, map[string]string{"acme-shared usage late": now}, h.findings("closed_month_straggler"))
	st, err := h.Store.State(t.Context(), "acme")
	require.NoError(t, err)
	assert.Equal(t, metering.Micros(1_000_000-2*price), st.Balance)
}

// TestAnIdentityTwiceInAMonth: a retry with another occurred_at was charged again
// and stands beside the first, for they lie in different months of UTC. Closing
// leaves one of them.
func TestAnIdentityTwiceInAMonth(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{ReconcileEvery: time.Hour})
	h.knowsAccounts()
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	last := h.monthsAgo("acme", 1)
	require.NotEqual(t, last.Start.UTC().Month(), last.Start.Add(5*time.Hour).UTC().Month(), "Rome is ahead of UTC")
	h.batch().task(messageAt("acme-shared", "twice", last.Start.Add(time.Minute)), messageAt("acme-shared", "once", last.Start.Add(time.Hour))).wait()
	h.sql(`INSERT INTO records SELECT * REPLACE (occurred_at + toIntervalHour(50) AS occurred_at) FROM records AS r FINAL WHERE r.id = 'twice'`)
	require.Positive(t, h.reconcile(), "it counts, as it would have been charged")
	balance := func() metering.Micros {
		st, err := h.Store.State(t.Context(), "acme")
		require.NoError(t, err)
		return st.Balance
	}
	require.Equal(t, metering.Micros(1_000_000-3*price), balance())

	c := h.closing("acme", last)
	assert.Equal(t, []any{uint64(2), sum(2 * price), metering.Micros(-2 * price)}, []any{c.Records, c.Amount, c.Balances["acme"]})
	assert.Equal(t, c.Digest, h.auditor("acme", last.Name))
	assert.Equal(t, map[string]string{"acme-shared usage twice": "1 row"}, h.findings("identity_twice"))
	require.Positive(t, h.reconcile(), "its charge is given back")
	assert.Zero(t, h.reconcile())
	assert.Equal(t, metering.Micros(1_000_000-2*price), balance())
	assert.Equal(t, *c, *h.closing("acme", last))
}

// TestAnIdentityInTwoMonths: the same where the two are booked in different months.
// What is booked first stands, whichever of them is closed.
func TestAnIdentityInTwoMonths(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{ReconcileEvery: time.Hour})
	h.knowsAccounts()
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	h.transfer("budget", metering.TransferAllocate, "acme-own", 200_000)
	first, second := h.monthsAgo("acme", 2), h.monthsAgo("acme", 1)
	h.batch().task(
		messageAt("acme-own", "open", first.Start.Add(100*time.Hour)), messageAt("acme-own", "closed", first.Start.Add(100*time.Hour)),
		messageAt("acme-own", "other", second.Start.Add(100*time.Hour)),
	).wait()
	copied := func(id string) {
		h.sql(`INSERT INTO records SELECT * REPLACE (occurred_at + toIntervalDay(35) AS occurred_at, '%s' AS period, '%s' AS booked) FROM records AS r FINAL WHERE r.id = '%s'`, second.Name, second.Name, id)
	}
	balance := func() metering.Micros {
		for h.reconcile() > 0 {
		}
		st, err := h.Store.State(t.Context(), "acme-own")
		require.NoError(t, err)
		return st.Balance
	}
	copied("open")
	require.Equal(t, metering.Micros(200_000-4*price), balance(), "it counts, as it would have been charged")
	c := h.closing("acme", first)
	assert.EqualValues(t, 2, c.Records)
	assert.Equal(t, metering.Micros(200_000-3*price), balance(), "the copy's charge is given back")

	copied("closed")
	require.Equal(t, metering.Micros(200_000-4*price), balance())
	d := h.closing("acme", second)
	assert.EqualValues(t, 1, d.Records)
	assert.Equal(t, metering.Micros(200_000-3*price), balance())
	assert.Equal(t, metering.Micros(-3*price), d.Balances["acme-own"], "the budget came later")
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
	h.knowsAccounts()
	last := h.monthsAgo("globex", 1)
	var lines []string
	for i := range 50 {
		lines = append(lines, messageAt(shop, fmt.Sprint(i), last.Start.Add(time.Duration(i)*time.Hour)))
	}
	h.batch().task(lines...).wait()
	b := h.batch()
	for i := range 40 {
		b.task(messageAt(shop, fmt.Sprint("more", i), last.Start.Add(time.Minute)), message(shop, fmt.Sprint("new", i), time.Second))
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
	b.wait()
	for _, c := range done {
		require.NotNil(t, c)
		assert.Equal(t, *done[0], *c)
	}
	bill := metering.NewBill(last.Name)
	require.NoError(t, h.Ledger.BillLines(t.Context(), "globex", last.Name, bill.Add))
	assert.Equal(t, done[0].Digest, bill.Digest(), "the rows are what was digested")
	assert.Equal(t, rows{Usage: 130, Identities: 130, Net: 130 * price}, h.rows(shop))
	m := h.months("globex")
	total := m[last.Name].Records + m[h.monthsAgo("globex", 0).Name].Records
	assert.EqualValues(t, 130, total, "each record is in one bill")
	assert.Zero(t, h.reconcile())
}

// TestCloseDue closes by itself, from the month of the first apply on, oldest
// first, and only after the grace.
func TestCloseDue(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	h.knowsAccounts()
	// Applied two months ago; a backfill of the month before that is open.
	back, old, last := h.monthsAgo("globex", 3), h.monthsAgo("globex", 2), h.monthsAgo("globex", 1)
	a := *h.Snapshots.Current().Accounts["globex"]
	a.CreatedAt = old.Start.Add(50 * time.Hour)
	h.saveAccount(&a)
	_, err := h.Snapshots.Refresh(t.Context())
	require.NoError(t, err)
	h.batch().task(messageAt(shop, "back", back.Start), messageAt(shop, "old", old.Start), messageAt(shop, "last", last.Start)).wait()

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
	assert.Zero(t, h.reconcile())
}
