package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// ingest takes a task of lines through all its steps, once.
func (h *harness) ingest(task string, lines ...string) error {
	h.tb.Helper()
	w := h.byHand()
	runWriter(h.tb, w.engine)
	raw := make([][]byte, len(lines))
	for i, l := range lines {
		raw[i] = []byte(l)
	}
	return w.engine.ingestTask(h.tb.Context(), task, w.engine.codec.Encode(raw))
}

// A record that turns cold after others were looked up is looked up too, and they
// aren't forgotten meanwhile: some here turn cold at each moment of the task.
func TestRecordsThatTurnColdOneByOne(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	require.NoError(t, h.ingest("first", message(shop, "old", 25*time.Hour), message(shop, "edge0", 24*time.Hour)))
	h.forget()
	const window = 24 * time.Hour
	lines := []string{message(shop, "old", 25*time.Hour), message(shop, "edge0", window)}
	for i := range 199 { // for four seconds
		lines = append(lines, message(shop, fmt.Sprint("edge", i+1), window-time.Duration(i)*20*time.Millisecond))
	}
	require.NoError(t, h.ingest("second", lines...))
	h.charged(shop, 201)
	assert.Zero(t, h.reconcile())
}

// A copy is looked up by itself once its first was refused, and what was found of
// the others stays.
func TestColdCopiesOfALineThatOverflows(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	amount := func(id, amount string) string {
		return line(shop, id, 25*time.Hour, `,"currency":"EUR","amount":"`+amount+`"`)
	}
	const most = "999999999999"
	var full []string
	for i := range 9 {
		full = append(full, amount(fmt.Sprint(i), most))
	}
	require.NoError(t, h.ingest("first", full...))
	require.NoError(t, h.ingest("second", amount("x", most), amount("x", "1"), amount("y", "1")))
	assert.Equal(t, []metering.Reason{metering.ReasonOverflow}, h.reasons(shop, "x"))
	assert.EqualValues(t, 11, h.rows(shop).Usage)
	assert.Zero(t, h.reconcile())
}
