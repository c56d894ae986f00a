// Package gate is what a channel service imports to ask "may this account send
// on this channel?" before it sends. Answers come from a local cache that
// follows the published changes within milliseconds and re-reads entries older
// than a second; a cached answer allocates nothing. It links neither
// ClickHouse nor the reports.
package gate

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering/balance"
)

// Code says why; every code is safe to pass on to whoever sends.
type Code string

// The codes.
const (
	OK                Code = "ok"
	Suspended         Code = "suspended"
	ChannelNotEnabled Code = "channel_not_enabled"
	Unknown           Code = "unknown"
)

// Answer of the gate.
type Answer struct {
	Allowed bool
	Code    Code
	Epoch   int64 // of the account's state
	// Stale: Redis didn't answer, and the answer is by the configured rule.
	Stale bool
}

// Options of a gate. Zero values take the defaults.
type Options struct {
	// FailOpen allows sending while Redis is away and nothing is known of the
	// account; else it is refused. Default false.
	FailOpen bool
	// RefuseUnpriced refuses, as channel_not_enabled, a channel that the account's
	// price plan has no rule for: its messages would be quarantined. Default false.
	RefuseUnpriced bool
	// MaxAge is when a cached entry is read again. Shorter: a tighter bound on
	// overshoot where published changes are lost, more reads. Default 1 s.
	MaxAge time.Duration
	// Timeout of one read. Default 250 ms.
	Timeout time.Duration
	// Entries bounds the cache. Default 200,000.
	Entries int
	// Clock is the machine's unless a test says otherwise.
	Clock clock.Clock
}

// Gate answers for all accounts. It may be used by many goroutines.
type Gate struct {
	store *balance.Store
	opts  Options
	cache sync.Map // account → *entry
	size  atomic.Int64
}

type entry struct {
	state *balance.State
	read  time.Time
	gone  atomic.Bool // a change was published: read again
}

// New returns a gate. Follow makes it quick; without it answers are up to
// MaxAge old.
func New(s *balance.Store, o Options) *Gate {
	if o.MaxAge == 0 {
		o.MaxAge = time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 250 * time.Millisecond
	}
	if o.Entries == 0 {
		o.Entries = 200_000
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	return &Gate{store: s, opts: o}
}

// Follow listens for published changes until ctx ends.
func (g *Gate) Follow(ctx context.Context) {
	var wg sync.WaitGroup
	for p := range g.store.Partitions() {
		wg.Go(func() { g.follow(ctx, p) })
	}
	wg.Wait()
}

func (g *Gate) follow(ctx context.Context, p int) {
	sub := g.store.Changes(ctx, p)
	defer func() { _ = sub.Close() }()
	ch := sub.Channel()
	for {
		select {
		case m, ok := <-ch:
			if !ok {
				return
			}
			g.drop(m.Payload)
		case <-ctx.Done():
			return
		}
	}
}

// drop makes the next question about the account, or about a sub-account of
// it, read again.
func (g *Gate) drop(id string) {
	if v, ok := g.cache.Load(id); ok {
		if e, ok := v.(*entry); ok {
			e.gone.Store(true)
			if e.state.ParentID != "" {
				return // a sub-account has none of its own
			}
		}
	}
	g.cache.Range(func(_, v any) bool {
		if e, ok := v.(*entry); ok && e.state.ParentID == id {
			e.gone.Store(true)
		}
		return true
	})
}

// Check answers for an account and a channel.
func (g *Gate) Check(ctx context.Context, account, channel string) Answer {
	now := g.opts.Clock.Now()
	if v, ok := g.cache.Load(account); ok {
		if e, ok := v.(*entry); ok && !e.gone.Load() && now.Sub(e.read) < g.opts.MaxAge {
			return g.answer(e.state, channel, now)
		}
	}
	return g.read(ctx, account, channel, now)
}

func (g *Gate) read(ctx context.Context, account, channel string, now time.Time) Answer {
	ctx, cancel := context.WithTimeout(ctx, g.opts.Timeout)
	defer cancel()
	st, err := g.store.State(ctx, account)
	if err != nil {
		// What was known last holds while Redis is away.
		if v, ok := g.cache.Load(account); ok {
			if e, ok := v.(*entry); ok {
				a := g.answer(e.state, channel, now)
				a.Stale = true
				return a
			}
		}
		if g.opts.FailOpen {
			return Answer{Allowed: true, Code: OK, Stale: true}
		}
		return Answer{Code: Unknown, Stale: true}
	}
	if st.Held {
		g.keep(account, &entry{state: st, read: now})
	}
	return g.answer(st, channel, now)
}

// keep bounds the cache: when it is full it starts anew.
func (g *Gate) keep(account string, e *entry) {
	if _, known := g.cache.Swap(account, e); !known {
		if g.size.Add(1) > int64(g.opts.Entries) {
			g.cache.Clear()
			g.size.Store(0)
		}
	}
}

func (g *Gate) answer(st *balance.State, channel string, now time.Time) Answer {
	if !st.Held {
		return Answer{Code: Unknown}
	}
	own, inherited := st.Flags(now.UnixMilli())
	switch {
	case st.Closed, own|inherited != 0:
		return Answer{Code: Suspended, Epoch: st.Epoch}
	case !enabled(st.Channels, channel), g.opts.RefuseUnpriced && !enabled(st.Priced, channel):
		return Answer{Code: ChannelNotEnabled, Epoch: st.Epoch}
	}
	return Answer{Allowed: true, Code: OK, Epoch: st.Epoch}
}

// enabled looks for the channel in a comma-separated list, "*" is all.
func enabled(list, channel string) bool {
	if list == "*" {
		return true
	}
	for list != "" {
		var c string
		c, list, _ = strings.Cut(list, ",")
		if c == channel {
			return true
		}
	}
	return false
}
