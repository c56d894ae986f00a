package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

// TestARefundIsItsMessagesAndItsAmount: under whatever id, in one task or in
// several, by the plan or sent: the same effect is a duplicate, another a conflict.
func TestARefundIsItsMessagesAndItsAmount(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts) // 0.01 and a fee of 0.002
	h.work(Options{})
	refund := func(id, of, more string) string {
		return workertest.Line("zulu", id, 0, fmt.Sprintf(`,"kind":"refund","refers_to":%q%s`, of, more))
	}
	amount := func(a string) string { return fmt.Sprintf(`,"amount":%q`, a) }
	send := func(want balance.Counts, lines ...string) {
		t.Helper()
		assert.Equal(t, want, h.Batch().Task(lines...).Wait())
	}
	var messages []string
	for _, id := range []string{"full", "part", "one", "sent"} {
		messages = append(messages, workertest.Message("zulu", id, 2*time.Hour))
	}
	send(balance.Counts{Stored: 5}, append(messages, workertest.Line("zulu", "auto", 2*time.Hour, `,"status":"failed"`))...)

	send(balance.Counts{Stored: 1}, refund("r1", "full", ""))
	send(balance.Counts{Duplicates: 1}, refund("r2", "full", ""))
	send(balance.Counts{Duplicates: 1}, refund("r3", "full", amount("0.01")+`,"tags":{"by":"x"}`))
	send(balance.Counts{Quarantined: 1}, refund("r4", "full", amount("0.003")))

	send(balance.Counts{Stored: 1}, refund("r1", "part", amount("0.003")))
	send(balance.Counts{Duplicates: 1}, refund("r2", "part", amount("0.003000")))
	send(balance.Counts{Quarantined: 1}, refund("r3", "part", ""))

	send(balance.Counts{Stored: 1, Duplicates: 2, Quarantined: 1},
		refund("r1", "one", amount("0.01")), refund("r2", "one", ""), refund("r3", "one", amount("0.01")), refund("r4", "one", amount("0.002")))

	h.Eventually("the plan has refunded", func() bool { return h.refunded("zulu")["auto"] != "" })
	send(balance.Counts{Duplicates: 1}, refund("r1", "auto", ""))
	send(balance.Counts{Stored: 1}, refund("r1", "sent", ""))
	send(balance.Counts{Stored: 1}, workertest.Line("zulu", "s", 2*time.Hour, `,"kind":"status","status":"failed","refers_to":"sent"`))
	h.Eventually("the status is decided", func() bool { return h.undecided() == 0 })

	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.Reasons("zulu", "full"))
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.Reasons("zulu", "part"))
	assert.Equal(t, []metering.Reason{metering.ReasonConflict}, h.Reasons("zulu", "one"))
	assert.Empty(t, h.Reasons("zulu", "auto"))
	assert.Empty(t, h.Reasons("zulu", "sent"))
	assert.EqualValues(t, 5*12_000-4*10_000-3_000, h.Used("zulu"))
	assert.Zero(t, h.Reconcile())
}
