package worker

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
)

// TestBatchesOfOthersTasksAreLetGo: a task that was given back while its rows were
// on their way ends at another worker, and never comes again here.
func TestBatchesOfOthersTasksAreLetGo(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, _ := connect(t, h.address())
	now := clock.NewFake(time.Now())
	d.Clock = now
	w, err := New(d, Options{})
	require.NoError(t, err)
	e := w.engine
	batch := func(i int) *ledger.Batch {
		return &ledger.Batch{Quarantine: []ledger.Entry{{ID: fmt.Sprint(i), QuarantinedAt: now.Now(), State: ledger.QuarantineOpen}}}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 100 {
		_, err := e.write(gone, fmt.Sprint("t", i), batch(i))
		require.ErrorIs(t, err, context.Canceled)
	}
	runWriter(t, e)
	e.background.Wait()
	kept := func() int {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.writes)
	}
	for i := range 50 { // these come again
		_, err := e.write(t.Context(), fmt.Sprint("t", i), batch(i))
		require.NoError(t, err)
	}
	require.Equal(t, 50, kept())
	now.Advance(writtenMax + time.Second)
	_, err = e.write(t.Context(), "another", batch(101))
	require.NoError(t, err)
	assert.Zero(t, kept())
}

// TestRowsThatWouldBeLateAreJudgedAnew: a worker that stands still between charge
// and insert sends nothing. The task comes again, and asks for its answer.
func TestRowsThatWouldBeLateAreJudgedAnew(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, _ := connect(t, h.address())
	now := clock.NewFake(time.Now())
	d.Clock = now
	stalls := 2
	w, err := New(d, Options{Crash: func(point string) {
		if point == "charged" && stalls > 0 {
			stalls--
			now.Advance(time.Minute + time.Second)
		}
	}})
	require.NoError(t, err)
	_, err = d.Snapshots.Refresh(t.Context())
	require.NoError(t, err)
	e := w.engine
	runWriter(t, e)
	payload := e.codec.Encode([][]byte{[]byte(message(shop, "a", time.Hour))})
	require.ErrorIs(t, e.ingestTask(t.Context(), "task", payload), ledger.ErrLate, "charged now")
	require.ErrorIs(t, e.ingestTask(t.Context(), "task", payload), ledger.ErrLate, "the answer is asked for again")
	require.Zero(t, h.rows(shop).Usage)
	require.NoError(t, e.ingestTask(t.Context(), "task", payload))
	h.charged(shop, 1)
	answer, _, err := d.Store.FindAnswer(t.Context(), 0, "task")
	require.NoError(t, err)
	require.Equal(t, balance.AnswerDone, answer.State)
}
