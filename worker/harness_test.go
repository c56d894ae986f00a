package worker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/worker/pipeline"
	"github.com/meterd/meterd/worker/workertest"
)

// harness is a rig, and workers on it.
type harness struct {
	*workertest.Rig

	statusWait time.Duration // shorter than a worker's option may be; 0: as that is
}

func newHarness(tb testing.TB) *harness {
	tb.Helper()
	return newHarnessOf(tb, 1)
}

// newHarnessOf so many partitions.
func newHarnessOf(tb testing.TB, partitions int) *harness {
	tb.Helper()
	return &harness{Rig: workertest.New(tb, partitions)}
}

// runWriter runs a pipeline until the test ends.
func runWriter(tb testing.TB, e *pipeline.Pipeline) {
	tb.Helper()
	var writer sync.WaitGroup
	writer.Go(func() { _ = e.Run(tb.Context()) })
	tb.Cleanup(writer.Wait)
}

// byHand is a worker that nothing runs: a test calls its parts.
func (h *harness) byHand() *Worker {
	h.TB.Helper()
	d, _ := workertest.Connect(h.TB, h.Address())
	return h.byHandWith(d)
}

func (h *harness) byHandWith(d workertest.Deps) *Worker {
	h.TB.Helper()
	w, err := New(Deps(d), Options{})
	require.NoError(h.TB, err)
	_, err = d.Snapshots.Refresh(h.TB.Context())
	require.NoError(h.TB, err)
	return w
}

// work runs a worker until stop is called, which wants it to end cleanly.
func (h *harness) work(o Options) (stop func()) {
	h.TB.Helper()
	d, _ := workertest.Connect(h.TB, h.Address())
	return h.workWith(d, o)
}

// workWith runs a worker on connections that the caller made.
func (h *harness) workWith(d workertest.Deps, o Options) (stop func()) {
	h.TB.Helper()
	o.Alone = true
	w, err := New(Deps(d), o)
	require.NoError(h.TB, err)
	if h.statusWait > 0 {
		w.opts.StatusWaitMax = h.statusWait
	}
	ctx, cancel := context.WithCancel(h.TB.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		h.TB.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			assert.NoError(h.TB, err)
		case <-time.After(stopMax + 5*time.Second): // it says itself what it waits for
			h.TB.Fatal("the worker doesn't stop")
		}
	}
	select {
	case <-w.Ready():
	case err := <-ended:
		h.TB.Fatalf("the worker ended: %v", err)
	case <-time.After(30 * time.Second):
		h.TB.Fatal("the worker isn't ready")
	}
	h.TB.Cleanup(stop)
	return stop
}
