package balance

import (
	"testing"

	"github.com/stretchr/testify/require"
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
