package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestALostAccountComesBack whoever meets it first: what it held, who was suspended by
// hand, and a finding.
func TestALostAccountComesBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(movingAccounts)
	stop := h.work(Options{ReconcileEvery: time.Hour})
	h.transfer("top", metering.TransferTopup, "mover", 1_000_000)
	h.transfer("all", metering.TransferAllocate, "mover-sub", 500_000)
	require.NoError(t, h.admin.Suspend(t.Context(), "mover-sub", "operator", "asks for it"))
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
		h.batch().task(message("mover-sub", "a", 0)).wait()
		sub -= price
	})
	lost("mover", "a record of a sub-account", func() {
		h.batch().task(message("mover-sub", "b", 0)).wait()
		sub -= price
	})
	lost("mover-sub", "a transfer", func() {
		h.transfer("more", metering.TransferAllocate, "mover-sub", 1)
		h.transfer("less", metering.TransferReclaim, "mover-sub", 1)
	})
	lost("mover-sub", "who resumes it", func() {
		require.NoError(t, h.admin.Resume(t.Context(), "mover-sub", "operator", ""))
		require.NoError(t, h.admin.Suspend(t.Context(), "mover-sub", "operator", "asks again"))
	})
	stop()
	h.work(Options{ReconcileEvery: time.Second})
	lost("mover", "the worker's reconcile", func() {
		h.eventually("it is there again", func() bool { return h.Redis.Exists(t.Context(), "{p00}:a:mover").Val() == 1 })
		h.knowsAccounts()
		h.eventually("all are judged", func() bool { _, err := h.Store.State(t.Context(), "mover-sub"); return err == nil })
	})
	require.Zero(t, h.reconcile())
}
