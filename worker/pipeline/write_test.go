package pipeline

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

// TestBatchesOfOthersTasksAreLetGo: a task that was given back while its rows were
// on their way ends at another worker, and never comes again here.
func TestBatchesOfOthersTasksAreLetGo(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, _ := workertest.Connect(t, h.Address())
	now := clock.NewFake(time.Now())
	d.Clock = now
	pl := h.byHandWith(d)
	batch := func(i int) *ledger.Batch {
		return &ledger.Batch{Quarantine: []ledger.Entry{{ID: fmt.Sprint(i), QuarantinedAt: now.Now(), State: ledger.QuarantineOpen}}}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 100 {
		_, err := pl.write(gone, fmt.Sprint("t", i), batch(i))
		require.ErrorIs(t, err, context.Canceled)
	}
	run(t, pl)
	pl.background.Wait()
	kept := func() int {
		pl.mu.Lock()
		defer pl.mu.Unlock()
		return len(pl.writes)
	}
	for i := range 50 { // these come again
		_, err := pl.write(t.Context(), fmt.Sprint("t", i), batch(i))
		require.NoError(t, err)
	}
	require.Equal(t, 50, kept())
	now.Advance(writtenMax + time.Second)
	_, err := pl.write(t.Context(), "another", batch(101))
	require.NoError(t, err)
	assert.Zero(t, kept())
}

// TestRowsThatWouldBeLateAreJudgedAnew: a worker that stands still between charge
// and insert sends nothing. The task comes again, and asks for its answer.
func TestRowsThatWouldBeLateAreJudgedAnew(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, _ := workertest.Connect(t, h.Address())
	now := clock.NewFake(time.Now())
	d.Clock = now
	stalls := 2
	pl := h.byHandWith(d)
	pl.crash = func(point string) {
		if point == "charged" && stalls > 0 {
			stalls--
			now.Advance(time.Minute + time.Second)
		}
	}
	run(t, pl)
	payload := pl.codec.Encode([][]byte{[]byte(workertest.Message(workertest.Shop, "a", time.Hour))})
	require.ErrorIs(t, pl.IngestTask(t.Context(), "task", payload), ledger.ErrLate, "charged now")
	require.ErrorIs(t, pl.IngestTask(t.Context(), "task", payload), ledger.ErrLate, "the answer is asked for again")
	require.Zero(t, h.Rows(workertest.Shop).Usage)
	require.NoError(t, pl.IngestTask(t.Context(), "task", payload))
	h.Charged(workertest.Shop, 1)
	answer, _, err := d.Store.FindAnswer(t.Context(), 0, "task")
	require.NoError(t, err)
	require.Equal(t, balance.AnswerDone, answer.State)
}
