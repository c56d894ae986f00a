package worker

import (
	"context"
	"encoding/json"
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
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

const rerateAccounts = `
plans:
  - id: wrong
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "1.00"}]}]
  - id: right
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.80"}]}]
  - id: other
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.70"}]}]
parents:
  - id: kilo
    module: enterprise
    timezone: UTC
    plan: wrong
    funding: {mode: postpaid}
`

// rerate books kilo's present month by a plan.
func (h *harness) rerate(ref, plan string, progress func(int64)) error {
	h.tb.Helper()
	return h.rerateAs(h.tb.Context(), admin.RerateRequest{Ref: ref, Plan: plan, Progress: progress})
}

func (h *harness) rerateAs(ctx context.Context, q admin.RerateRequest) error {
	h.tb.Helper()
	_, err := h.Snapshots.Refresh(ctx)
	require.NoError(h.tb, err)
	q.Parent, q.Period, q.Apply, q.Reason, q.Actor = "kilo", time.Now().UTC().Format("2006-01"), true, "x", "operator"
	_, err = admin.Rerate(ctx, admin.RerateDeps{
		Ledger: h.Ledger, Store: h.Store, Snapshot: h.Snapshots.Current(), Queue: asynq.NewClientFromRedisClient(h.Redis), Clock: h.Clock,
	}, q)
	return err
}

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
func newCharged(t *testing.T) (*harness, *engine) {
	t.Helper()
	h := newHarness(t)
	h.apply(rerateAccounts)
	h.work(Options{})
	h.batch().task(message("kilo", "m", 0)).wait()
	e := h.byHand().engine
	runWriter(t, e)
	return h, e
}

// TestReratingsAtOnce: each message comes to the price once, however many
// re-ratings have read what it stood at before.
func TestReratingsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(rerateAccounts)
	h.work(Options{})
	b := h.batch()
	for i := range 3 {
		var lines []string
		for j := range 400 {
			lines = append(lines, message("kilo", fmt.Sprintf("m%d-%d", i, j), 0))
		}
		b.task(lines...)
	}
	b.wait()
	var all, read sync.WaitGroup
	refs := []string{"a", "b", "c"}
	read.Add(len(refs))
	for _, ref := range refs {
		all.Go(func() {
			var once sync.Once
			assert.NoError(t, h.rerate(ref, "right", func(int64) { once.Do(func() { read.Done(); read.Wait() }) }))
		})
	}
	all.Wait()
	assert.Equal(t, metering.Micros(1200*800_000), h.used("kilo"))
	assert.Zero(t, h.reconcile())

	require.NoError(t, h.rerate("d", "other", nil))
	require.NoError(t, h.rerate("e", "right", nil))
	require.ErrorIs(t, h.rerate("d", "other", nil), admin.ErrRerateBusy, "d has corrected them before: it can't again, and says so")
	assert.Equal(t, metering.Micros(1200*800_000), h.used("kilo"))
}

// TestCorrectionOfTheEpochThatWasRead: what a message stood at in one epoch says
// nothing in the next, where another correction has come first.
func TestCorrectionOfTheEpochThatWasRead(t *testing.T) {
	t.Parallel()
	h, e := newCharged(t)
	snap := e.snapshots.Current()
	c := correctionOf(t, "m")
	parts, _, err := e.classify(t.Context(), c, snap)
	require.NoError(t, err)

	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	require.NoError(t, h.rerate("b", "other", nil), "at once: nothing was on its way")
	require.ErrorIs(t, e.runBatches(t.Context(), c, snap, parts), errLater)

	c, err = newCorrections(c.id, c.lines)
	require.NoError(t, err)
	require.NoError(t, e.process(t.Context(), c))
	assert.Equal(t, metering.Micros(800_000), h.used("kilo"))
}

// TestACorrectionOfAnotherContent: a row that was rated while others of before a loss
// of Redis were still on their way may have been replaced by one of another content.
func TestACorrectionOfAnotherContent(t *testing.T) {
	t.Parallel()
	h, e := newCharged(t)
	c := correctionOf(t, "m")
	c.corrections[0].Rated.Hash = 1
	require.NoError(t, e.process(t.Context(), c))
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.reasons("kilo", c.recs[0].ID))
	assert.Equal(t, metering.Micros(1_000_000), h.used("kilo"))
	require.NoError(t, h.rerate("a", "right", nil), "the same reference books what is left")
	assert.Equal(t, metering.Micros(800_000), h.used("kilo"))
}

// TestCorrectionsAndRefundsWaitForWhatMayLand: where Redis was lost, a correction of
// a message of before might come before another that is on its way; so might its
// refund while a re-rating goes on. Nobody else waits.
func TestCorrectionsAndRefundsWaitForWhatMayLand(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(strings.Replace(rerateAccounts, "parents:", "parents:\n  - {id: lima, module: enterprise, timezone: UTC, plan: wrong, funding: {mode: postpaid}}", 1))
	h.work(Options{})
	h.batch().task(message("kilo", "m", 0), message("kilo", "refunded", 0), message("lima", "m", 0)).wait()
	require.NoError(t, h.rerate("ended", "other", nil))
	e := h.byHand().engine
	runWriter(t, e)
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	h.batch().task(message("kilo", "new", 0)).wait()

	process := func(task *task) error { return e.process(t.Context(), task) }
	refundOf := func(account, message string) *task {
		return newTask("refund."+account+"."+message, [][]byte{[]byte(refundLine(account, message))}, true)
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
	assert.Zero(t, h.used("kilo"))
	assert.Zero(t, h.used("lima"))
	assert.Zero(t, h.reconcile())
}

// TestARerateTellsHowLongItWaits for what may still land.
func TestARerateTellsHowLongItWaits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(rerateAccounts)
	h.work(Options{})
	h.batch().task(message("kilo", "m", 0)).wait()
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	h.batch().task(message("kilo", "new", 0)).wait()
	ctx, stop := context.WithCancel(t.Context())
	var until time.Time
	err := h.rerateAs(ctx, admin.RerateRequest{Ref: "a", Plan: "right", Waiting: func(at time.Time) { until = at; stop() }})
	require.ErrorIs(t, err, context.Canceled)
	require.WithinDuration(t, time.Now().Add(metering.LandMax), until, time.Minute)
}

// TestRefundsDuringARerating: a message that is refunded after the re-rating has
// read it comes to nothing, be it before its correction is booked or at once.
func TestRefundsDuringARerating(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(rerateAccounts)
	h.work(Options{})
	const n = 200
	var lines, refunds []string
	for i := range n {
		lines = append(lines, message("kilo", fmt.Sprintf("m%d", i), 0))
		refunds = append(refunds, refundLine("kilo", fmt.Sprintf("m%d", i)))
	}
	h.batch().task(append(lines, message("kilo", "before", 0), message("kilo", "never", 0))...).wait()
	var once sync.Once
	at := h.batch()
	require.NoError(t, h.rerate("a", "right", func(int64) {
		once.Do(func() { h.batch().task(refundLine("kilo", "before")).wait() })
		if len(refunds) > 0 {
			at.task(refunds[0])
			refunds = refunds[1:]
		}
	}))
	if len(refunds) > 0 {
		at.task(refunds...)
	}
	at.wait()
	assert.Equal(t, metering.Micros(800_000), h.used("kilo"), "all but one are refunded")
	assert.EqualValues(t, n+1, h.rows("kilo").Refunds)
	assert.Zero(t, h.reconcile())
}

const partlyRefunded = `
plans:
  - id: wrong
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, refund_on: [failed], refund_after: 1m, rules: [{channel: sms, unit: segment, price: "10"}, {channel: whatsapp, unit: message, price: "0"}]}]
  - id: right
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "3"}, {channel: whatsapp, unit: message, price: "5"}]}]
parents:
  - {id: kilo, module: enterprise, timezone: UTC, plan: wrong, funding: {mode: postpaid}}
`

// TestRerateKeepsWhatWasGivenBack: what was refunded in part is, also where a lower
// price was less than that for a while; what was refunded whole costs nothing at any
// price, also where it cost nothing then.
func TestRerateKeepsWhatWasGivenBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(partlyRefunded)
	h.work(Options{})
	whatsapp := func(id string) string { return strings.Replace(message("kilo", id, 0), `"sms"`, `"whatsapp"`, 1) }
	failed := fmt.Sprintf(`{"id":"s","account_id":"kilo","kind":"status","refers_to":"failed","status":"failed","occurred_at":%q}`, time.Now().UTC().Add(-5*time.Minute).Format(time.RFC3339))
	tagged := strings.Replace(message("kilo", "part", 0), `"channel"`, `"to":"+393331234567","tags":{"campaign":"spring"},"channel"`, 1)
	h.batch().task(tagged, message("kilo", "whole", 0), whatsapp("free"), whatsapp("failed"), failed).wait()
	h.batch().task(strings.Replace(refundLine("kilo", "part"), `"kind"`, `"amount":"4","kind"`, 1), refundLine("kilo", "whole"), refundLine("kilo", "free")).wait()
	h.eventually("the message that failed is refunded", func() bool { return h.rows("kilo").Refunds == 4 })
	assert.Equal(t, metering.Micros(6_000_000), h.used("kilo"))
	require.NoError(t, h.rerate("a", "right", nil))
	assert.Equal(t, metering.Micros(0), h.used("kilo"))
	require.NoError(t, h.rerate("b", "wrong", nil))
	assert.Equal(t, metering.Micros(6_000_000), h.used("kilo"))
	again := func(message, amount string) string {
		return strings.Replace(refundLine("kilo", message), `"kind"`, `"amount":"`+amount+`","kind"`, 1)
	}
	assert.Equal(t, balance.Counts{Duplicates: 2, Quarantined: 1}, h.batch().task(again("part", "4"), again("whole", "10"), refundLine("kilo", "part")).wait(),
		"a part isn't all, whatever all was for a while")
	assert.Equal(t, map[string]string{"part": "spring"}, h.pairs(`SELECT DISTINCT refers_to, tags['campaign'] FROM records FINAL WHERE kind = 'adjustment'`),
		"sums by tag have corrections too")
	assert.Zero(t, h.reconcile())
}

// TestAReferenceThatLooksLikeAMessage: what a reference and a message's id join
// to is the correction's identity, and never another's.
func TestAReferenceThatLooksLikeAMessage(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(rerateAccounts)
	h.work(Options{})
	h.batch().task(message("kilo", "b:c", 0), message("kilo", "c", 0)).wait()
	require.NoError(t, h.rerate("a", "right", nil))
	assert.Equal(t, metering.Micros(2*800_000), h.used("kilo"))
	require.NoError(t, h.rerate("a:b", "other", nil))
	assert.Equal(t, metering.Micros(2*700_000), h.used("kilo"))
	require.ErrorIs(t, h.rerate("a b", "other", nil), admin.ErrRerateRef)
	assert.Equal(t, "a:b", admin.RerateRef("a:b c", "c"))
	assert.Equal(t, "a:b", admin.RerateRef("a:b:c", "c"), "one of an older version")
}
