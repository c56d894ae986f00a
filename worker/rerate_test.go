package worker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

// TestReratingsAtOnce: each message comes to the price once, however many
// re-ratings have read what it stood at before.
func TestReratingsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(workertest.RerateAccounts)
	h.work(Options{})
	b := h.Batch()
	for i := range 3 {
		var lines []string
		for j := range 400 {
			lines = append(lines, workertest.Message("kilo", fmt.Sprintf("m%d-%d", i, j), 0))
		}
		b.Task(lines...)
	}
	b.Wait()
	var all, read sync.WaitGroup
	refs := []string{"a", "b", "c"}
	read.Add(len(refs))
	for _, ref := range refs {
		all.Go(func() {
			var once sync.Once
			assert.NoError(t, h.Rerate(ref, "right", func(int64) { once.Do(func() { read.Done(); read.Wait() }) }))
		})
	}
	all.Wait()
	assert.Equal(t, metering.Micros(1200*800_000), h.Used("kilo"))
	assert.Zero(t, h.Reconcile())

	require.NoError(t, h.Rerate("d", "other", nil))
	require.NoError(t, h.Rerate("e", "right", nil))
	require.ErrorIs(t, h.Rerate("d", "other", nil), admin.ErrRerateBusy, "d has corrected them before: it can't again, and says so")
	assert.Equal(t, metering.Micros(1200*800_000), h.Used("kilo"))
}

// TestARerateTellsHowLongItWaits for what may still land.
func TestARerateTellsHowLongItWaits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(workertest.RerateAccounts)
	h.work(Options{})
	h.Batch().Task(workertest.Message("kilo", "m", 0)).Wait()
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	h.Batch().Task(workertest.Message("kilo", "new", 0)).Wait()
	ctx, stop := context.WithCancel(t.Context())
	var until time.Time
	err := h.RerateAs(ctx, admin.RerateRequest{Ref: "a", Plan: "right", Waiting: func(at time.Time) { until = at; stop() }})
	require.ErrorIs(t, err, context.Canceled)
	require.WithinDuration(t, time.Now().Add(metering.LandMax), until, time.Minute)
}

// TestRefundsDuringARerating: a message that is refunded after the re-rating has
// read it comes to nothing, be it before its correction is booked or at once.
func TestRefundsDuringARerating(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(workertest.RerateAccounts)
	h.work(Options{})
	const n = 200
	var lines, refunds []string
	for i := range n {
		lines = append(lines, workertest.Message("kilo", fmt.Sprintf("m%d", i), 0))
		refunds = append(refunds, workertest.RefundLine("kilo", fmt.Sprintf("m%d", i)))
	}
	h.Batch().Task(append(lines, workertest.Message("kilo", "before", 0), workertest.Message("kilo", "never", 0))...).Wait()
	var once sync.Once
	at := h.Batch()
	require.NoError(t, h.Rerate("a", "right", func(int64) {
		once.Do(func() { h.Batch().Task(workertest.RefundLine("kilo", "before")).Wait() })
		if len(refunds) > 0 {
			at.Task(refunds[0])
			refunds = refunds[1:]
		}
	}))
	if len(refunds) > 0 {
		at.Task(refunds...)
	}
	at.Wait()
	assert.Equal(t, metering.Micros(800_000), h.Used("kilo"), "all but one are refunded")
	assert.EqualValues(t, n+1, h.Rows("kilo").Refunds)
	assert.Zero(t, h.Reconcile())
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
	h.Apply(partlyRefunded)
	h.work(Options{})
	whatsapp := func(id string) string {
		return strings.Replace(workertest.Message("kilo", id, 0), `"sms"`, `"whatsapp"`, 1)
	}
	failed := fmt.Sprintf(`{"id":"s","account_id":"kilo","kind":"status","refers_to":"failed","status":"failed","occurred_at":%q}`, time.Now().UTC().Add(-5*time.Minute).Format(time.RFC3339))
	tagged := strings.Replace(workertest.Message("kilo", "part", 0), `"channel"`, `"to":"+393331234567","tags":{"campaign":"spring"},"channel"`, 1)
	h.Batch().Task(tagged, workertest.Message("kilo", "whole", 0), whatsapp("free"), whatsapp("failed"), failed).Wait()
	h.Batch().Task(strings.Replace(workertest.RefundLine("kilo", "part"), `"kind"`, `"amount":"4","kind"`, 1), workertest.RefundLine("kilo", "whole"), workertest.RefundLine("kilo", "free")).Wait()
	h.Eventually("the message that failed is refunded", func() bool { return h.Rows("kilo").Refunds == 4 })
	assert.Equal(t, metering.Micros(6_000_000), h.Used("kilo"))
	require.NoError(t, h.Rerate("a", "right", nil))
	assert.Equal(t, metering.Micros(0), h.Used("kilo"))
	require.NoError(t, h.Rerate("b", "wrong", nil))
	assert.Equal(t, metering.Micros(6_000_000), h.Used("kilo"))
	again := func(message, amount string) string {
		return strings.Replace(workertest.RefundLine("kilo", message), `"kind"`, `"amount":"`+amount+`","kind"`, 1)
	}
	assert.Equal(t, balance.Counts{Duplicates: 2, Quarantined: 1}, h.Batch().Task(again("part", "4"), again("whole", "10"), workertest.RefundLine("kilo", "part")).Wait(),
		"a part isn't all, whatever all was for a while")
	assert.Equal(t, map[string]string{"part": "spring"}, h.pairs(`SELECT DISTINCT refers_to, tags['campaign'] FROM records FINAL WHERE kind = 'adjustment'`),
		"sums by tag have corrections too")
	assert.Zero(t, h.Reconcile())
}

// TestAReferenceThatLooksLikeAMessage: what a reference and a message's id join
// to is the correction's identity, and never another's.
func TestAReferenceThatLooksLikeAMessage(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(workertest.RerateAccounts)
	h.work(Options{})
	h.Batch().Task(workertest.Message("kilo", "b:c", 0), workertest.Message("kilo", "c", 0)).Wait()
	require.NoError(t, h.Rerate("a", "right", nil))
	assert.Equal(t, metering.Micros(2*800_000), h.Used("kilo"))
	require.NoError(t, h.Rerate("a:b", "other", nil))
	assert.Equal(t, metering.Micros(2*700_000), h.Used("kilo"))
	require.ErrorIs(t, h.Rerate("a b", "other", nil), admin.ErrRerateRef)
	assert.Equal(t, "a:b", admin.RerateRef("a:b c", "c"))
	assert.Equal(t, "a:b", admin.RerateRef("a:b:c", "c"), "one of an older version")
}
