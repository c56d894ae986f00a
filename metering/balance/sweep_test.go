package balance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
)

// However long nobody swept, all sets go that no charge asks any more, in steps
// that are bounded, and those that one asks stay.
func TestSweepDedup(t *testing.T) {
	t.Parallel()
	rdb := testengine.StartRedis(t).Redis(t)
	s, ctx := fresh(t, t, rdb), t.Context()
	meta, err := s.Meta(ctx, 0)
	require.NoError(t, err)
	first := meta.EpochStartedAt.Unix() / meta.generation()
	last := first + 2*sweepMax + 7
	for gen := first; gen <= last; gen++ {
		require.NoError(t, rdb.SAdd(ctx, keyDedup(0, gen, 0), gen).Err())
	}
	left := func() (n int) {
		keys, err := rdb.Keys(ctx, tag(0)+":d:*").Result()
		require.NoError(t, err)
		return len(keys)
	}
	all := left()
	require.NoError(t, s.SweepDedup(ctx, 0, meta))
	require.Equal(t, all, left(), "nothing has been charged since")
	require.NoError(t, rdb.HSet(ctx, keyMeta(0), "gen", last).Err())
	for _, want := range []int{all - sweepMax, all - 2*sweepMax, 2, 2} {
		require.NoError(t, s.SweepDedup(ctx, 0, meta))
		require.Equal(t, want, left())
	}
	for gen := last - 1; gen <= last; gen++ {
		n, err := rdb.Exists(ctx, keyDedup(0, gen, 0)).Result()
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
	}
}
