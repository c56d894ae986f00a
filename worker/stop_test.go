package worker

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/worker/workertest"
)

// stopped is a clock that, once it is told to, keeps everybody who asks it.
type stopped struct {
	clock.Clock

	from, until chan struct{}
	asked       *atomic.Bool
}

// Now implements clock.Clock.
func (s stopped) Now() time.Time {
	select {
	case <-s.from:
		s.asked.Store(true)
		<-s.until
	default:
	}
	return s.Clock.Now()
}

// TestAStopNamesWhatDoesntEnd: chores that hang don't keep the worker.
func TestAStopNamesWhatDoesntEnd(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, _ := workertest.Connect(t, h.Address())
	hangs := stopped{Clock: d.Clock, from: make(chan struct{}), until: make(chan struct{}), asked: &atomic.Bool{}}
	d.Clock = hangs
	w, err := New(Deps(d), Options{Roles: []string{"scheduler"}})
	require.NoError(t, err)
	w.stopMax = 500 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	<-w.Ready()
	close(hangs.from)
	h.Eventually("a chore hangs", hangs.asked.Load)
	cancel()
	err = <-ended
	require.ErrorContains(t, err, "the worker doesn't stop: after 500ms there still run: chore ")
	close(hangs.until)
	h.Eventually("all have ended", func() bool {
		w.parts.mu.Lock()
		defer w.parts.mu.Unlock()
		return len(w.parts.running) == 0
	})
}
