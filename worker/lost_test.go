package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/worker/workertest"
)

// TestALostAccountComesBack whoever meets it first: what it held, who was suspended by
// hand, and a finding.
func TestALostAccountComesBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(movingAccounts)
	stop := h.work(Options{ReconcileEvery: time.Hour})
	h.transfer("top", metering.TransferTopup, "mover", 1_000_000)
	h.transfer("all", metering.TransferAllocate, "mover-sub", 500_000)
	require.NoError(t, h.Admin.Suspend(t.Context(), "mover-sub", "operator", "asks for it"))
	sub := metering.Micros(500_000)
	found := 0
	lost := func(id, who string, meet func()) {
		require.NoError(t, h.Redis.Del(t.Context(), "{p00}:a:"+id).Err())
		meet()
		found++
		require.Equal(t, []metering.Micros{500_000, sub}, []metering.Micros{h.balanceOf("mover"), h.balanceOf("mover-sub")}, who)
		st, err := h.Store.State(t.Context(), "mover-sub")
		require.NoError(t, err)
		require.Equal(t, metering.FlagManualOperator, st.Own, who)
		require.Len(t, h.pairs(`SELECT toString(found_at) || account_id, actual FROM findings WHERE field = 'account'`), found, who)
	}
	lost("mover-sub", "a record", func() {
		h.Batch().Task(workertest.Message("mover-sub", "a", 0)).Wait()
		sub -= workertest.Price
	})
	lost("mover", "a record of a sub-account", func() {
		h.Batch().Task(workertest.Message("mover-sub", "b", 0)).Wait()
		sub -= workertest.Price
	})
	lost("mover-sub", "a transfer", func() {
		h.transfer("more", metering.TransferAllocate, "mover-sub", 1)
		h.transfer("less", metering.TransferReclaim, "mover-sub", 1)
	})
	lost("mover-sub", "who resumes it", func() {
		require.NoError(t, h.Admin.Resume(t.Context(), "mover-sub", "operator", ""))
		require.NoError(t, h.Admin.Suspend(t.Context(), "mover-sub", "operator", "asks again"))
	})
	limit := strings.Replace(movingAccounts, "{source: allocated}", "{source: allocated, monthly_limit: \"400\"}", 1)
	lost("mover-sub", "who changes it", func() { h.Apply(limit) })
	lost("mover", "who changes its sub-account", func() { h.Apply(movingAccounts) })
	lost("mover", "who changes it", func() { h.Apply(strings.Replace(movingAccounts, "Europe/Rome", "Asia/Tokyo", 1)) })
	lost("mover-sub", "another process's snapshot", func() {
		// What an apply that died before it pushed has left.
		sub := *h.Snapshots.Current().Accounts["mover-sub"]
		sub.Name = "renamed"
		number, err := h.Ledger.CatalogNumber(t.Context())
		require.NoError(t, err)
		require.NoError(t, h.Ledger.SaveCatalog(t.Context(), number+1, []*metering.Account{&sub}, nil, time.Now()))
		_, err = h.Snapshots.Refresh(t.Context())
		require.NoError(t, err)
		_, err = h.Projector.Ensure(t.Context(), 0)
		require.NoError(t, err)
	})
	lost("mover-sub", "whom it is listed to", func() { require.NoError(t, h.Admin.Whole(t.Context(), "mover-sub")) })
	stop()
	stop = h.work(Options{ReconcileEvery: time.Second})
	lost("mover", "the worker's reconcile", func() {
		h.Eventually("it is there again", func() bool { return h.Redis.Exists(t.Context(), "{p00}:a:mover").Val() == 1 })
		h.KnowsAccounts()
		h.Eventually("all are judged", func() bool { _, err := h.Store.State(t.Context(), "mover-sub"); return err == nil })
	})
	require.Zero(t, h.Reconcile())

	stop() // nobody else would see it in time
	require.NoError(t, h.Redis.Del(t.Context(), "{p00}:a:mover-sub").Err())
	h.Apply(strings.Replace(movingAccounts, "{source: allocated}", "{source: shared}", 1))
	require.Equal(t, []metering.Micros{500_000 + sub, 0}, []metering.Micros{h.balanceOf("mover"), h.balanceOf("mover-sub")}, "its budget is swept")
	h.Apply(movingAccounts)
	h.transfer("again", metering.TransferAllocate, "mover-sub", 7)
	require.NoError(t, h.Redis.Del(t.Context(), "{p00}:a:mover-sub", "{p00}:a:mover").Err())
	_, err := h.Admin.Close(t.Context(), "mover-sub")
	require.NoError(t, err)
	require.Equal(t, []metering.Micros{500_000 + sub, 0}, []metering.Micros{h.balanceOf("mover"), h.balanceOf("mover-sub")}, "and at its closing")
	require.Zero(t, h.Reconcile())
}

// TestLostAccountsOfEachPartition are looked for, not of the first alone.
func TestLostAccountsOfEachPartition(t *testing.T) {
	t.Parallel()
	const partitions = 8
	h := newHarnessOf(t, partitions)
	ids := []string{"acme", "acme-own", "globex", "globex-shop"}
	of := map[int]bool{}
	var keys []string
	for _, id := range ids {
		p := h.Store.PartitionOf(h.Snapshots.Current().Accounts[id].Parent())
		of[p] = true
		keys = append(keys, fmt.Sprintf("{p%02d}:a:%s", p, id))
	}
	require.Len(t, of, 2, "the two parents are in two partitions")
	for range 5 { // in whatever order they are looked through
		for _, lost := range keys {
			require.NoError(t, h.Redis.Del(t.Context(), lost).Err())
			require.NoError(t, h.Admin.Whole(t.Context(), ids...))
			for _, k := range keys {
				require.EqualValues(t, 1, h.Redis.Exists(t.Context(), k).Val(), "%s, once %s was lost", k, lost)
			}
		}
	}
}
