package admin

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/balance/balancetest"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
	"github.com/meterd/meterd/metering/reconcile"
)

// rig is a Service over the engines of memory.
type rig struct {
	*Service

	tb     testing.TB
	redis  *balancetest.Redis
	server *ledgertest.Server
	now    *clock.Fake
	recon  *reconcile.Reconciler
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	now := clock.NewFake(time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC))
	r := balancetest.New(now.Now)
	server := ledgertest.New()
	s, l, log := balance.New(r.Client(), 1), ledger.NewWithServer(server), slog.New(slog.DiscardHandler)
	snapshots := NewSnapshots(l, s, now)
	projector := reconcile.New(s, l, now, log, reconcile.Options{Durable: true, Buckets: 4})
	return &rig{NewService(l, s, snapshots, now, projector.Ensure), tb, r, server, now, reconcile.NewReconciler(projector, log)}
}

// apply makes acme and its sub-account with this funding.
func (r *rig) apply(parent, sub string) {
	r.tb.Helper()
	r.applyBy(r.Service, parent, sub)
	require.NoError(r.tb, r.OpenMonths(r.tb.Context()))
}

func (r *rig) applyBy(s *Service, parent, sub string) {
	r.tb.Helper()
	f, err := ParseAccountsFile("a.yaml", fmt.Appendf(nil, `
plans:
  - {id: flat, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.01"}]}]}
parents:
  - {id: acme, module: enterprise, timezone: UTC, plan: flat, funding: {%s}, sub_accounts: [{id: acme-own, channels: [sms]%s}]}
`, parent, sub))
	require.NoError(r.tb, err)
	_, err = s.Apply(r.tb.Context(), f, false)
	require.NoError(r.tb, err)
}

const allocated = `, funding: {source: allocated}`

func (r *rig) move(ref string, kind metering.TransferKind, account string, amount metering.Micros) (*TransferResult, error) {
	return r.Transfer(r.tb.Context(), metering.Transfer{Ref: ref, Kind: kind, AccountID: account, Amount: amount, Reason: "x", Actor: OperatorActor})
}

// newFundedRig has 90 in acme's wallet and 10 in acme-own's budget.
func newFundedRig(tb testing.TB) *rig {
	tb.Helper()
	r := newRig(tb)
	r.apply("mode: prepaid", allocated)
	_, err := r.move("top", metering.TransferTopup, "acme", 100_000_000)
	require.NoError(tb, err)
	_, err = r.move("give", metering.TransferAllocate, "acme-own", 10_000_000)
	require.NoError(tb, err)
	return r
}

// holds wants these balances of acme and acme-own, in Redis and by the ledger.
func (r *rig) holds(wallet, budget metering.Micros) {
	r.tb.Helper()
	sums, err := r.ledger.TransfersThrough(r.tb.Context(), "acme", "", "9999-12")
	require.NoError(r.tb, err)
	for id, want := range map[string]metering.Micros{"acme": wallet, "acme-own": budget} {
		st, err := r.store.State(r.tb.Context(), id)
		require.NoError(r.tb, err)
		assert.Equal(r.tb, []metering.Sum{want.Sum(), want.Sum()}, []metering.Sum{st.Balance.Sum(), sums[id]}, "%s, in Redis and by the ledger", id)
	}
	res, err := r.recon.Run(r.tb.Context(), r.snapshots.Current())
	require.NoError(r.tb, err)
	assert.Zero(r.tb, res.Drifted)
}

// TestASweepRepeatedAfterALoss: a budget below zero is swept, and Redis is lost
// before that is confirmed: the repeat stores the same transfer.
func TestASweepRepeatedAfterALoss(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply("mode: prepaid", allocated)
	for _, m := range []struct {
		kind    metering.TransferKind
		account string
		amount  metering.Micros
	}{{metering.TransferTopup, "acme", 100_000_000}, {metering.TransferAdjust, "acme-own", -5_000_000}} {
		_, err := r.move("m"+m.account, m.kind, m.account, m.amount)
		require.NoError(t, err)
	}
	r.holds(100_000_000, -5_000_000)
	r.apply("mode: prepaid", "")
	r.holds(95_000_000, 0)
	var swept string
	require.NoError(t, r.ledger.Refs(t.Context(), []string{"acme"}, time.UnixMilli(0), func(x *ledger.Ref) error {
		if strings.HasPrefix(x.Ref, "sweep:") {
			swept = x.Ref
		}
		return nil
	}))
	require.NotEmpty(t, swept)
	r.redis.Empty()
	_, err := r.transfer(t.Context(), &metering.Transfer{
		Ref: swept, Kind: metering.TransferSweep, ParentID: "acme", AccountID: "acme-own", Amount: -5_000_000, Currency: "EUR", Actor: OperatorActor,
	})
	require.NoError(t, err)
	r.holds(95_000_000, 0)
}

// TestATransferThatWasMadeStaysMade: the same reference is a success again, when
// the account is another kind by now too.
func TestATransferThatWasMadeStaysMade(t *testing.T) {
	t.Parallel()
	r := newFundedRig(t)
	r.apply("mode: prepaid", "")
	res, err := r.move("give", metering.TransferAllocate, "acme-own", 10_000_000)
	require.NoError(t, err)
	assert.False(t, res.Applied)
	_, err = r.move("give", metering.TransferAllocate, "acme-own", 20_000_000)
	require.ErrorIs(t, err, balance.ErrReference)
	_, err = r.move("more", metering.TransferAllocate, "acme-own", 10_000_000)
	require.ErrorIs(t, err, ErrWrongKind)
	r.holds(100_000_000, 0)
}

// TestAReferenceIsUsedOnce, however long ago: what the projection has forgotten, or
// a rebuild no longer loads, the ledger knows.
func TestAReferenceIsUsedOnce(t *testing.T) {
	t.Parallel()
	for _, rebuilt := range []bool{false, true} {
		r := newFundedRig(t)
		r.now.Advance(metering.RefKept + time.Hour)
		if rebuilt {
			r.redis.Empty()
		}
		res, err := r.move("give", metering.TransferAllocate, "acme-own", 10_000_000)
		require.NoError(t, err)
		require.Equal(t, &TransferResult{Account: "acme-own", Balance: 10_000_000}, res)
		_, err = r.move("give", metering.TransferAllocate, "acme-own", 20_000_000)
		require.ErrorIs(t, err, balance.ErrReference)
		r.holds(90_000_000, 10_000_000)
		require.NotContains(t, r.redis.Dump(), "{p00}:r:give")
	}
}

// TestAParentBecomesPostpaid: its budgets go to the wallet, which the operator
// can pay out; then it has none.
func TestAParentBecomesPostpaid(t *testing.T) {
	t.Parallel()
	r := newFundedRig(t)
	r.apply(`mode: postpaid, credit_limit: "50"`, "")
	r.holds(100_000_000, 0)
	_, err := r.move("more", metering.TransferTopup, "acme", 1_000_000)
	require.ErrorIs(t, err, ErrWrongKind)
	_, err = r.move("out", metering.TransferAdjust, "acme", -100_000_000)
	require.NoError(t, err)
	r.holds(0, 0)
	_, err = r.move("sweep:acme-own:1:1:1", metering.TransferAdjust, "acme", 1_000_000)
	require.ErrorIs(t, err, ErrRefused, "a reference of meterd's own")
	_, err = r.move("again", metering.TransferAdjust, "acme", 1_000_000)
	require.ErrorIs(t, err, ErrWrongKind)
}

// TestAChangeOfNothingKeepsTheLastOne: who suspended, why and when stands, whatever
// is asked for again.
func TestAChangeOfNothingKeepsTheLastOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply("mode: prepaid", "")
	history := func() []ledgertest.Row { return r.server.Rows("states") }
	require.NoError(t, r.Resume(t.Context(), "acme-own", OperatorActor, "nothing to lift"))
	require.Empty(t, history())
	require.NoError(t, r.Suspend(t.Context(), "acme-own", OperatorActor, "fraud case 4711"))
	first := history()
	require.Len(t, first, 1)
	require.Equal(t, "fraud case 4711", first[0]["note"])
	r.now.Advance(time.Hour)
	require.NoError(t, r.Suspend(t.Context(), "acme-own", OperatorActor, "again"))
	require.ErrorIs(t, r.Resume(t.Context(), "acme-own", "acme", "never suspended it"), ErrRefused)
	require.Equal(t, first, history())
	require.NoError(t, r.Resume(t.Context(), "acme-own", OperatorActor, "cleared"))
	require.Len(t, history(), 2)
}

// TestASuspensionOutlivesRedis: it is lost between the script and the row.
func TestASuspensionOutlivesRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply("mode: prepaid", "")
	meta := r.meta
	asked := 0
	r.meta = func(ctx context.Context, p int) (*balance.Meta, error) {
		if asked++; asked == 3 { // after the row
			r.redis.Empty()
		}
		return meta(ctx, p)
	}
	require.NoError(t, r.Suspend(t.Context(), "acme-own", OperatorActor, "fraud"))
	require.Greater(t, asked, 3)
	st, err := r.store.State(t.Context(), "acme-own")
	require.NoError(t, err)
	assert.Equal(t, metering.FlagManualOperator, st.Own)
}

// meeting runs something once, before the first row of a table: between the choice of a
// catalog number and its use, say.
type meeting struct {
	*ledgertest.Server

	table  string
	before func()
}

func (m *meeting) Insert(ctx context.Context, table, columns string, data []any) error {
	if f := m.before; table == m.table && f != nil {
		m.before = nil
		f()
	}
	return m.Server.Insert(ctx, table, columns, data)
}

// over is another process's service, whose ledger is reached through a server.
func (r *rig) over(server ledger.Server) *Service {
	l := ledger.NewWithServer(server)
	return NewService(l, r.store, NewSnapshots(l, r.store, r.now), r.now, r.meta)
}

// TestTwoAppliesUnderOneNumber: a Redis that has lost the lease lets a second apply
// in. Both stand, for who has read the number already as well.
func TestTwoAppliesUnderOneNumber(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply("mode: postpaid", "")
	m := &meeting{Server: r.server, table: "catalog"}
	other := r.over(m)
	m.before = func() {
		require.NoError(t, r.redis.Client().Del(t.Context(), "{p00}:lease:"+catalogLease).Err())
		r.applyBy(r.Service, "mode: postpaid", `, funding: {monthly_limit: "5"}`)
	}
	r.applyBy(other, `mode: postpaid, credit_limit: "7"`, "")
	require.Nil(t, m.before)
	for _, h := range []*Snapshots{r.snapshots, other.snapshots} {
		_, err := h.Refresh(t.Context())
		require.NoError(t, err)
		snap := h.Current()
		require.NotNil(t, snap.Accounts["acme"].CreditLimit)
		require.NotNil(t, snap.Accounts["acme-own"].MonthlyLimit)
	}
}

// TestOneProcessDecidesAboutQuarantine at a time: an entry that is discarded while it is
// sent again would be charged all the same. Accounts change meanwhile.
func TestOneProcessDecidesAboutQuarantine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply("mode: prepaid", "")
	replaying, done := make(chan struct{}), make(chan struct{})
	var order []string
	first := make(chan error, 1)
	go func() {
		first <- r.DecideQuarantine(t.Context(), func(context.Context) error {
			close(replaying)
			<-done
			order = append(order, "replayed")
			return nil
		})
	}()
	<-replaying
	second := make(chan error, 1)
	go func() {
		second <- r.DecideQuarantine(t.Context(), func(context.Context) error {
			order = append(order, "discarded")
			return nil
		})
	}()
	r.apply("mode: prepaid", allocated)
	close(done)
	require.NoError(t, <-first)
	require.NoError(t, <-second)
	require.Equal(t, []string{"replayed", "discarded"}, order)
}

// TestASuspensionThatARebuildDidNotSee: Redis is lost and made anew between the script and the row.
func TestASuspensionThatARebuildDidNotSee(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.apply("mode: prepaid", "")
	m := &meeting{Server: r.server, table: "states"}
	s := r.over(m)
	m.before = func() {
		r.redis.Empty()
		_, err := r.meta(t.Context(), 0)
		require.NoError(t, err)
	}
	require.NoError(t, s.Suspend(t.Context(), "acme-own", OperatorActor, "fraud"))
	require.Nil(t, m.before)
	st, err := r.store.State(t.Context(), "acme-own")
	require.NoError(t, err)
	assert.Equal(t, metering.FlagManualOperator, st.Own)
}

// TestABudgetIsSweptAgain: what comes back after a sweep is moved under a reference of its own.
func TestABudgetIsSweptAgain(t *testing.T) {
	t.Parallel()
	r := newFundedRig(t)
	r.apply("mode: prepaid", "")
	r.holds(100_000_000, 0)
	_, err := r.transfer(t.Context(), &metering.Transfer{
		Ref: "back", Kind: metering.TransferAdjust, ParentID: "acme", AccountID: "acme-own", Amount: 10_000_000, Currency: "EUR", Reason: "x", Actor: OperatorActor,
	})
	require.NoError(t, err)
	r.holds(100_000_000, 10_000_000)
	require.NoError(t, r.SweepLeftBudgets(t.Context()))
	r.holds(110_000_000, 0)
}
