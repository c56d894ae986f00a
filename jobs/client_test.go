package jobs

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// TestLinger: only where some company can be expected is it waited for, and
// longer where that makes tasks that cost less.
func TestLinger(t *testing.T) {
	t.Parallel()
	const linger, ms = 10 * time.Millisecond, time.Millisecond
	for _, c := range []struct {
		what   string
		packed int
		since  time.Duration
		want   time.Duration
	}{
		{"the first", 0, time.Duration(1<<63 - 1), ms},
		{"one after long", 1, time.Hour, ms},
		{"50 a second", 1, 20 * ms, ms},
		{"a burst long ago", 8000, time.Hour, ms},
		{"1,000 a second, one at a time", 1, ms, linger},
		{"1,000 a second, in tens", 10, 11 * ms, linger},
		{"10,000 a second", 100, 10 * ms, linger},
		{"20,000 a second", 200, 10 * ms, 20 * ms},
		{"20,000 a second, of those", 400, 20 * ms, 20 * ms},
		{"as fast as can be", 8000, 30 * ms, 40 * ms},
		{"at once", 8000, 0, 40 * ms},
	} {
		require.Equal(t, c.want, lingerOf(linger, c.packed, c.since), c.what)
	}
	require.Equal(t, 100*time.Microsecond, lingerOf(100*time.Microsecond, 0, time.Hour), "a shorter one stays")
	require.Equal(t, 50*ms, lingerOf(50*ms, 8000, 50*ms), "a longer one too")
}

// TestCloseEndsThoughNothingGetsThere: the places of those on their way are
// never free.
func TestCloseEndsThoughNothingGetsThere(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = rdb.Close() })
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient(rdb, ClientOptions{InFlight: 2})
		require.NoError(t, err)
		c.slots <- struct{}{}
		c.slots <- struct{}{}
		require.NoError(t, c.Add(t.Context(), []byte("{}")))
		began := time.Now()
		require.ErrorContains(t, c.Close(), "send 1 usage records: 2 tasks were on their way to Redis for 1m0s")
		require.Equal(t, slotMax, time.Since(began))
		require.Zero(t, c.Sent())
	})
}
