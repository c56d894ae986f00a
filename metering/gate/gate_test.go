package gate_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/gate"
)

func TestMain(m *testing.M) { testengine.Main(m) }

// patient is the bound of a read whose answer, not speed, is tried: on a busy machine
// one takes longer than a gate waits by itself, which then says that it doesn't know.
const patient = 30 * time.Second

// rig is a projection with a postpaid parent and two sub-accounts.
type rig struct {
	t      *testing.T
	e      *testengine.Engines
	store  *balance.Store
	meta   *balance.Meta
	months balance.Months
	sent   int
}

var accounts = []string{"acme", "acme-a", "acme-b"}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, e: testengine.StartRedis(t)}
	r.store = balance.New(r.e.Redis(t), 1)
	ctx := t.Context()
	ok, err := r.store.Lease(ctx, 0, balance.RebuildLease, "token", time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, r.store.Rebuilding(0, "token").Install(ctx, balance.NewProjection{
		Epoch: 1, Window: 24 * time.Hour, Buckets: 4, Key: hex.EncodeToString(make([]byte, 16)),
	}))
	r.meta, err = r.store.Meta(ctx, 0)
	require.NoError(t, err)
	calendar, err := metering.NewCalendar([]metering.ZoneFrom{{Zone: "UTC"}})
	require.NoError(t, err)
	r.months = balance.MonthsAround(calendar, time.Now())
	r.push(calendar, nil, 1)
	return r
}

func (r *rig) push(c *metering.Calendar, limit *metering.Micros, catalog int64) {
	r.t.Helper()
	list := []*metering.Account{{ID: "acme", Mode: metering.Postpaid, Source: metering.SourceCredit, Calendar: c, Catalog: catalog}}
	for _, id := range accounts[1:] {
		list = append(list, &metering.Account{
			ID: id, ParentID: "acme", Mode: metering.Postpaid, Source: metering.SourceCredit, Calendar: c, MonthlyLimit: limit, Catalog: catalog,
		})
	}
	require.NoError(r.t, r.store.Push(r.t.Context(), 0, r.meta, catalog, list, time.Now()))
}

func (r *rig) manual(id string, set bool) {
	r.t.Helper()
	_, err := r.store.SetManual(r.t.Context(), 0, r.meta, &balance.ManualChange{
		Account: id, Flag: metering.FlagManualOperator, Set: set, Actor: "operator", Months: r.months,
	})
	require.NoError(r.t, err)
}

func (r *rig) spend(id string, amount metering.Micros) {
	r.t.Helper()
	r.sent++
	task := fmt.Sprint("task", r.sent)
	call := balance.NewCall(task, 1, []balance.Item{{
		Identity: metering.Identity{AccountID: id, Kind: metering.KindUsage, ID: task}, Account: id, Parent: "acme",
		Period: r.months[1].Name, Amount: amount, OccurredAt: time.Now().UnixMilli(),
	}}, map[string]balance.Months{"acme": r.months}, r.meta)
	_, err := r.store.Charge(r.t.Context(), 0, 1<<40, call)
	require.NoError(r.t, err)
}

// follow starts a gate that never reads again by itself, on a client of its own
// that counts what it asks.
func (r *rig) follow(o gate.Options) (*gate.Gate, *atomic.Int64) {
	r.t.Helper()
	rdb := r.e.Redis(r.t)
	asked := &atomic.Int64{}
	rdb.AddHook(counter{asked})
	g := gate.New(rdb, o)
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); g.Follow(ctx) }()
	r.t.Cleanup(func() { cancel(); <-ended })
	require.Eventually(r.t, func() bool {
		n, err := r.e.Redis(r.t).PubSubShardNumSub(r.t.Context(), "{p00}:state").Result()
		return err == nil && n["{p00}:state"] > 0
	}, 10*time.Second, 5*time.Millisecond, "it listens")
	return g, asked
}

// counter counts pipelines: that is how the gate reads.
type counter struct{ n *atomic.Int64 }

func (c counter) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (c counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (c counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}

// TestAChangeIsHeardWithoutARead: a suspension is in force as soon as it is
// published; nothing is read for it.
func TestAChangeIsHeardWithoutARead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, asked := r.follow(gate.Options{MaxAge: time.Hour})
	for _, id := range accounts {
		require.True(t, g.Check(t.Context(), id, "sms").Allowed, id)
	}
	before := asked.Load()
	allowed := func(id string) func() bool {
		return func() bool { return g.Check(t.Context(), id, "sms").Allowed }
	}
	refused := func(id string) func() bool { return func() bool { return !allowed(id)() } }
	r.manual("acme-a", true)
	require.Eventually(t, refused("acme-a"), 10*time.Second, time.Millisecond)
	require.True(t, allowed("acme-b")())
	r.manual("acme", true)
	require.Eventually(t, refused("acme-b"), 10*time.Second, time.Millisecond)
	r.manual("acme", false)
	require.Eventually(t, allowed("acme-b"), 10*time.Second, time.Millisecond)
	require.True(t, refused("acme-a")(), "its own stands")
	require.Equal(t, before, asked.Load(), "reads")
}

// TestPublishedAndReadAgree: after whatever happens a gate that only listens
// comes to say what one says that reads.
func TestPublishedAndReadAgree(t *testing.T) {
	t.Parallel()
	testengine.Bound(t, 5*time.Minute) // hundreds of random checks
	r := newRig(t)
	g, _ := r.follow(gate.Options{MaxAge: time.Hour, Timeout: patient})
	calendar, err := metering.NewCalendar([]metering.ZoneFrom{{Zone: "UTC"}})
	require.NoError(t, err)
	catalog := int64(1)
	rdb := r.e.Redis(t)
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.SampledFrom(accounts)
		rt.Repeat(map[string]func(*rapid.T){
			"by hand": func(rt *rapid.T) { r.manual(id.Draw(rt, "account"), rapid.Bool().Draw(rt, "set")) },
			"spend":   func(rt *rapid.T) { r.spend(rapid.SampledFrom(accounts[1:]).Draw(rt, "account"), 100) },
			"limit": func(rt *rapid.T) {
				catalog++
				limit := metering.Micros(rapid.Int64Range(0, 3000).Draw(rt, "limit"))
				r.push(calendar, &limit, catalog)
			},
			"": func(rt *rapid.T) {
				fresh := gate.New(rdb, gate.Options{Timeout: patient})
				for _, id := range accounts {
					want := fresh.Check(t.Context(), id, "sms")
					var got gate.Answer
					assert.Eventually(rt, func() bool { got = g.Check(t.Context(), id, "sms"); return got == want }, 5*time.Second, time.Millisecond)
					require.Equal(rt, want, got, id)
				}
			},
		})
	})
}

// TestWithoutRedis: the configured rule answers; what was known last can only
// refuse.
func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	away := l.Addr().String()
	require.NoError(t, l.Close())
	for _, open := range []bool{true, false} {
		rdb := redis.NewClient(&redis.Options{Addr: away, MaxRetries: -1})
		t.Cleanup(func() { _ = rdb.Close() })
		a := gate.New(rdb, gate.Options{FailOpen: open}).Check(t.Context(), "acme-a", "sms")
		require.Equal(t, open, a.Allowed)
		require.True(t, a.Stale)
	}

	r := newRig(t)
	now := clock.NewFake(time.Now())
	g := gate.New(r.e.Redis(t), gate.Options{Clock: now})
	require.Equal(t, gate.Answer{Allowed: true, Code: gate.OK, Epoch: 1_000_000_000}, g.Check(t.Context(), "acme-a", "sms"))
	r.manual("acme-a", true)
	require.True(t, g.Check(t.Context(), "acme-a", "sms").Allowed, "from memory: it doesn't listen")
	now.Advance(time.Second)
	require.Equal(t, gate.Suspended, g.Check(t.Context(), "acme-a", "sms").Code, "read again")
	open := gate.New(r.e.Redis(t), gate.Options{Clock: now, FailOpen: true})
	for _, g := range []*gate.Gate{g, open} {
		require.Equal(t, gate.OK, g.Check(t.Context(), "acme", "sms").Code)
		require.Equal(t, gate.Suspended, g.Check(t.Context(), "acme-a", "sms").Code)
	}
	r.e.StopRedis(t)
	require.Equal(t, gate.OK, g.Check(t.Context(), "acme", "sms").Code, "from memory, for as long as it is young")
	now.Advance(time.Second)
	for _, g := range []*gate.Gate{g, open} {
		a := g.Check(t.Context(), "acme-a", "sms")
		require.Equal(t, gate.Suspended, a.Code)
		require.True(t, a.Stale)
	}
	require.Equal(t, gate.Answer{Code: gate.Unknown, Stale: true}, g.Check(t.Context(), "acme", "sms"), "fail closed")
	a := open.Check(t.Context(), "acme", "sms")
	require.True(t, a.Allowed && a.Stale && a.Code == gate.OK, "fail open")
}

// TestWithoutAProjection: while Redis holds none, or one that isn't whole, the gate
// knows as little as without Redis: it neither says that there is no such account nor
// that it may send.
func TestWithoutAProjection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rdb := r.e.Redis(t)
	now := clock.NewFake(time.Now())
	gates := map[bool]*gate.Gate{}
	r.manual("acme-a", true)
	for _, open := range []bool{true, false} {
		g := gate.New(rdb, gate.Options{Clock: now, FailOpen: open, Timeout: patient})
		gates[open] = g
		require.Equal(t, gate.OK, g.Check(t.Context(), "acme", "sms").Code)
		require.Equal(t, gate.Suspended, g.Check(t.Context(), "acme-a", "sms").Code)
		require.Equal(t, gate.Answer{Code: gate.Unknown}, g.Check(t.Context(), "nobody", "sms"), "known not to be")
	}
	byRule := func(what string) {
		t.Helper()
		now.Advance(time.Hour)
		for open, g := range gates {
			for id, code := range map[string]gate.Code{"acme": gate.OK, "acme-b": gate.OK, "nobody": gate.OK, "acme-a": gate.Suspended} {
				if code == gate.OK && !open {
					code = gate.Unknown
				}
				got := g.Check(t.Context(), id, "sms")
				got.Epoch = 0
				require.Equal(t, gate.Answer{Allowed: code == gate.OK, Code: code, Stale: true}, got, "%s: %s, fail open: %v", what, id, open)
			}
		}
	}
	calendar, err := metering.NewCalendar([]metering.ZoneFrom{{Zone: "UTC"}})
	require.NoError(t, err)
	ctx := t.Context()
	// A replica that lagged has taken over, or Redis lost its last second: it knows of
	// no suspension, and nothing is charged until it is adopted or made anew.
	require.NoError(t, rdb.HSet(ctx, "{p00}:a:acme-a", "f", 0).Err())
	require.NoError(t, rdb.HSet(ctx, "{p00}:meta", "replid", "another").Err())
	byRule("another Redis")
	rebuild := r.store.Rebuilding(0, "token")
	_, err = rebuild.Clear(ctx)
	require.NoError(t, err)
	byRule("a rebuild has begun")
	require.NoError(t, rebuild.SeedAccount(ctx, &balance.AccountSeed{Account: &metering.Account{
		ID: "acme", Mode: metering.Postpaid, Source: metering.SourceCredit, Calendar: calendar, Catalog: 1,
	}}))
	require.NoError(t, rebuild.Flush(ctx))
	byRule("some accounts are loaded")
	for _, id := range []string{"acme-a", "acme-b"} {
		require.NoError(t, rebuild.SeedAccount(ctx, &balance.AccountSeed{Account: &metering.Account{
			ID: id, ParentID: "acme", Mode: metering.Postpaid, Source: metering.SourceCredit, Calendar: calendar, Catalog: 1,
		}}))
	}
	require.NoError(t, rebuild.Flush(ctx))
	require.NoError(t, rebuild.Install(ctx, balance.NewProjection{
		Epoch: 2, Catalog: 1, Window: 24 * time.Hour, Buckets: 4, Key: hex.EncodeToString(make([]byte, 16)),
	}))
	for open, g := range gates { // that there is no such account is known again before states are judged
		got := g.Check(ctx, "acme", "sms")
		require.True(t, got.Stale && got.Allowed == open, got)
		require.Equal(t, gate.Answer{Code: gate.Unknown}, g.Check(ctx, "nobody", "sms"))
	}
	r.meta, err = r.store.Meta(ctx, 0)
	require.NoError(t, err)
	r.push(calendar, nil, 2)
	for _, g := range gates {
		require.Equal(t, gate.Answer{Allowed: true, Code: gate.OK, Epoch: 2_000_000_000}, g.Check(ctx, "acme", "sms"))
	}
	require.NoError(t, rdb.FlushAll(ctx).Err())
	now.Advance(time.Hour)
	require.Equal(t, gate.Answer{Allowed: true, Code: gate.OK, Stale: true}, gates[true].Check(ctx, "nobody", "sms"), "Redis was emptied")
}

// TestAnAnswerIsntWaitedForLonger: Redis takes the connection and says nothing,
// and its client would wait for a minute.
func TestAnAnswerIsntWaitedForLonger(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	silent, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	rdb := redis.NewClient(&redis.Options{Addr: silent.Addr().String(), ReadTimeout: time.Minute})
	t.Cleanup(func() { require.NoError(t, rdb.Close()); require.NoError(t, silent.Close()) })
	g := gate.New(rdb, gate.Options{})
	began := time.Now()
	require.Equal(t, gate.Answer{Code: gate.Unknown, Stale: true}, g.Check(t.Context(), "acme", "sms"))
	require.Less(t, time.Since(began), 30*time.Second)
}
