package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// handlersMax is how long tasks in hand have at a stop; then they go back to
// their queue.
const handlersMax = 20 * time.Second

// stopMax bounds a worker's stop: handlersMax, and as long for engines that
// answer late to take what is left. What isn't done by then is as after a kill:
// its tasks come again.
const stopMax = 2 * handlersMax

// parts are what runs in a worker, by name: a stop that takes too long says what
// it waited for.
type parts struct {
	mu      sync.Mutex
	running map[string]int
}

// run f, which is named so.
func (p *parts) run(name string, f func() error) error {
	p.count(name, 1)
	defer p.count(name, -1)
	return f()
}

func (p *parts) count(name string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		p.running = map[string]int{}
	}
	if p.running[name] += n; p.running[name] == 0 {
		delete(p.running, name)
	}
}

// wait for the end of all parts: without bound until ctx ends, then for most.
func (p *parts) wait(ctx context.Context, ended <-chan error, most time.Duration) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(most):
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("the worker doesn't stop: after %s there still run: %s; what they held comes again with its tasks",
			most, strings.Join(slices.Sorted(maps.Keys(p.running)), ", "))
	}
}
