package deliver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/meterd/meterd/internal/notify"
)

// Bounds of one server.
const (
	// hostMax deliveries to one server are under way at once.
	hostMax = 8
	// tripAfter tries in a row without an answer the server is left alone.
	tripAfter = 3
)

// GateOptions of Gates. Zero values take the defaults.
type GateOptions struct {
	// Rest is how long a server that three tries in a row had no answer from is
	// left alone. Default 15 s.
	Rest time.Duration
	// Wait is how long one waits for its turn at a server. Default 2 s.
	Wait time.Duration
	// Lane, where it isn't 0, is for callers that must not be held up by servers
	// that hang, however many there are: one that hasn't answered yet is asked by
	// one caller at a time, and so many at most wait for servers that didn't answer
	// last time. The others don't wait.
	Lane int
}

// Gates has one for each server, so that one that hangs or is down takes no
// more than its share of the places.
type Gates struct {
	opts   GateOptions
	lane   chan struct{}
	mu     sync.Mutex
	byHost map[string]*gate // as many as destinations are set up
}

// NewGates returns gates that are open.
func NewGates(o GateOptions) *Gates {
	if o.Rest == 0 {
		o.Rest = 15 * time.Second
	}
	if o.Wait == 0 {
		o.Wait = 2 * time.Second
	}
	return &Gates{opts: o, lane: make(chan struct{}, o.Lane), byHost: map[string]*gate{}}
}

// Run calls f, which asks the server, when there is a place for it. ErrBusy: it
// wasn't called.
func (g *Gates) Run(ctx context.Context, server string, f func() error) error {
	return g.of(server).run(ctx, f)
}

// Shut tells whether Run would answer ErrBusy at once. Of Gates with a lane.
func (g *Gates) Shut(server string) bool {
	x := g.of(server)
	if x.answers.Load() {
		return false
	}
	return len(x.first) > 0 || x.breaker.State() == gobreaker.StateOpen || x.silent.Load() && len(g.lane) == cap(g.lane)
}

func (g *Gates) of(server string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if x := g.byHost[server]; x != nil {
		return x
	}
	x := &gate{all: g, places: make(chan struct{}, hostMax), first: make(chan struct{}, 1), breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: server, Timeout: g.opts.Rest,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		IsSuccessful: answered,
	})}
	g.byHost[server] = x
	return x
}

// answered tells whether a server is there, whatever it says of this delivery: a
// receiver that it refuses tells nothing of the next one.
func answered(err error) bool {
	const notAvailable = 421 // closing, overloaded
	var mail *notify.MailError
	var hook *notify.StatusError
	switch {
	case err == nil, errors.Is(err, ErrForGood), errors.Is(err, errRefused), errors.Is(err, ErrGone), errors.Is(err, notify.ErrSecret):
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
	all     *Gates
	places  chan struct{}
	first   chan struct{} // of a server that isn't known to answer, where there is a lane
	breaker *gobreaker.CircuitBreaker[struct{}]
	answers atomic.Bool // its last answer came
	silent  atomic.Bool // its last answer didn't come

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
	if now.Sub(g.asked) < g.all.opts.Rest {
		return true
	}
	g.asked = now
	return false
}

func (g *gate) run(ctx context.Context, f func() error) error {
	leave, err := g.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	_, err = g.breaker.Execute(func() (struct{}, error) {
		err := f()
		if ctx.Err() == nil && !errors.Is(err, notify.ErrSecret) { // else it wasn't asked, or nobody waited
			g.answers.Store(answered(err))
			g.silent.Store(!answered(err))
		}
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return errRests
	}
	return err
}

var (
	errRests = fmt.Errorf("%w: it hasn't answered %d times in a row", ErrBusy, tripAfter)
	errFull  = fmt.Errorf("%w: others wait for it too", ErrBusy)
	errFirst = fmt.Errorf("%w: whether it answers is being found out", ErrBusy)
)

// enter takes a place at the server.
func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	if g.all.opts.Lane > 0 && !g.answers.Load() {
		return g.enterFirst()
	}
	wait := time.NewTimer(g.all.opts.Wait)
	defer wait.Stop()
	select {
	case g.places <- struct{}{}:
	case <-wait.C:
		return nil, errFull
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave = func() { <-g.places }
	if g.all.opts.Lane > 0 && !g.answers.Load() { // it has stopped answering meanwhile
		leave()
		return g.enterFirst()
	}
	return leave, nil
}

// enterFirst takes the one place at a server that isn't known to answer.
func (g *gate) enterFirst() (leave func(), err error) {
	if g.breaker.State() == gobreaker.StateOpen {
		return nil, errRests
	}
	select {
	case g.first <- struct{}{}:
	default:
		return nil, errFirst
	}
	if !g.silent.Load() {
		return func() { <-g.first }, nil
	}
	select {
	case g.all.lane <- struct{}{}:
		return func() { <-g.all.lane; <-g.first }, nil
	default:
		<-g.first
		return nil, errFirst
	}
}
