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

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering/balance"
)

// Code says why; every code is safe to pass on to whoever sends.
type Code string

// The codes.
const (
	OK                Code = "ok"                  // send it
	Suspended         Code = "suspended"           // the account, or its parent, may send nothing
	ChannelNotEnabled Code = "channel_not_enabled" // the account may send on others
	Unknown           Code = "unknown"             // there is no such account, or it isn't known for now (Stale)
)

// Answer of the gate.
type Answer struct {
	Allowed bool  // send it
	Code    Code  // why, or why not
	Epoch   int64 // of the account's state
	// Stale: Redis didn't answer, or holds no whole projection, and the answer is by the
	// configured rule.
	Stale bool
}

// Options of a gate. Zero and less take the defaults.
type Options struct {
	// Partitions of the projection: the workers' --partitions. Default 1.
	Partitions int
	// FailOpen allows sending while Redis is away, or its projection isn't whole, unless what is known last of the
	// account refuses it; else it is refused once what is known is older than
	// MaxAge. Default false.
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
	born  time.Time
	cache sync.Map     // account → *entry
	heard atomic.Int64 // published changes

	mu   sync.Mutex
	size int
	subs map[string][]string // parent → its sub-accounts in the cache
}

// entry is never changed but for gone.
type entry struct {
	state *balance.State
	read  time.Duration // since the gate was born
	gone  atomic.Bool   // a change was published: read again
}

// New returns a gate over the Redis that the workers use. Follow makes it quick;
// without it answers are up to MaxAge old.
func New(rdb redis.UniversalClient, o Options) *Gate {
	if o.MaxAge <= 0 {
		o.MaxAge = time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 250 * time.Millisecond
	}
	if o.Entries <= 0 {
		o.Entries = 200_000
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	return &Gate{store: balance.New(rdb, o.Partitions), opts: o, born: o.Clock.Now(), subs: map[string][]string{}}
}

// Follow listens for published changes until ctx ends.
func (g *Gate) Follow(ctx context.Context) {
	var wg sync.WaitGroup
	for p := range g.store.Partitions() {
		wg.Go(func() { g.store.Follow(ctx, p, g.changed) })
	}
	wg.Wait()
}

// changed brings what is known of the account, and of its sub-accounts, to what
// was published; where that doesn't tell enough the next question reads again.
func (g *Gate) changed(p *balance.Published) {
	g.heard.Add(1) // before the entries: see read
	if e := g.cached(p.Account); e != nil {
		g.renew(p.Account, e, p)
		if e.state.ParentID != "" {
			return // a sub-account has none of its own
		}
	}
	// One that a read puts there from here on is marked by that read: see heard.
	g.mu.Lock()
	subs := g.subs[p.Account]
	g.mu.Unlock()
	for _, id := range subs {
		if e := g.cached(id); e != nil {
			g.renew(id, e, p)
		}
	}
}

func (g *Gate) renew(id string, e *entry, p *balance.Published) {
	next := e.state.With(p)
	if next == nil || e.gone.Load() {
		e.gone.Store(true)
		return
	}
	// One that a read has put there meanwhile is marked by that read.
	ne := &entry{state: next, read: e.read}
	if g.cache.CompareAndSwap(id, e, ne) && e.gone.Load() {
		ne.gone.Store(true) // marked after it was looked at
	}
}

// cached is nil for an account that isn't.
func (g *Gate) cached(account string) *entry {
	v, _ := g.cache.Load(account)
	e, _ := v.(*entry)
	return e
}

func (g *Gate) age() time.Duration { return clock.Since(g.opts.Clock, g.born) }

// Check answers for an account and a channel.
func (g *Gate) Check(ctx context.Context, account, channel string) Answer {
	if e := g.cached(account); e != nil && !e.gone.Load() && g.age()-e.read < g.opts.MaxAge {
		return g.answer(e.state, channel)
	}
	return g.read(ctx, account, channel)
}

func (g *Gate) read(ctx context.Context, account, channel string) Answer {
	ctx, cancel := context.WithTimeout(ctx, g.opts.Timeout)
	defer cancel()
	began, heard := g.age(), g.heard.Load()
	st, err := g.ask(ctx, account)
	if err != nil {
		return g.away(account, channel)
	}
	if st.Held {
		e := &entry{state: st, read: began}
		g.keep(account, e)
		if g.heard.Load() != heard { // what was published meanwhile may be newer than what was read
			e.gone.Store(true)
			if now := g.cached(account); now != nil {
				now.gone.Store(true)
			}
		}
	}
	return g.answer(st, channel)
}

// away answers by the configured rule. What was known last can refuse, and allows
// only where the rule does: nobody tells the gate what has happened since.
func (g *Gate) away(account, channel string) Answer {
	a := Answer{Allowed: true, Code: OK}
	if e := g.cached(account); e != nil {
		a = g.answer(e.state, channel)
	}
	if a.Allowed && !g.opts.FailOpen {
		a = Answer{Code: Unknown}
	}
	a.Stale = true
	return a
}

// ask reads from Redis. Its client may notice only later that ctx has ended: by
// its own timeout, which ends the goroutine.
func (g *Gate) ask(ctx context.Context, account string) (*balance.State, error) {
	var st *balance.State
	done := make(chan error, 1)
	go func() {
		s, err := g.store.State(ctx, account)
		st = s
		done <- err
	}()
	select {
	case err := <-done:
		return st, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keep bounds the cache: when it is full it starts anew.
func (g *Gate) keep(account string, e *entry) {
	if _, known := g.cache.Swap(account, e); known {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if parent := e.state.ParentID; parent != "" {
		g.subs[parent] = append(g.subs[parent], account)
	}
	if g.size++; g.size > g.opts.Entries {
		g.cache.Clear()
		g.size = 0
		clear(g.subs)
	}
}

func (g *Gate) answer(st *balance.State, channel string) Answer {
	switch {
	case !st.Held:
		return Answer{Code: Unknown}
	case st.Closed, g.suspended(st):
		return Answer{Code: Suspended, Epoch: st.Epoch}
	case !enabled(st.Channels, channel), g.opts.RefuseUnpriced && !enabled(st.Priced, channel):
		return Answer{Code: ChannelNotEnabled, Epoch: st.Epoch}
	}
	return Answer{Allowed: true, Code: OK, Epoch: st.Epoch}
}

// suspended asks for the time only where flags may be over.
func (g *Gate) suspended(st *balance.State) bool {
	if st.Own|st.Parent == 0 {
		return false
	}
	own, inherited := st.Flags(g.opts.Clock.Now().UnixMilli())
	return own|inherited != 0
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
