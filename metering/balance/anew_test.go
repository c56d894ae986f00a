package balance

import (
	"context"
	"encoding/hex"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
)

// between runs do after so many of a pipeline's commands, in the pipeline of that
// number.
type between struct {
	pipeline, commands int
	do                 func()
}

func (*between) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*between) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (b *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "hmget" { // a handshake
			return next(ctx, cmds)
		}
		if b.pipeline--; b.pipeline != 0 || b.commands > len(cmds) {
			return next(ctx, cmds)
		}
		if b.commands > 0 {
			if err := next(ctx, cmds[:b.commands]); err != nil {
				return err
			}
		}
		b.do()
		if b.commands == len(cmds) {
			return nil
		}
		return next(ctx, cmds[b.commands:])
	}
}

// anew makes a projection in which the accounts stand, as far as a rebuild has come.
func anew(t *testing.T, s *Store, epoch int64, load, judge bool) {
	t.Helper()
	ctx := t.Context()
	calendar, err := metering.NewCalendar([]metering.ZoneFrom{{Zone: "UTC"}})
	require.NoError(t, err)
	list := []*metering.Account{
		{ID: "boss", Mode: metering.Postpaid, Source: metering.SourceCredit, Calendar: calendar, CreditLimit: new(metering.Micros), Catalog: 1},
		{ID: "sub", ParentID: "boss", Mode: metering.Postpaid, Source: metering.SourceCredit, Calendar: calendar, Catalog: 1},
	}
	ok, err := s.Lease(ctx, 0, RebuildLease, "token", time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	r := s.Rebuilding(0, "token")
	_, err = r.Clear(ctx)
	require.NoError(t, err)
	for _, a := range list {
		if load {
			require.NoError(t, r.Load(ctx, &Loaded{Account: a}))
		}
	}
	require.NoError(t, r.Flush(ctx))
	require.NoError(t, r.Install(ctx, NewProjection{Epoch: epoch, Catalog: 1, Window: 24 * time.Hour, Buckets: 4, Key: hex.EncodeToString(make([]byte, 16))}))
	if judge {
		meta, err := s.Meta(ctx, 0)
		require.NoError(t, err)
		require.NoError(t, s.Push(ctx, 0, meta, 1, list, time.Now()))
	}
}

// TestAStateIsOfAWholeProjection: without one nothing is said of an account, neither
// that there is none nor that it is active, wherever a rebuild comes between.
func TestAStateIsOfAWholeProjection(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		ctx := t.Context()
		s := New(b.rdb, 1)
		for _, id := range []string{"boss", "sub", "nobody"} {
			_, err := s.State(ctx, id)
			require.ErrorIs(t, err, ErrEmpty, id)
		}
		_, err := s.Broken(ctx, 0)
		require.ErrorIs(t, err, ErrEmpty)
		anew(t, s, 1, true, false)
		for _, id := range []string{"boss", "sub"} {
			_, err := s.State(ctx, id)
			require.ErrorIs(t, err, ErrAnew, "%s isn't judged yet", id)
		}
		anew(t, s, 2, true, true)
		for range 2 {
			st, err := s.State(ctx, "sub")
			require.NoError(t, err)
			require.Equal(t, metering.FlagCeiling, st.Parent)
		}
		st, err := s.State(ctx, "nobody")
		require.NoError(t, err)
		require.False(t, st.Held)

		two := New(b.rdb, 2) // the second has no projection
		require.NoError(t, b.rdb.HDel(ctx, keyMeta(0), "parts").Err())
		id := "boss"
		require.Equal(t, 0, two.PartitionOf(id), "a premise")
		st, err = two.State(ctx, id)
		require.NoError(t, err)
		require.True(t, st.Held)
		_, err = two.State(ctx, "nobody")
		require.ErrorIs(t, err, ErrEmpty, "the second may hold it")
		require.NoError(t, b.rdb.FlushAll(ctx).Err())
		_, err = s.State(ctx, "sub")
		require.ErrorIs(t, err, ErrEmpty)
	})
}

func TestAStateIsOfOneProjection(t *testing.T) {
	t.Parallel()
	rdb := testengine.StartRedis(t).Redis(t)
	s := New(rdb, 1)
	for _, c := range []struct {
		name  string
		known bool // who its parent is
		at    between
		want  error
		do    func()
	}{
		{"emptied before the account is read", true, between{pipeline: 1, commands: 1}, ErrEmpty, func() { rdb.FlushAll(t.Context()) }},
		{"made anew, without the account, before it is read", true, between{pipeline: 1, commands: 1}, ErrAnew, func() { anew(t, s, 2, false, false) }},
		{"made anew before its parent is read", true, between{pipeline: 1, commands: 2}, ErrAnew, func() { anew(t, s, 2, false, false) }},
		{"emptied before its parent is asked for", false, between{pipeline: 2}, ErrEmpty, func() { rdb.FlushAll(t.Context()) }},
		{"made anew before its parent is asked for", false, between{pipeline: 2}, ErrAnew, func() { anew(t, s, 2, true, true) }},
	} {
		anew(t, s, 1, true, true)
		other := redis.NewClient(rdb.Options())
		t.Cleanup(func() { _ = other.Close() })
		reader := New(other, 1)
		if c.known {
			_, err := reader.State(t.Context(), "sub")
			require.NoError(t, err, c.name)
		}
		c.at.do = c.do
		other.AddHook(&c.at)
		_, err := reader.State(t.Context(), "sub")
		require.ErrorIs(t, err, c.want, c.name)
	}
}
