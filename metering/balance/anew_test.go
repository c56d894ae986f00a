package balance

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

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
			require.NoError(t, r.SeedAccount(ctx, &AccountSeed{Account: a}))
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
// that there is none nor that it is active.
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
		_, err := s.BreakerOpenSince(ctx, 0)
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
		require.NoError(t, b.rdb.Del(ctx, keyAccount(0, "boss")).Err())
		_, err = s.State(ctx, "sub")
		require.ErrorIs(t, err, ErrAnew, "its parent's isn't known")

		anew(t, s, 3, true, true)
		require.NoError(t, b.rdb.HSet(ctx, keyMeta(0), "replid", "another").Err())
		for _, id := range []string{"boss", "sub", "nobody"} {
			_, err = s.State(ctx, id)
			require.ErrorIs(t, err, ErrAnew, "%s: nobody charges in a Redis that was restarted, or was a replica", id)
		}
		require.NoError(t, b.rdb.FlushAll(ctx).Err())
		_, err = s.State(ctx, "sub")
		require.ErrorIs(t, err, ErrEmpty)
	})
}
