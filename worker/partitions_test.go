package worker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

// TestAReferenceOfTwoPartitions is used once, however close those are that use it.
func TestAReferenceOfTwoPartitions(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 4)
	parents := []string{"ref-a", "ref-b", "ref-c", "ref-d"}
	var text strings.Builder
	for _, id := range parents {
		fmt.Fprintf(&text, "  - {id: %s, module: enterprise, timezone: UTC, plan: hook-plan, funding: {mode: prepaid}}\n", id)
	}
	h.Apply(workertest.Parents(text.String()))
	h.work(Options{})
	topup := func(parent, ref string) error {
		_, err := h.Admin.Transfer(t.Context(), metering.Transfer{Ref: ref, Kind: metering.TransferTopup, AccountID: parent, Amount: 5_000_000, Actor: "operator"})
		return err
	}
	const refs = 10
	for i := range refs {
		var made atomic.Int64
		var all sync.WaitGroup
		for _, id := range parents {
			all.Go(func() {
				if err := topup(id, fmt.Sprintf("inv-%d", i)); err == nil {
					made.Add(1)
				} else {
					assert.ErrorIs(t, err, balance.ErrReference)
				}
			})
		}
		all.Wait()
		assert.EqualValues(t, 1, made.Load(), "inv-%d", i)
	}
	sum := metering.Micros(0)
	for _, id := range parents {
		sum += h.balanceOf(id)
	}
	assert.EqualValues(t, refs*5_000_000, sum)
	assert.Zero(t, h.Reconcile())
}

// TestAWorkerOfAnotherNumberOfPartitions doesn't start beside others, which charge
// elsewhere. One that is alone takes its number up: nothing is charged twice.
func TestAWorkerOfAnotherNumberOfPartitions(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 3)
	stop := h.work(Options{})
	lines := []string{workertest.Message("acme-own", "a", time.Hour), workertest.Message(workertest.Shop, "b", time.Hour), workertest.Message(workertest.Shop, "c", 30*time.Hour)}
	require.Equal(t, balance.Counts{Stored: 3}, h.Batch().Task(lines...).Wait())
	stop()
	made := 3
	for _, n := range []int{1, 4} {
		h.Repartition(n)
		d, _ := workertest.Connect(t, h.Address())
		w, err := New(Deps(d), Options{})
		require.NoError(t, err)
		err = w.prepare(t.Context())
		require.ErrorContains(t, err, "meterd rebuild --partitions")
		var other *balance.PartitionsError
		require.ErrorAs(t, err, &other)
		assert.Equal(t, balance.PartitionsError{Made: made, Asked: n}, *other)

		made = n
		stop = h.work(Options{})
		assert.Equal(t, balance.Counts{Duplicates: 3}, h.Batch().Task(lines...).Wait())
		h.Charged(workertest.Shop, 2)
		assert.Zero(t, h.Reconcile())
		stop()
	}
}

// TestAWorkerOfAnotherLedger takes nothing off the queues, not even one that is
// alone: what it stored would be in no bill.
func TestAWorkerOfAnotherLedger(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	stop := h.work(Options{})
	require.Equal(t, balance.Counts{Stored: 1}, h.Batch().Task(workertest.Message(workertest.Shop, "a", time.Hour)).Wait())
	stop()
	other := h.Address()
	other.Database += "_typo"
	t.Cleanup(func() {
		_ = h.Engines.ClickHouse(t).Exec(context.WithoutCancel(t.Context()), "DROP DATABASE IF EXISTS "+other.Database+" SYNC")
	})
	waits := h.Batch().Task(workertest.Message(workertest.Shop, "b", time.Hour))
	for _, alone := range []bool{false, true} {
		d, _ := workertest.Connect(t, other)
		w, err := New(Deps(d), Options{Alone: alone})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err = w.Run(ctx)
		cancel()
		var wrong *balance.LedgerError
		require.ErrorAs(t, err, &wrong)
		require.ErrorContains(t, err, "--database "+h.Address().Database+",")
		require.ErrorContains(t, err, "meterd rebuild --database "+other.Database)
	}
	h.work(Options{})
	assert.Equal(t, balance.Counts{Stored: 1}, waits.Wait())
	h.Charged(workertest.Shop, 2)
	assert.Zero(t, h.Reconcile())
}
