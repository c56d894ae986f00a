package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

// TestNoGoroutineOutlivesRun. It isn't parallel: others' goroutines would show.
func TestNoGoroutineOutlivesRun(t *testing.T) { //nolint:paralleltest // see above
	h := newHarness(t)
	d, _ := workertest.Connect(t, h.Address())
	before := goleak.IgnoreCurrent()
	stop := h.workWith(d, Options{})
	assert.Equal(t, balance.Counts{Stored: 1, Quarantined: 1}, h.Batch().Task(workertest.Message(workertest.Shop, "a", time.Hour), "nonsense").Wait())
	stop()
	goleak.VerifyNone(t, before,
		// Connections that the worker was given, and the server of the test's engine.
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).queuedNewConn.func1"),
	)
}
