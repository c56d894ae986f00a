package balance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
)

// What a hook was told is kept for a while, and never gets older.
func TestHookTold(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		s := New(b.rdb, 1)
		require.NoError(t, s.SetHookTold(t.Context(), 0, "acme:x", 7, "suspended", "{}"))
		require.NoError(t, s.SetHookTold(t.Context(), 0, "acme:x", 6, "active", "{}"))
		v, err := b.rdb.HGetAll(t.Context(), keyHook(0, "acme:x")).Result()
		require.NoError(t, err)
		require.Equal(t, map[string]string{"epoch": "7", "told": "suspended", "row": "{}"}, v)
		require.NoError(t, s.SetHookTold(t.Context(), 0, "acme:x", 8, "active", ""))
		v, err = b.rdb.HGetAll(t.Context(), keyHook(0, "acme:x")).Result()
		require.NoError(t, err)
		require.Equal(t, map[string]string{"epoch": "8", "told": "active", "row": ""}, v)
	})
}

// Nothing that is kept for each alert, hook, address or task is kept for ever.
func TestWhatIsKeptOfHooksExpires(t *testing.T) {
	t.Parallel()
	rdb, ctx := testengine.StartRedis(t).Redis(t), t.Context()
	s := New(rdb, 1)
	require.NoError(t, s.SetHookTold(ctx, 0, "told", 1, "", "{}"))
	require.NoError(t, s.HookWritten(ctx, 0, "told"))
	require.NoError(t, s.HookFailed(ctx, 0, "failed", "{}"))
	n, err := s.Panicked(ctx, "task")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	told, err := s.HookTold(ctx, 0, "failed")
	require.NoError(t, err)
	require.Equal(t, Told{Tries: 1, Row: "{}"}, told)
	keys, err := rdb.Keys(ctx, "*").Result()
	require.NoError(t, err)
	require.Len(t, keys, 3)
	for _, k := range keys {
		left, err := rdb.TTL(ctx, k).Result()
		require.NoError(t, err)
		require.Positive(t, left, k)
	}
	require.NoError(t, rdb.Expire(ctx, keyHook(0, "told"), time.Hour).Err())
	told, err = s.HookTold(ctx, 0, "told")
	require.NoError(t, err)
	require.Equal(t, Told{Epoch: 1}, told)
	left, err := rdb.TTL(ctx, keyHook(0, "told")).Result()
	require.NoError(t, err)
	require.Greater(t, left, time.Hour, "as long as it is asked for")
}
