package pipeline

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/worker/workertest"
)

// A record that turns cold after others were looked up is looked up too, and they
// aren't forgotten meanwhile: some here turn cold at each moment of the task.
func TestRecordsThatTurnColdOneByOne(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.ingest("first", workertest.Message(workertest.Shop, "old", 25*time.Hour), workertest.Message(workertest.Shop, "edge0", 24*time.Hour))
	h.Forget()
	const window = 24 * time.Hour
	lines := []string{workertest.Message(workertest.Shop, "old", 25*time.Hour), workertest.Message(workertest.Shop, "edge0", window)}
	for i := range 199 { // for four seconds
		lines = append(lines, workertest.Message(workertest.Shop, fmt.Sprint("edge", i+1), window-time.Duration(i)*20*time.Millisecond))
	}
	h.ingest("second", lines...)
	h.Charged(workertest.Shop, 201)
	assert.Zero(t, h.Reconcile())
}

// A copy is looked up by itself once its first was refused, and what was found of
// the others stays.
func TestColdCopiesOfALineThatOverflows(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	amount := func(id, amount string) string {
		return workertest.Line(workertest.Shop, id, 25*time.Hour, `,"currency":"EUR","amount":"`+amount+`"`)
	}
	const most = "999999999999"
	var full []string
	for i := range 9 {
		full = append(full, amount(fmt.Sprint(i), most))
	}
	h.ingest("first", full...)
	h.ingest("second", amount("x", most), amount("x", "1"), amount("y", "1"))
	assert.Equal(t, []metering.Reason{metering.ReasonOverflow}, h.Reasons(workertest.Shop, "x"))
	assert.EqualValues(t, 11, h.Rows(workertest.Shop).Usage)
	assert.Zero(t, h.Reconcile())
}
