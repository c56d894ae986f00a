package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering/balance"
)

// TestAWorkerOfAnotherNumberOfPartitions doesn't start beside others, which charge
// elsewhere. One that is alone takes its number up: nothing is charged twice.
func TestAWorkerOfAnotherNumberOfPartitions(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 3)
	stop := h.work(Options{})
	lines := []string{message("acme-own", "a", time.Hour), message(shop, "b", time.Hour), message(shop, "c", 30*time.Hour)}
	require.Equal(t, balance.Counts{Stored: 3}, h.batch().task(lines...).wait())
	stop()
	for _, n := range []int{1, 4} {
		made := h.partitions
		h.partitions = n
		d, _ := connect(t, h.address())
		w, err := New(d, Options{})
		require.NoError(t, err)
		err = w.prepare(t.Context())
		require.ErrorContains(t, err, "meterd rebuild --partitions")
		var other *balance.PartitionsError
		require.ErrorAs(t, err, &other)
		assert.Equal(t, balance.PartitionsError{Made: made, Asked: n}, *other)

		h.Deps, h.admin = connect(t, h.address())
		stop = h.work(Options{})
		assert.Equal(t, balance.Counts{Duplicates: 3}, h.batch().task(lines...).wait())
		h.charged(shop, 2)
		assert.Zero(t, h.reconcile())
		stop()
	}
}
