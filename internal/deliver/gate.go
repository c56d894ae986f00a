package deliver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/meterd/meterd/internal/destination"
	"github.com/meterd/meterd/internal/notify"
)

// Bounds of one server.
const (
	// hostMax deliveries to one server are under way at once.
	hostMax = 8
	// waitMax is how long a further one waits for its turn.
	waitMax = 2 * time.Second
	// tripAfter tries in a row without an answer the server is left alone.
	tripAfter = 3
)

// gates has one for each server, so that one that hangs or is down takes no
// more than its share of the places.
type gates struct {
	rest   time.Duration
	mu     sync.Mutex
	byHost map[string]*gate // as many as destinations are set up
}

func (g *gates) of(a *destination.Address) *gate {
	host := string(a.Kind) + " " + a.Host()
	if a.Kind == destination.Folder {
		host += " " + a.Dir // each may be another disk
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if x := g.byHost[host]; x != nil {
		return x
	}
	x := &gate{rest: g.rest, places: make(chan struct{}, hostMax), breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: host, Timeout: g.rest,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		IsSuccessful: answered,
	})}
	g.byHost[host] = x
	return x
}

// answered tells whether a server is there, whatever it says of this delivery: a
// receiver that it refuses tells nothing of the next one.
func answered(err error) bool {
	const notAvailable = 421 // closing, overloaded
	var mail *notify.MailError
	var hook *notify.StatusError
	switch {
	case err == nil, errors.Is(err, ErrForGood), errors.Is(err, errRefused):
		return true
	case errors.As(err, &mail):
		return mail.Code != 0 && mail.Code != notAvailable
	case errors.As(err, &hook):
		return hook.Code != http.StatusTooManyRequests
	}
	return false
}

// gate of one server.
type gate struct {
	rest    time.Duration
	places  chan struct{}
	breaker *gobreaker.CircuitBreaker[struct{}]

	mu    sync.Mutex
	asked time.Time // when it was last to be asked whether it answers again
}

// resting tells whether the server is left alone. After its rest one caller is
// told that it isn't, and finds out.
func (g *gate) resting() bool {
	switch g.breaker.State() {
	case gobreaker.StateClosed:
		return false
	case gobreaker.StateOpen:
		return true
	case gobreaker.StateHalfOpen:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now() //nolint:forbidigo // the breaker's own clock
	if now.Sub(g.asked) < g.rest {
		return true
	}
	g.asked = now
	return false
}

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
		return fmt.Errorf("%w: it hasn't answered %d times in a row", ErrBusy, tripAfter)
	}
	return err
}
