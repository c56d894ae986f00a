package main_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/meterd/meterd/internal/embedded"
)

// kill ends redis-server at once and waits until it is gone.
func (r *rig) killRedis() {
	r.t.Helper()
	require.NoError(r.t, unix.Kill(r.redis.PID(), unix.SIGKILL))
	<-r.redis.Done()
}

// TestRedisRestarted: killed and started again on its data. A Redis that can't
// lose an answer is adopted; else the projection is made anew.
func TestRedisRestarted(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		name    string
		durable bool
	}{
		{"Redis killed and restarted, its projection adopted", true},
		{"Redis killed and restarted, its projection made anew", false},
	} {
		t.Run(strconv.FormatBool(c.durable), func(t *testing.T) {
			t.Parallel()
			r := begun(t, 20+i, c.name)
			a := r.proxied()
			a.Durable = c.durable
			r.worker(a, nil)
			sent := r.send(r.lines(pick(400, 8000)), pick(60*time.Millisecond, 30*time.Millisecond))
			for range pick(2, 10) {
				r.result.Tried++
				<-time.After(600 * time.Millisecond)
				r.killRedis()
				r.startRedis(embedded.RedisOptions{})
				r.ended()
			}
			sent.wait()
			r.settle()
			meta, err := r.sys.Store.Meta(t.Context(), 0)
			require.NoError(t, err)
			if c.durable {
				assert.EqualValues(t, 1, meta.Epoch, "no new epoch")
			} else {
				assert.Greater(t, meta.Epoch, int64(1))
			}
		})
	}
}

// TestRedisAway: connections to Redis are refused, then cut at random.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	r := begun(t, 22, "Redis out of reach for "+pick("4 s", "1 min"))
	r.worker(r.proxied(), nil)
	sent := r.send(r.lines(pick(400, 6000)), pick(60*time.Millisecond, 30*time.Millisecond))
	for range pick(1, 2) {
		r.result.Tried++
		<-time.After(300 * time.Millisecond)
		r.front.cut()
		<-time.After(pick(4*time.Second, time.Minute))
		r.front.mend()
		r.ended()
	}
	sent.wait()
	r.settle()
}

// TestRedisEmptied: everything in Redis is gone while records come in. Who sent
// them sends again what it sent since, as the runbook says.
func TestRedisEmptied(t *testing.T) {
	t.Parallel()
	r := begun(t, 23, "Redis emptied while records come in; they are sent again")
	r.heals = true
	r.worker(r.proxied(), nil)
	lines := r.lines(pick(400, 3000))
	sent := r.send(lines, pick(60*time.Millisecond, 30*time.Millisecond))
	for range pick(2, 6) {
		r.result.Tried++
		<-time.After(400 * time.Millisecond)
		require.NoError(t, r.sys.redis.FlushAll(t.Context()).Err())
		r.ended()
	}
	sent.wait()
	r.sendAs(r.proxied(), lines, 0).wait()
	r.settle()
}

// TestRedisCutByASecond: the machine dies, and the last second of the
// append-only file with it, which then ends in the middle of a command, mostly of one
// in a transaction. What stays of that must not happen at a later start.
func TestRedisCutByASecond(t *testing.T) {
	t.Parallel()
	r := begun(t, 24, "Redis's append-only file cut by its last second; the records are sent again")
	r.heals = true
	r.worker(r.proxied(), nil)
	lines := r.lines(pick(600, 3000))
	sent := r.send(lines, pick(60*time.Millisecond, 30*time.Millisecond))
	for range pick(2, 6) {
		<-time.After(300 * time.Millisecond)
		files, err := filepath.Glob(filepath.Join(r.redisDir, "appendonlydir", "*.incr.aof"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		old, err := os.Stat(files[0])
		require.NoError(t, err)
		<-time.After(time.Second)
		r.killRedis()
		now, err := os.Stat(files[0])
		require.NoError(t, err)
		if now.Size() > old.Size() {
			r.result.Tried++
		}
		require.NoError(t, os.Truncate(files[0], old.Size()-rand.N[int64](400)))
		r.startRedis(embedded.RedisOptions{})
		r.ended()
	}
	assert.Positive(t, r.result.Tried, "something was lost")
	sent.wait()
	r.sendAs(r.proxied(), lines, 0).wait()
	r.settle()
}

// TestRedisOutOfMemory: Redis refuses every write that needs memory.
func TestRedisOutOfMemory(t *testing.T) {
	t.Parallel()
	r := begun(t, 25, "Redis out of memory (noeviction)")
	r.worker(r.proxied(), nil)
	sent := r.send(r.lines(pick(400, 6000)), pick(60*time.Millisecond, 30*time.Millisecond))
	for range pick(2, 10) {
		r.result.Tried++
		<-time.After(300 * time.Millisecond)
		require.NoError(t, r.sys.redis.ConfigSet(t.Context(), "maxmemory", "1mb").Err())
		r.eventually("writes are refused", 10*time.Second, func() (bool, string) {
			err := r.sys.redis.Set(t.Context(), "probe", 1, 0).Err()
			return err != nil, "a write was taken"
		})
		<-time.After(pick(time.Second, 10*time.Second))
		require.NoError(t, r.sys.redis.ConfigSet(t.Context(), "maxmemory", "0").Err())
		r.ended()
	}
	sent.wait()
	require.NoError(t, r.sys.redis.Del(t.Context(), "probe").Err())
	r.settle()
}

// TestRedisDiskFull: redis-server may write no further byte, so it ends; with
// room again it starts on what it has.
func TestRedisDiskFull(t *testing.T) {
	t.Parallel()
	r := begun(t, 26, "Redis's disk full")
	a := r.proxied()
	a.Durable = true
	r.worker(a, nil)
	sent := r.send(r.lines(pick(400, 6000)), pick(60*time.Millisecond, 30*time.Millisecond))
	for range pick(2, 6) {
		<-time.After(300 * time.Millisecond)
		files, err := filepath.Glob(filepath.Join(r.redisDir, "appendonlydir", "*.incr.aof"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		size, err := os.Stat(files[0])
		require.NoError(t, err)
		r.result.Tried++
		// A little more, so that the last write is cut in its middle.
		limit := unix.Rlimit{Cur: uint64(size.Size()) + 5_000, Max: unix.RLIM_INFINITY}
		require.NoError(t, unix.Prlimit(r.redis.PID(), unix.RLIMIT_FSIZE, &limit, nil), "the size of redis-server's files can't be limited here")
		select {
		case <-r.redis.Done():
		case <-time.After(20 * time.Second):
			t.Fatal("redis-server goes on without room")
		}
		<-time.After(pick(500*time.Millisecond, 5*time.Second))
		r.startRedis(embedded.RedisOptions{})
		r.ended()
	}
	sent.wait()
	r.settle()
}
