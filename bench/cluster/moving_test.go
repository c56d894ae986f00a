package cluster_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/gate"
	"github.com/meterd/meterd/metering/reconcile"
)

// Lines that are sent before slots move, and at least while they do.
const (
	calm = 5_000
	busy = 30_000
)

// What is sent over a cluster is charged once, also while a partition and a
// queue move to other nodes; suspensions take effect and are told.
func TestSlotsMoveWhileRecordsComeIn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.spread()
	r.work()
	g := r.follow()

	n := 0
	s := r.send("calm", func() bool { n++; return n > calm })
	counts := r.wait(s, calm)
	assert.Equal(t, balance.Counts{Stored: calm - r.traffic.duplicates, Duplicates: r.traffic.duplicates}, counts)
	assert.True(t, g.Check(t.Context(), r.book.late(), "sms").Allowed)

	duplicates := r.traffic.duplicates
	started := time.Now()
	var sent atomic.Int64
	var moved atomic.Bool
	s = r.send("busy", func() bool {
		return sent.Add(1) > busy && moved.Load()
	})
	eventually(t, "records come in", time.Minute, func() bool { return sent.Load() > busy/10 })
	before, err := r.Store.Meta(t.Context(), 0)
	require.NoError(t, err)
	r.nodes.move("{p00}")
	r.nodes.move(wire.PendingKey(wire.IngestQueue(0)))
	moved.Store(true)
	<-s.done
	counts = r.wait(s, sent.Load()-1)
	duplicates = r.traffic.duplicates - duplicates
	t.Logf("%d lines in %s: %+v, %d duplicates among them", sent.Load()-1, time.Since(started).Round(time.Millisecond), counts, duplicates)
	// What was stored before the projection was made anew is a duplicate when its
	// task runs again.
	assert.GreaterOrEqual(t, counts.Duplicates, duplicates)

	after, err := r.Store.Meta(t.Context(), 0)
	require.NoError(t, err)
	assert.Greater(t, after.Epoch, before.Epoch, "a partition that has moved is made anew")
	r.suspendLate(g)
	eventually(t, "nothing is left", 2*time.Minute, func() bool { return r.left() == "" })
	r.check()
}

// spread wants partitions, and queues, on several nodes.
func (r *rig) spread() {
	r.t.Helper()
	on := map[*node]int{}
	for p := range partitions {
		on[r.nodes.owner("{p0"+string(rune('0'+p))+"}")]++
	}
	assert.Len(r.t, on, 3, "nodes with partitions")
	clear(on)
	for _, q := range wire.IngestQueues(wire.IngestShards) {
		on[r.nodes.owner(wire.PendingKey(q))]++
	}
	assert.GreaterOrEqual(r.t, len(on), 2, "nodes with ingest queues")
}

// follow opens a gate that learns of changes only when they are published.
func (r *rig) follow() *gate.Gate {
	r.t.Helper()
	g := gate.New(r.nodes.client(), gate.Options{Partitions: partitions, MaxAge: time.Hour, Timeout: 5 * time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); g.Follow(ctx) }()
	r.t.Cleanup(func() { cancel(); <-ended })
	return g
}

// suspendLate wants the gate to refuse an account of the partition that has
// moved, and its parent's other one, which crossed its budget meanwhile.
func (r *rig) suspendLate(g *gate.Gate) {
	r.t.Helper()
	ctx := r.t.Context()
	eventually(r.t, "an account of the moved partition may send", 30*time.Second, func() bool {
		a := g.Check(ctx, r.book.late(), "sms")
		return a.Allowed && !a.Stale
	})
	c, err := jobs.NewClient(r.Redis, jobs.ClientOptions{})
	require.NoError(r.t, err)
	require.Greater(r.t, r.traffic.sums[r.book.poor()].amount, metering.Micros(budget))
	for r.traffic.sums[r.book.late()].amount < limit {
		require.NoError(r.t, c.Add(ctx, []byte(r.traffic.message(r.book.late()))))
	}
	require.NoError(r.t, c.Close(ctx))
	for _, id := range []string{r.book.late(), r.book.poor()} {
		eventually(r.t, "the gate refuses "+id, 30*time.Second, func() bool {
			return g.Check(ctx, id, "sms").Code == gate.Suspended
		})
		eventually(r.t, "the receiver is told of "+id, 30*time.Second, func() bool { return r.told.heard("account.suspend", id) })
	}
	assert.True(r.t, g.Check(ctx, r.book.busy[2], "sms").Allowed)
}

// check compares ledger and projection with what was sent.
func (r *rig) check() {
	r.t.Helper()
	ctx := r.t.Context()
	_, err := r.Snapshots.Refresh(ctx)
	require.NoError(r.t, err)
	var res reconcile.Result
	eventually(r.t, "projection and ledger can be compared", time.Minute, func() bool {
		res, err = reconcile.NewReconciler(r.Projector, r.Log).Run(ctx, r.Snapshots.Current())
		return !errors.Is(err, reconcile.ErrBusy)
	})
	require.NoError(r.t, err)
	assert.Equal(r.t, reconcile.Result{Checked: 3*partitions + 1}, res)
	var findings uint64
	require.NoError(r.t, r.ch.QueryRow(ctx, "SELECT count() FROM findings").Scan(&findings))
	assert.Zero(r.t, findings)
	for id, want := range r.traffic.sums {
		var rows, ids uint64
		var micros int64
		require.NoError(r.t, r.ch.QueryRow(ctx, `SELECT count(), uniqExact(id), toInt64(sum(amount) * 1000000) FROM records FINAL WHERE account_id = '`+id+`'`).Scan(&rows, &ids, &micros))
		assert.Equal(r.t, *want, sum{int64(rows), metering.Micros(micros)}, "rows of %s", id)
		assert.Equal(r.t, rows, ids, "identities of %s", id)
	}
	r.balances()
}

// balances are transfers less charges, and use is what was charged.
func (r *rig) balances() {
	r.t.Helper()
	for p, parent := range r.book.parents {
		used := r.traffic.sums[parent+"-a"].amount + r.traffic.sums[parent+"-b"].amount
		balances := map[string]metering.Micros{parent: 0, parent + "-a": 0, parent + "-b": 0}
		if p == 0 {
			used += r.traffic.sums[r.book.late()].amount
			balances[r.book.poor()] = budget - r.traffic.sums[r.book.poor()].amount
			balances[parent] = wallet - budget - used + r.traffic.sums[r.book.poor()].amount
		}
		for id, want := range balances {
			st, err := r.Store.State(r.t.Context(), id)
			require.NoError(r.t, err)
			assert.Equal(r.t, want, st.Balance, "balance of %s", id)
			have, all := metering.Micros(0), used
			for _, v := range st.Used {
				have += v
			}
			if id != parent {
				all = r.traffic.sums[id].amount
			}
			assert.Equal(r.t, all, have, "use of %s", id)
		}
	}
}
