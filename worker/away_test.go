package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

// TestLimitsHoldWhileTheLedgerIsAway: whatever else is in a task, what can be charged
// without the ledger is, in every partition; the rest has its outcome once it is back.
func TestLimitsHoldWhileTheLedgerIsAway(t *testing.T) {
	t.Parallel()
	const old = 40 * time.Hour // colder than the dedup window
	late1 := workertest.Message("globex-shop", "late", old)
	late3 := strings.Replace(late1, `"channel"`, `"units":"3","channel"`, 1) // the first stands
	for _, c := range []struct {
		name  string
		lines []string
		want  balance.Counts
		apply string // meanwhile, past the door
	}{
		{"an account that a newer snapshot may know", []string{workertest.Message("nobody", "u", 0)}, balance.Counts{Quarantined: 1}, ""},
		{"an account that a newer snapshot knows", []string{workertest.Message("globex-new", "n", 0)}, balance.Counts{Stored: 1}, workertest.WithNewAccount},
		{"a channel that may be enabled by now", []string{workertest.Line("globex-shop", "v", 0, `,"channel":"voice"`)}, balance.Counts{Quarantined: 1}, ""},
		{"a late record", []string{workertest.Message("globex-shop", "late", old), workertest.Message("acme-own", "late", old)}, balance.Counts{Stored: 2}, ""},
		{"a late record and its copy", []string{workertest.Message("globex-shop", "late", old), workertest.Message("globex-shop", "late", old)}, balance.Counts{Stored: 1, Duplicates: 1}, ""},
		{"two contents of a late record", []string{late1, late3, late1}, balance.Counts{Stored: 1, Duplicates: 1, Quarantined: 1}, ""},
		{"two of an identity, the first of a channel that may be enabled", []string{workertest.Line("globex-shop", "v", 0, `,"channel":"voice"`), workertest.Message("globex-shop", "v", 0)}, balance.Counts{Stored: 1, Quarantined: 1}, ""},
		{"no record", []string{`{"id":`}, balance.Counts{Quarantined: 1}, ""},
		{"a late record among what isn't known", []string{workertest.Message("globex-shop", "late", old), workertest.Message("nobody", "late", old), `{}`}, balance.Counts{Stored: 1, Quarantined: 2}, ""},
	} {
		for _, partitions := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s, %d partitions", c.name, partitions), func(t *testing.T) {
				t.Parallel()
				h := newHarnessOf(t, partitions)
				d, deps := h.BehindDoor()
				h.workWith(deps, Options{})
				h.Batch().Task(workertest.Message("globex-shop", "before", 0), workertest.Message("acme-own", "before", 0)).Wait()

				d.Shut.Store(true)
				b := h.Batch().Task(append([]string{workertest.Message("globex-shop", "m", 0), workertest.Message("acme-own", "m", 0)}, c.lines...)...)
				for _, id := range []string{"globex-shop", "acme-own"} {
					h.Eventually("it is charged", func() bool { return h.Used(id) >= 2*workertest.Price })
				}
				if c.apply != "" {
					h.Apply(c.apply)
				}
				d.Shut.Store(false)
				want := c.want
				want.Stored += 2
				require.Equal(t, want, b.Wait())
				require.Zero(t, h.Reconcile())
				assert.LessOrEqual(t, h.Used("globex-shop"), metering.Micros(3*workertest.Price))
			})
		}
	}
}

// TestLimitsHoldWhileTheLedgerHangs, which is away for who waits for it: no line that
// needs it holds up another, nor do those that need nothing else.
func TestLimitsHoldWhileTheLedgerHangs(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 4)
	d, deps := h.BehindDoor()
	h.workWith(deps, Options{})
	h.Batch().Task(workertest.Message("globex-shop", "before", 0), workertest.Message("acme-own", "before", 0)).Wait()

	everybody := d.Stop("")
	const old = 40 * time.Hour
	b := h.Batch()
	for i := range 20 { // more than are worked on at a time
		b.Task(workertest.Message("globex-shop", fmt.Sprint("late", i), old)).Task(workertest.Message("nobody", fmt.Sprint(i), 0))
	}
	b.Task(workertest.Message("globex-shop", "m", 0), workertest.Message("acme-own", "m", 0), workertest.Message("globex-shop", "late", old), workertest.Message("nobody", "x", 0))
	for _, id := range []string{"globex-shop", "acme-own"} {
		h.Eventually("it is charged", func() bool { return h.Used(id) >= 2*workertest.Price })
	}
	close(everybody.Released)
	require.Equal(t, balance.Counts{Stored: 23, Quarantined: 21}, b.Wait())
	require.Zero(t, h.Reconcile())
}

// TestEveryWorkerKnowsNewAccounts, whatever its roles, before a task needs them: hooks
// and reports go by them too, and while the ledger is away nobody could ask.
func TestEveryWorkerKnowsNewAccounts(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"ingest", "suspensions", "reports", "scheduler"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			deps, _ := workertest.Connect(t, h.Address())
			h.workWith(deps, Options{Roles: []string{role}})
			require.Nil(t, deps.Snapshots.Current().Accounts["globex-new"])
			h.Apply(workertest.WithNewAccount)
			h.Eventually("it knows the new account", func() bool { return deps.Snapshots.Current().Accounts["globex-new"] != nil })
		})
	}
}
