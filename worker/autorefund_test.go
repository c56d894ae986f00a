package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestAutomaticRefundsBehindOrphans: statuses whose message never comes, more
// than one look takes, hold up no refund that is due.
func TestAutomaticRefundsBehindOrphans(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.apply(`
plans:
  - id: refunding
    currency: EUR
    versions:
      - effective_from: 2020-01-01T00:00:00Z
        refund_on: [failed]
        refund_after: 10m
        rules: [{channel: sms, unit: segment, price: "0.01", fee: "0.002"}]
parents:
  - id: zulu
    module: reseller
    timezone: UTC
    plan: refunding
    funding: {mode: postpaid}
`)
	h.work(Options{})
	status := func(id, message string) string {
		return line("zulu", id, time.Hour, fmt.Sprintf(`,"kind":"status","status":"failed","refers_to":%q`, message))
	}
	orphans := h.batch()
	for task := range 6 {
		var lines []string
		for i := range 1000 {
			id := fmt.Sprintf("a-%d-%d", task, i)
			lines = append(lines, status("s"+id, id))
		}
		orphans.task(lines...)
	}
	orphans.wait()
	h.batch().task(message("zulu", "z", 2*time.Hour), status("sz", "z")).wait()
	h.eventually("the message is refunded", func() bool { return h.rows("zulu").Refunds == 1 })
	assert.EqualValues(t, 2000, h.used("zulu"), "all but the fee comes back")
	assert.Zero(t, h.reconcile())
}
