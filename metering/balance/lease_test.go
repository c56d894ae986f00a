package balance

import (
	"context"
	"encoding/hex"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance/balancetest"
)

// A lease is its holder's until it is given back or over; who has lost it
// neither keeps it nor takes it from the next.
func TestLease(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		s, ctx := New(b.rdb, 1), t.Context()
		take := func(token string) bool {
			t.Helper()
			ok, err := s.Lease(ctx, 0, "x", token, time.Minute)
			require.NoError(t, err)
			return ok
		}
		assert.True(t, take("a"))
		assert.True(t, take("a"), "it is kept")
		assert.False(t, take("b"))
		require.NoError(t, s.Release(ctx, 0, "x", "b"))
		assert.False(t, take("b"), "it isn't b's to give back")
		require.NoError(t, s.Release(ctx, 0, "x", "a"))
		require.NoError(t, s.Release(ctx, 0, "x", "a"))
		kept, err := s.lease(ctx, 0, "x", "a", time.Minute, "keep")
		require.NoError(t, err)
		assert.False(t, kept, "what is over isn't kept")
		assert.True(t, take("b"))
	})
}

// Who holds a lease is told when it is another's.
func TestWhileHeldEndsWithTheLease(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		s := New(b.rdb, 1)
		ok, err := s.Lease(t.Context(), 0, "x", "a", time.Minute)
		require.NoError(t, err)
		require.True(t, ok)
		err = s.WhileHeld(t.Context(), 0, "x", "a", 30*time.Millisecond, func(ctx context.Context) error {
			another := context.WithoutCancel(ctx)               // that the lease is lost may be noticed at once
			require.NoError(t, s.Release(another, 0, "x", "a")) // as a Redis that has lost it
			ok, err := s.Lease(another, 0, "x", "b", time.Minute)
			require.NoError(t, err)
			require.True(t, ok)
			<-ctx.Done()
			return context.Cause(ctx)
		})
		require.ErrorIs(t, err, ErrMoved)
		ok, err = s.Lease(t.Context(), 0, "x", "c", time.Minute)
		require.NoError(t, err)
		assert.False(t, ok, "it stays b's")
	})
}

// Nor does who holds it go on where Redis can't be reached: there it ends unseen.
func TestWhileHeldEndsWithoutRedis(t *testing.T) {
	t.Parallel()
	var away unreachable
	s := New(balancetest.New(time.Now).Client(&away), 1)
	ok, err := s.Lease(t.Context(), 0, "x", "a", time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	err = s.WhileHeld(t.Context(), 0, "x", "a", 30*time.Millisecond, func(ctx context.Context) error {
		away.Store(true)
		<-ctx.Done()
		return context.Cause(ctx)
	})
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorIs(t, err, net.ErrClosed)
}

// unreachable is a Redis that answers nothing while it is set.
type unreachable struct{ atomic.Bool }

func (u *unreachable) DialHook(next redis.DialHook) redis.DialHook { return next }

func (u *unreachable) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (u *unreachable) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if u.Load() {
			return net.ErrClosed
		}
		return next(ctx, cmd)
	}
}

// A rebuild whose lease a Redis has lost changes nothing of what another has
// made since: a balance, an answer, the projection itself.
func TestARebuildWithoutItsLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb)) // token has made it, and still holds the lease
		m.push(t, m.order, false)
		items := m.ofPost("a", 7)
		ctx := t.Context()
		_, err := m.Charge(ctx, 0, 1, m.newCall("one", items))
		require.NoError(t, err)
		stands := func() {
			t.Helper()
			got, err := m.Read(ctx, 0, []string{"post"})
			require.NoError(t, err)
			assert.EqualValues(t, 7, got.States["post"].Used[m.now()])
			reply, _, err := m.FindAnswer(ctx, 0, "one")
			require.NoError(t, err)
			require.NotNil(t, reply)
			assert.Equal(t, AnswerOpen, reply.State)
			open, err := m.OpenAnswers(ctx, 0, 0)
			require.NoError(t, err)
			assert.Len(t, open, 1)
		}
		stale := m.Rebuilding(0, "stale")
		account := &AccountSeed{Account: m.doc(m.account["post"]), Used: map[string]metering.Micros{m.now(): 3}}
		_, err = stale.Clear(ctx)
		require.ErrorIs(t, err, ErrMoved)
		require.NoError(t, stale.SeedAccount(ctx, account))
		require.NoError(t, stale.SeedRef(ctx, "ref", map[string]string{"hash": "1"}))
		require.ErrorIs(t, stale.Flush(ctx), ErrMoved)
		require.ErrorIs(t, stale.Install(ctx, NewProjection{Epoch: 2}), ErrMoved)
		stands()
		// Nor is anything loaded beside a projection that stands.
		late := m.Rebuilding(0, "token")
		require.NoError(t, late.SeedAccount(ctx, account))
		require.ErrorIs(t, late.Flush(ctx), ErrMoved)
		stands()
	})
}

// A projection that ends with nothing open, and that has lost nothing, has no row on
// its way; else rows may land for a while, whatever is made anew meanwhile.
func TestWhatMayLandAfterARebuild(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		ctx := t.Context()
		again := func(landing time.Duration) (settled bool) {
			t.Helper()
			settled, err := m.Rebuilding(0, "token").Clear(ctx)
			require.NoError(t, err)
			p := NewProjection{Epoch: m.meta.Epoch + 1, Window: m.meta.Window, Buckets: 4, Key: hex.EncodeToString(make([]byte, 16)), Landing: landing}
			require.NoError(t, m.Rebuilding(0, "token").Install(ctx, p))
			m.meta, err = m.Meta(ctx, 0)
			require.NoError(t, err)
			return settled
		}
		landing := func() bool {
			t.Helper()
			may, err := m.Landing(ctx, 0, m.meta)
			require.NoError(t, err)
			return may
		}
		require.True(t, again(0), "nothing was charged")
		require.False(t, landing())
		m.push(t, m.order, false)
		items := m.ofPost("a", 7)
		_, err := m.Charge(ctx, 0, 1, m.newCall("one", items))
		require.NoError(t, err)
		require.False(t, again(time.Hour), "an answer was open")
		require.True(t, landing())
		require.False(t, again(time.Hour), "what was open before may still land")
		require.NoError(t, m.rdb.HSet(ctx, keyMeta(0), "landing", 1).Err())
		m.meta, err = m.Meta(ctx, 0)
		require.NoError(t, err)
		require.False(t, landing(), "it has landed by now")
		require.NoError(t, m.rdb.HSet(ctx, keyMeta(0), "replid", "another").Err())
		require.False(t, again(0), "nobody knows what that Redis has lost")
		require.NoError(t, m.rdb.HSet(ctx, keyMeta(0), "parts", 2).Err())
		require.False(t, again(0), "another partition may have charged for its parents")
		require.NoError(t, m.rdb.Del(ctx, keyMeta(0)).Err())
		require.False(t, again(0), "nor what there was")
	})
}

// An open answer is lost where the list has it and its hash is gone.
func TestLost(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		m.push(t, m.order, false)
		items := m.ofPost("a", 7)
		reply, err := m.Charge(t.Context(), 0, 1, m.newCall("one", items))
		require.NoError(t, err)
		lost := func(a OpenAnswer) bool {
			t.Helper()
			lost, err := m.Lost(t.Context(), 0, a)
			require.NoError(t, err)
			return lost
		}
		assert.False(t, lost(OpenAnswer{Task: "one", Seq: reply.Seq}))
		assert.False(t, lost(OpenAnswer{Task: "two", Seq: 9}), "it isn't open")
		require.NoError(t, b.rdb.Del(t.Context(), keyTask(0, "one")).Err())
		assert.True(t, lost(OpenAnswer{Task: "one", Seq: reply.Seq}))
	})
}

// TestAReferenceExpiresOnceItsRowIsStored, and not before; one that a rebuild loads, too.
func TestAReferenceExpiresOnceItsRowIsStored(t *testing.T) {
	t.Parallel()
	rdb, ctx := testengine.StartRedis(t).Redis(t), t.Context()
	m := newModel(t, fresh(t, t, rdb))
	m.push(t, m.order, false)
	left := func(ref string) time.Duration {
		d, err := rdb.TTL(ctx, keyRef(0, ref)).Result()
		require.NoError(t, err)
		return d
	}
	_, err := m.Transfer(ctx, 0, m.meta, &TransferCall{Ref: "top", Hash: 1, Amount: 5, To: "pre", Row: []byte("{}"), Months: m.months(m.month)})
	require.NoError(t, err)
	require.EqualValues(t, -1, left("top"), "it is kept for as long as the ledger may not have it")
	require.NoError(t, m.Confirm(ctx, 0, m.meta.Epoch, "top"))
	require.InDelta(t, metering.RefKept, left("top"), float64(time.Minute))

	require.NoError(t, rdb.FlushDB(ctx).Err())
	ok, err := m.Lease(ctx, 0, RebuildLease, "token", time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	b := m.Rebuilding(0, "token")
	require.NoError(t, b.SeedAccount(ctx, &AccountSeed{Account: m.doc(m.account["post"])}))
	require.NoError(t, b.SeedRef(ctx, "top", map[string]string{"hash": "1"}))
	require.NoError(t, b.Flush(ctx))
	require.InDelta(t, metering.RefKept, left("top"), float64(time.Minute))
	forGood, err := rdb.TTL(ctx, keyAccount(0, "post")).Result()
	require.NoError(t, err)
	require.EqualValues(t, -1, forGood)
	require.Equal(t, map[string]string{"hash": "1"}, rdb.HGetAll(ctx, keyRef(0, "top")).Val())
}
