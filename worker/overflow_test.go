package worker

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
)

// TestCopiesOfALineThatOverflows are judged by themselves: none is counted as a
// copy of a line that is in quarantine.
func TestCopiesOfALineThatOverflows(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	amount := func(id, amount string) string {
		return line("globex-shop", id, 0, `,"currency":"EUR","amount":"`+amount+`"`)
	}
	const most = "999999999999"
	var full []string
	for id := range strings.SplitSeq("123456789", "") {
		full = append(full, amount(id, most))
	}
	assert.EqualValues(t, 9, h.batch().task(full...).wait().Stored)
	got := h.batch().task(amount("x", most), amount("x", "1"), amount("x", "2"), amount("x", "999999999998"), amount("x", "1"), amount("y", most), amount("y", most)).wait()
	// x: the first is refused; 1 stands, once sent again; the two others are conflicts with it.
	assert.Equal(t, balance.Counts{Stored: 1, Duplicates: 1, Quarantined: 5}, got)
	assert.ElementsMatch(t, []metering.Reason{metering.ReasonOverflow, metering.ReasonConflict, metering.ReasonConflict}, h.reasons("globex-shop", "x"))
	assert.EqualValues(t, 10, h.rows("globex-shop").Usage)
	assert.Zero(t, h.reconcile())
	many := make([]string, 0, 40)
	for i := range 40 { // each less than the one before, none small enough
		many = append(many, amount("z", "9999999999"+string(rune('9'-i/10))+string(rune('9'-i%10))))
	}
	assert.EqualValues(t, 40, h.batch().task(many...).wait().Quarantined)
}
