package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/balance/balancetest"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
)

func TestMain(m *testing.M) { testengine.Main(m) }

var start = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// rig has parents p0, p1, … of one sub-account each.
type rig struct {
	tb     testing.TB
	store  *balance.Store
	ledger *ledger.Ledger
	now    clock.Clock
	log    *slog.Logger
}

func (r *rig) apply(parents int) {
	r.tb.Helper()
	list := make([]*metering.Account, 0, 2*parents)
	for i := range parents {
		a := &metering.Account{
			ID: fmt.Sprint("p", i), Module: metering.Enterprise, Mode: metering.Prepaid, Currency: "EUR", Zones: []metering.ZoneFrom{{Zone: "UTC"}}, Catalog: 1,
		}
		list = append(list, a, &metering.Account{ID: a.ID + "-sub", ParentID: a.ID, Source: metering.SourceAllocated, Mode: a.Mode, Currency: "EUR", Catalog: 1})
	}
	require.NoError(r.tb, r.ledger.SaveCatalog(r.tb.Context(), 1, list, nil, start))
}

func (r *rig) rebuild() {
	r.tb.Helper()
	for p := range r.store.Partitions() {
		require.NoError(r.tb, New(r.store, r.ledger, r.now, r.log, Options{Buckets: 4}).Rebuild(r.tb.Context(), p, "test"))
	}
}

func (r *rig) reconcile() Result {
	r.tb.Helper()
	snap, err := r.ledger.Snapshot(r.tb.Context())
	require.NoError(r.tb, err)
	res, err := NewReconciler(New(r.store, r.ledger, r.now, r.log, Options{Buckets: 4}), r.log).Run(r.tb.Context(), snap)
	require.NoError(r.tb, err)
	return res
}

// topups brings money to each parent, in the ledger alone.
func (r *rig) topups(parents int, ref string) {
	r.tb.Helper()
	list := make([]ledger.TransferRow, parents)
	for i := range list {
		id := fmt.Sprint("p", i)
		list[i] = ledger.TransferRow{Booked: "2026-11", At: start, Seq: 1, Transfer: metering.Transfer{
			Ref: ref + id, Kind: metering.TransferTopup, ParentID: id, AccountID: id, Amount: metering.Micros(i + 1), Currency: "EUR", Actor: "operator",
		}}
	}
	require.NoError(r.tb, r.ledger.InsertTransfers(r.tb.Context(), list))
}

// counting is a ledger of memory that knows how often it was asked.
type counting struct {
	*ledgertest.Server

	asked map[string]int
}

func (c *counting) Query(ctx context.Context, name, text string, params map[string]string, scan func(driver.Rows) error) error {
	c.asked[name]++
	return c.Server.Query(ctx, name, text, params, scan)
}

// TestManyParentsAreReadAtOnce: no question is asked for each parent, in every
// partition each has its own sums, and what all of them lack is healed in one run.
func TestManyParentsAreReadAtOnce(t *testing.T) {
	t.Parallel()
	questions := func(parents int) map[string]int {
		now := clock.NewFake(start)
		server := &counting{ledgertest.New(), map[string]int{}}
		r := &rig{t, balance.New(balancetest.New(now.Now).Client(), 2), ledger.NewWithServer(server), now, slog.New(slog.DiscardHandler)}
		r.apply(parents)
		r.topups(parents, "a")
		clear(server.asked)
		r.rebuild()
		require.Equal(t, Result{Checked: 2 * parents}, r.reconcile())
		asked := maps.Clone(server.asked)

		r.topups(parents, "late")
		drifted := r.reconcile()
		require.ElementsMatch(t, lateTopups(parents), drifted.Drifts)
		drifted.Drifts = nil
		require.Equal(t, Result{Checked: 2 * parents, Drifted: parents, Healed: parents}, drifted)
		require.Equal(t, Result{Checked: 2 * parents}, r.reconcile())
		for i := range parents {
			st, err := r.store.State(t.Context(), fmt.Sprint("p", i))
			require.NoError(t, err)
			require.EqualValues(t, 2*(i+1), st.Balance)
		}
		return asked
	}
	require.Equal(t, questions(2), questions(60))
}

// lateTopups are what each parent's second top-up makes of its wallet.
func lateTopups(parents int) []Difference {
	out := make([]Difference, parents)
	for i := range out {
		out[i] = Difference{
			AccountID: fmt.Sprint("p", i), Field: "bal",
			Was: metering.Micros(i + 1).String(), Is: metering.Micros(2 * (i + 1)).String(), Healed: true,
		}
	}
	return out
}

func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	store := balance.New(balancetest.New(time.Now).Client(), 1)
	snap := &metering.Snapshot{Subs: map[string][]string{"b": make([]string, ledger.AccountsMax+1), "c": make([]string, ledger.AccountsMax-1)}, Parents: []string{"a", "b", "c", "d"}}
	require.Equal(t, [][][]string{{{"a"}, {"b"}, {"c"}, {"d"}}}, batches(store, snap))
	snap.Subs, snap.Parents = nil, strings.Split(strings.Repeat("p,", ledger.ParentsMax)+"q", ",")
	require.Equal(t, [][][]string{{snap.Parents[:ledger.ParentsMax], {"q"}}}, batches(store, snap))
}

// BenchmarkRebuild of a million rows, which one parent has or many.
func BenchmarkRebuild(b *testing.B) {
	for _, parents := range []int{1, 200, 1000} {
		b.Run(fmt.Sprint("parents=", parents), func(b *testing.B) {
			e := testengine.Start(b)
			l, err := ledger.Open(ledger.Options{
				URL:      e.ClickHouseAddress(),
				Password: e.ClickHousePassword, Database: e.Database,
			})
			require.NoError(b, err)
			b.Cleanup(func() { _ = l.Close() })
			_, err = l.Migrate(b.Context())
			require.NoError(b, err)
			r := &rig{b, balance.New(e.Redis(b), 1), l, clock.System(), slog.New(slog.DiscardHandler)}
			r.apply(parents)
			require.NoError(b, e.ClickHouse(b).Exec(b.Context(), fmt.Sprintf(`INSERT INTO records (account_id, kind, id, occurred_at, parent_id, channel,
    direction, amount, currency, purse, content_hash, period, booked, epoch, seq, stored_at)
SELECT 'p' || toString(number %% %[1]d) || '-sub', 'usage', 'm' || toString(number), now64(3), 'p' || toString(number %% %[1]d), 'sms', 'outbound',
    toDecimal64(1, 6), 'EUR', 'budget', number, '2026-11', '2026-11', 0, 1, now64(3) FROM numbers(1000000)`, parents)))
			for b.Loop() {
				r.rebuild()
			}
		})
	}
}

// TestALostAccountIsSeen, whoever's it is, and what it held is there again; the
// partition's others keep theirs.
func TestALostAccountIsSeen(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"p1", "p1-sub"} {
		now := clock.NewFake(start)
		memory := balancetest.New(now.Now)
		r := &rig{t, balance.New(memory.Client(), 2), ledger.NewWithServer(ledgertest.New()), now, slog.New(slog.DiscardHandler)}
		r.apply(4)
		r.topups(4, "a")
		r.rebuild()
		other := 1 - r.store.PartitionOf("p1")
		stays, err := r.store.Meta(t.Context(), other)
		require.NoError(t, err)
		require.NoError(t, memory.Client().Del(t.Context(), fmt.Sprintf("{p%02d}:a:%s", 1-other, id)).Err())

		res := r.reconcile()
		require.Equal(t, Result{Checked: 8, Drifted: 1, Healed: 1, Drifts: []Difference{{AccountID: id, Field: "account", Was: "lost", Is: "held", Healed: true}}}, res)
		require.Equal(t, Result{Checked: 8}, r.reconcile())
		st, err := r.store.State(t.Context(), "p1")
		require.NoError(t, err)
		require.EqualValues(t, 2, st.Balance)
		same, err := r.store.Meta(t.Context(), other)
		require.NoError(t, err)
		require.Equal(t, stays.Epoch, same.Epoch, "nothing of it was lost")
	}
}

// TestAccountsAppliedDuringARebuild are in the projection that it makes.
func TestAccountsAppliedDuringARebuild(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(start)
	r := &rig{t, balance.New(balancetest.New(now.Now).Client(), 1), ledger.NewWithServer(ledgertest.New()), now, slog.New(slog.DiscardHandler)}
	r.apply(1)
	p := New(r.store, r.ledger, r.now, r.log, Options{Buckets: 4})
	p.Progress = func(int64, int64) {
		limit := metering.Micros(7)
		snap, err := r.ledger.Snapshot(t.Context())
		require.NoError(t, err)
		parent, sub := *snap.Accounts["p0"], *snap.Accounts["p0-sub"]
		parent.Catalog, sub.Catalog, sub.MonthlyLimit = 2, 2, &limit
		added := metering.Account{ID: "p0-new", ParentID: "p0", Source: metering.SourceAllocated, Mode: metering.Prepaid, Currency: "EUR", Catalog: 2}
		require.NoError(t, r.ledger.SaveCatalog(t.Context(), 2, []*metering.Account{&parent, &sub, &added}, nil, start))
	}
	require.NoError(t, p.Rebuild(t.Context(), 0, "test"))
	st, err := r.store.State(t.Context(), "p0-new")
	require.NoError(t, err)
	require.True(t, st.Held)
	held, err := r.store.Redis().HGet(t.Context(), "{p00}:a:p0-sub", "lim").Result()
	require.NoError(t, err)
	require.Equal(t, "7", held)
	meta, err := r.store.Meta(t.Context(), 0)
	require.NoError(t, err)
	require.EqualValues(t, 2, meta.Catalog)
}
