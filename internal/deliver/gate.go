package deliver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/meterd/meterd/internal/address"
)

// Bounds of one server.
const (
	// hostMax deliveries to one server are under way at once.
	hostMax = 8
	// waitMax is how long a further one waits for its turn.
	waitMax = time.Second
	// tripAfter failures in a row the server is left alone.
	tripAfter = 3
)

// gates has one for each server, so that one that hangs or is down takes no
// more than its share of the places.
type gates struct {
	rest   time.Duration
	mu     sync.Mutex
	byHost map[string]*gate // as many as destinations are set up
}

func (g *gates) of(a *address.Address) *gate {
	host := string(a.Kind) + " " + a.Host()
	if a.Kind == address.Folder {
		host += " " + a.Dir // each may be another disk
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if x := g.byHost[host]; x != nil {
		return x
	}
	x := &gate{places: make(chan struct{}, hostMax), breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: host, Timeout: g.rest,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		// What the server refuses for good it has answered.
		IsSuccessful: func(err error) bool { return err == nil || errors.Is(err, ErrForGood) },
	})}
	g.byHost[host] = x
	return x
}

// gate of one server.
type gate struct {
	places  chan struct{}
	breaker *gobreaker.CircuitBreaker[struct{}]
}

func (g *gate) resting() bool { return g.breaker.State() == gobreaker.StateOpen }

func (g *gate) run(ctx context.Context, f func() error) error {
	wait := time.NewTimer(waitMax)
	defer wait.Stop()
	select {
	case g.places <- struct{}{}:
		defer func() { <-g.places }()
	case <-wait.C:
		return fmt.Errorf("%w: others wait for it too", ErrBusy)
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := g.breaker.Execute(func() (struct{}, error) { return struct{}{}, f() })
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return fmt.Errorf("%w: it has failed %d times in a row", ErrBusy, tripAfter)
	}
	return err
}
