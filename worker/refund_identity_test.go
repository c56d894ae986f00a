package worker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
)

// TestARefundIsItsMessagesAndItsAmount: under whatever id, in one task or in
// several, by the plan or sent: the same effect is a duplicate, another a conflict.
func TestARefundIsItsMessagesAndItsAmount(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(refundingAccounts) // 0.01 and a fee of 0.002
	h.work(Options{})
	refund := func(id, of, more string) string {
		return line("zulu", id, 0, fmt.Sprintf(`,"kind":"refund","refers_to":%q%s`, of, more))
	}
	amount := func(a string) string { return fmt.Sprintf(`,"amount":%q`, a) }
	send := func(want balance.Counts, lines ...string) {
		t.Helper()
		assert.Equal(t, want, h.batch().task(lines...).wait())
	}
	var messages []string
	for _, id := range []string{"full", "part", "one", "sent"} {
		messages = append(messages, message("zulu", id, 2*time.Hour))
	}
	send(balance.Counts{Stored: 5}, append(messages, line("zulu", "auto", 2*time.Hour, `,"status":"failed"`))...)

	send(balance.Counts{Stored: 1}, refund("r1", "full", ""))
	send(balance.Counts{Duplicates: 1}, refund("r2", "full", ""))
	send(balance.Counts{Duplicates: 1}, refund("r3", "full", amount("0.01")+`,"tags":{"by":"x"}`))
	send(balance.Counts{Quarantined: 1}, refund("r4", "full", amount("0.003")))

	send(balance.Counts{Stored: 1}, refund("r1", "part", amount("0.003")))
	send(balance.Counts{Duplicates: 1}, refund("r2", "part", amount("0.003000")))
	send(balance.Counts{Quarantined: 1}, refund("r3", "part", ""))

	send(balance.Counts{Stored: 1, Duplicates: 2, Quarantined: 1},
		refund("r1", "one", amount("0.01")), refund("r2", "one", ""), refund("r3", "one", amount("0.01")), refund("r4", "one", amount("0.002")))

	h.eventually("the plan has refunded", func() bool { return h.refunded("zulu")["auto"] != "" })
	send(balance.Counts{Duplicates: 1}, refund("r1", "auto", ""))
	send(balance.Counts{Stored: 1}, refund("r1", "sent", ""))
	send(balance.Counts{Stored: 1}, line("zulu", "s", 2*time.Hour, `,"kind":"status","status":"failed","refers_to":"sent"`))
	h.eventually("the status is decided", func() bool { return h.undecided() == 0 })

	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.reasons("zulu", "full"))
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.reasons("zulu", "part"))
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.reasons("zulu", "one"))
	assert.Empty(t, h.reasons("zulu", "auto"))
	assert.Empty(t, h.reasons("zulu", "sent"))
	assert.EqualValues(t, 5*12_000-4*10_000-3_000, h.used("zulu"))
	assert.Zero(t, h.reconcile())
}

// TestARefundThatWaitedWhenOthersWereCharged: a worker dies between the charge of a task's refunds
// and its end, and meanwhile the message comes that another of them lacked: that one isn't lost. Nor
// does the next attempt wait for messages in the queue, which may wait for it.
func TestARefundThatWaitedWhenOthersWereCharged(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	stop := h.work(Options{})
	h.batch().task(message(shop, "before", time.Hour)).wait()
	e := h.byHand().engine
	runWriter(t, e)
	payload, err := e.codec.EncodeHead(wire.RefundHeader{At: h.Clock.Now().UnixMilli()}, [][]byte{
		[]byte(refundLine(shop, "before")), []byte(refundLine(shop, "after")), []byte(refundLine(shop, "never")),
	})
	require.NoError(t, err)
	died := errors.New("it died")
	e.crash = func(point string) {
		if point == "charged" {
			panic(died)
		}
	}
	require.PanicsWithValue(t, died, func() { _ = e.refundTask(t.Context(), "t~r", payload) })
	h.batch().task(message(shop, "after", time.Hour)).wait()
	stop()

	e.crash = nil
	h.batch().task(message(shop, "later", time.Hour)) // nobody works
	require.NoError(t, e.refundTask(t.Context(), "t~r", payload))
	h.work(Options{})
	h.eventually("what has a message is refunded", func() bool {
		return h.rows(shop) == rows{Usage: 3, Refunds: 2, Identities: 5, Net: price}
	})
	assert.EqualValues(t, price, h.used(shop))
	assert.Zero(t, h.reconcile())
}
