package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

// TestTheFirstStandsWhereALookupFails: of an identity that couldn't be asked for no
// other content is charged in the place of the first.
func TestTheFirstStandsWhereALookupFails(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, pl := h.byHandBehindDoor()
	first := workertest.Message("globex-shop", "late", 40*time.Hour)
	other := strings.Replace(first, `"channel"`, `"units":"3","channel"`, 1)
	lines := [][]byte{[]byte(workertest.Message("globex-shop", "m", 0)), []byte(first), []byte(other), []byte(first)}
	d.Lookups.Store(1)
	require.NoError(t, pl.process(t.Context(), newTask("run-x.1", lines, false)))
	assert.Equal(t, metering.Micros(workertest.Price), h.Used("globex-shop"))

	assert.Equal(t, lines[1:], h.aside(pl), "in their order")
}

// TestNothingIsRefusedForAnotherOnesSnapshot: the snapshot that another has read, while
// this task couldn't ask for one, is newer than its own but not the newest.
func TestNothingIsRefusedForAnotherOnesSnapshot(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, pl := h.byHandBehindDoor()
	h.Apply(workertest.Accounts + "      - {id: globex-other, channels: [sms]}\n")
	catalog := d.Stop("argMax(doc, number)")
	var others sync.WaitGroup
	others.Go(func() { _, _ = pl.snapshots.Refresh(t.Context()) })
	h.Eventually("another reads a snapshot", catalog.Arrived.Load)

	lines := [][]byte{[]byte(workertest.Message("globex-shop", "m", 0)), []byte(workertest.Message("globex-new", "n", 0))}
	failed := make(chan error, 1)
	go func() { failed <- pl.process(t.Context(), newTask("run-x.1", lines, false)) }()
	h.Eventually("the task waits for its own", func() bool { return pl.outage.asked() == 1 })
	d.Shut.Store(true) // who stands at it has passed
	close(catalog.Released)
	others.Wait()
	require.ErrorIs(t, <-failed, ledger.ErrAway)
	h.Apply(workertest.WithNewAccount)
	d.Shut.Store(false)
	require.NoError(t, pl.process(t.Context(), newTask("run-x.1", lines, false)))
	assert.Equal(t, lines[1:], h.aside(pl))
}

// asked is how many wait for the ledger.
func (o *outage) asked() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asking)
}

// TestWhatIsSetAsideStaysSo: a newer snapshot brings a line into another partition's
// slice, which isn't charged yet, after the first one's answer has set it aside. It is
// counted once.
func TestWhatIsSetAsideStaysSo(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 4)
	a, b := h.parentIn(true), h.parentIn(false)
	accounts := func(subs int) {
		h.Apply(workertest.Parents(workertest.Parent(a, "", 1), workertest.Parent(b, "", subs)))
	}
	accounts(1)
	d, pl := h.byHandBehindDoor()
	lines := [][]byte{[]byte(workertest.Message(a+"-0", "m", 0)), []byte(workertest.Message(b+"-1", "n", 0))}
	attempt := func() error { return pl.process(t.Context(), newTask("run-x.1", lines, false)) }
	d.Shut.Store(true)
	require.ErrorIs(t, attempt(), ledger.ErrAway)
	accounts(2)
	d.Shut.Store(false)
	_, err := pl.snapshots.Refresh(t.Context())
	require.NoError(t, err)
	require.NoError(t, attempt())
	assert.EqualValues(t, workertest.Price, h.Used(a+"-0"))
	assert.Zero(t, h.Used(b+"-1"))
	assert.Equal(t, lines[1:], h.aside(pl))
}

// TestARefundOfAnAccountThatCameLater: the first partition, which refuses what is of no account
// that is known, hasn't, and another one was charged: it leaves as a task of its own too.
func TestARefundOfAnAccountThatCameLater(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 4)
	parent := h.parentIn(false)
	accounts := func(subs int) { h.Apply(workertest.Parents(workertest.Parent(parent, "", subs))) }
	accounts(1)
	stop := h.serve()
	h.Batch().Task(workertest.Message(parent+"-0", "m", 0)).Wait()
	stop()
	pl := h.byHand()
	run(t, pl)
	lines := [][]byte{[]byte(workertest.RefundLine(parent+"-0", "m")), []byte(workertest.RefundLine(parent+"-1", "n"))}
	charged := newTask("run-x.1~r", lines, true)
	parts, _, err := pl.classify(t.Context(), charged, pl.snapshots.Current())
	require.NoError(t, err)
	pl.chargeAll(t.Context(), parts, []int{h.Store.PartitionOf(parent)})
	require.Zero(t, h.Used(parent+"-0"), "it is given back")

	accounts(2)
	_, err = pl.snapshots.Refresh(t.Context())
	require.NoError(t, err)
	require.NoError(t, pl.process(t.Context(), newTask("run-x.1~r", lines, true)))
	assert.Equal(t, lines[1:], h.aside(pl))
}

// parentIn is the id of a parent that is in the first partition, or isn't.
func (h *harness) parentIn(first bool) string {
	for i := 0; ; i++ {
		if id := fmt.Sprint("parent", i); h.Store.PartitionOf(id) == 0 == first {
			return id
		}
	}
}

// TestWhatOverflowsWhileTheLedgerIsAway is refused once it is back, and nothing else is.
func TestWhatOverflowsWhileTheLedgerIsAway(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, pl := h.byHandBehindDoor()
	amount := func(id string) []byte {
		return []byte(workertest.Line("globex-shop", id, 0, `,"currency":"EUR","amount":"999999999999"`))
	}
	attempt := func(task string, lines ...[]byte) error {
		return pl.process(t.Context(), newTask("run-x."+task, lines, false))
	}
	for id := range strings.SplitSeq("123456789", "") {
		require.NoError(t, attempt(id, amount(id)))
	}
	d.Shut.Store(true)
	pl.outage.left()
	require.Error(t, attempt("over", amount("over")))
	d.Shut.Store(false)
	pl.outage.away.Store(false)
	require.NoError(t, attempt("over", amount("over")))
	require.Equal(t, []metering.Reason{metering.ReasonOverflow}, h.Reasons("globex-shop", "over"))
}

// byHandBehindDoor is a worker that nothing runs, and the door before its ledger.
func (h *harness) byHandBehindDoor() (*workertest.Door, *Pipeline) {
	h.TB.Helper()
	d, deps := h.BehindDoor()
	pl := h.byHandWith(deps)
	run(h.TB, pl)
	return d, pl
}

// aside are the lines of tasks that wait for their first try.
func (h *harness) aside(pl *Pipeline) (lines [][]byte) {
	h.TB.Helper()
	queue := asynq.NewInspectorFromRedisClient(h.Redis)
	for _, q := range pl.IngestQueues() {
		list, err := queue.ListScheduledTasks(q)
		if errors.Is(err, asynq.ErrQueueNotFound) {
			continue
		}
		require.NoError(h.TB, err)
		for _, info := range list {
			assert.Equal(h.TB, wire.TypeIngest, info.Type)
			got, err := pl.codec.Decode(info.Payload)
			require.NoError(h.TB, err)
			lines = append(lines, got...)
		}
	}
	return lines
}
