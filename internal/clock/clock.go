// Package clock is where the time comes from: the machine's clock, or one that
// a test sets. Everything that asks for the time is given a Clock, so that
// tests decide what day it is.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time.
type Clock interface {
	Now() time.Time
}

// System returns the machine's clock.
func System() Clock { return system{} }

type system struct{}

// Now returns the present time.
func (system) Now() time.Time { return time.Now() }

// Since is the time since t, an instant that c has told. Of the machine's clock
// it takes half as long as its Now.
func Since(c Clock, t time.Time) time.Duration {
	if _, ok := c.(system); ok {
		return time.Since(t)
	}
	return c.Now().Sub(t)
}

// Fake is a clock that stands still until it is set or advanced. It may be
// used by several goroutines.
type Fake struct {
	mu  sync.Mutex
	now time.Time
}

// NewFake returns a clock that shows now.
func NewFake(now time.Time) *Fake { return &Fake{now: now} }

// Now returns the time last set.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Set makes the clock show now, which may be earlier than before.
func (f *Fake) Set(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = now
}

// Advance moves the clock on by d and returns what it shows then.
func (f *Fake) Advance(d time.Duration) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
	return f.now
}
