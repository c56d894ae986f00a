package pipeline

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

// correctionOf is a task of re-rating a that brings kilo's message to plan right.
func correctionOf(t *testing.T, message string) *task {
	t.Helper()
	line, err := json.Marshal(wire.Correction{
		ID: "a " + message, AccountID: "kilo", MessageID: message, OccurredAt: time.Now(), Channel: "sms", Direction: metering.Outbound,
		Purse: string(metering.PurseCredit), Plan: "right", Version: 1, Rated: &wire.Rated{Amount: 800_000},
	})
	require.NoError(t, err)
	c, err := newCorrections("rerate-a."+message, [][]byte{line})
	require.NoError(t, err)
	return c
}

// newCharged is kilo with one message m, and an engine that does what a test tells it.
func newCharged(t *testing.T) (*harness, *Pipeline) {
	t.Helper()
	h := newHarness(t)
	h.Apply(workertest.RerateAccounts)
	h.serve()
	h.Batch().Task(workertest.Message("kilo", "m", 0)).Wait()
	pl := h.byHand()
	run(t, pl)
	return h, pl
}

// TestCorrectionOfTheEpochThatWasRead: what a message stood at in one epoch says
// nothing in the next, where another correction has come first.
func TestCorrectionOfTheEpochThatWasRead(t *testing.T) {
	t.Parallel()
	h, pl := newCharged(t)
	snap := pl.snapshots.Current()
	c := correctionOf(t, "m")
	parts, _, err := pl.classify(t.Context(), c, snap)
	require.NoError(t, err)

	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	require.NoError(t, h.Rerate("b", "other", nil), "at once: nothing was on its way")
	require.ErrorIs(t, pl.runBatches(t.Context(), parts), ErrLater)

	c, err = newCorrections(c.id, c.lines)
	require.NoError(t, err)
	require.NoError(t, pl.process(t.Context(), c))
	assert.Equal(t, metering.Micros(800_000), h.Used("kilo"))
}

// TestACorrectionOfAnotherContent: a row that was rated while others of before a loss
// of Redis were still on their way may have been replaced by one of another content.
func TestACorrectionOfAnotherContent(t *testing.T) {
	t.Parallel()
	h, pl := newCharged(t)
	c := correctionOf(t, "m")
	c.corrections[0].Rated.Hash = 1
	require.NoError(t, pl.process(t.Context(), c))
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.Reasons("kilo", c.recs[0].ID))
	assert.Equal(t, metering.Micros(1_000_000), h.Used("kilo"))
	require.NoError(t, h.Rerate("a", "right", nil), "the same reference books what is left")
	assert.Equal(t, metering.Micros(800_000), h.Used("kilo"))
}

// TestCorrectionsAndRefundsWaitForWhatMayLand: where Redis was lost, a correction of
// a message of before might come before another that is on its way; so might its
// refund while a re-rating goes on. Nobody else waits.
func TestCorrectionsAndRefundsWaitForWhatMayLand(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(strings.Replace(workertest.RerateAccounts, "parents:", "parents:\n  - {id: lima, module: enterprise, timezone: UTC, plan: wrong, funding: {mode: postpaid}}", 1))
	h.serve()
	h.Batch().Task(workertest.Message("kilo", "m", 0), workertest.Message("kilo", "refunded", 0), workertest.Message("lima", "m", 0)).Wait()
	require.NoError(t, h.Rerate("ended", "other", nil))
	pl := h.byHand()
	run(t, pl)
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	h.Batch().Task(workertest.Message("kilo", "new", 0)).Wait()

	process := func(task *task) error { return pl.process(t.Context(), task) }
	refundOf := func(account, message string) *task {
		return newTask("refund."+account+"."+message, [][]byte{[]byte(workertest.RefundLine(account, message))}, true)
	}
	require.ErrorIs(t, process(correctionOf(t, "m")), errLanding)
	require.NoError(t, process(correctionOf(t, "new")), "no older epoch knew it")
	require.NoError(t, process(refundOf("kilo", "refunded")), "the re-rating has ended")
	run := ledger.RerateRun{ParentID: "kilo", Run: "rerate-b", Ref: "b", BegunAt: time.Now()}
	require.NoError(t, h.Ledger.InsertRerateRun(t.Context(), &run))
	require.ErrorIs(t, process(refundOf("kilo", "m")), errLanding)
	require.NoError(t, process(refundOf("kilo", "new")))
	require.NoError(t, process(refundOf("lima", "m")), "nobody rates lima anew")

	require.NoError(t, h.Redis.HSet(t.Context(), "{p00}:meta", "landing", time.Now().Add(-time.Second).UnixMilli()).Err())
	require.NoError(t, process(correctionOf(t, "m")))
	require.NoError(t, process(refundOf("kilo", "m")))
	assert.Zero(t, h.Used("kilo"))
	assert.Zero(t, h.Used("lima"))
	assert.Zero(t, h.Reconcile())
}
