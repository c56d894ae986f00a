package balance

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering/balance/balancetest"
)

// backend is a Redis that a test runs on: a real one, or the one of memory that
// the simulation of the protocol uses.
type backend struct {
	rdb     *redis.Client
	restart func(t *testing.T)
}

// onBoth runs a test on each.
func onBoth(t *testing.T, f func(t *testing.T, b backend)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		testengine.Bound(t, 5*time.Minute) // some make hundreds of random checks
		e := testengine.StartRedis(t)
		f(t, backend{e.Redis(t), func(t *testing.T) { t.Helper(); e.RestartRedis(t) }})
	})
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		r := balancetest.New(time.Now)
		f(t, backend{r.Client(), func(t *testing.T) { t.Helper(); r.Restart() }})
	})
}

// mirror gives every command that a real Redis has answered to one of memory.
type mirror struct {
	redis.Hook

	mu     sync.Mutex
	memory *balancetest.Redis
	client *redis.Client
	errs   []error
}

func newMirror(rdb *redis.Client) *mirror {
	m := &mirror{memory: balancetest.New(time.Now)}
	m.client = m.memory.Client()
	rdb.AddHook(m)
	return m
}

func (m *mirror) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *mirror) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next // only handshakes are pipelined here
}

func (m *mirror) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		m.mu.Lock()
		defer m.mu.Unlock()
		switch strings.ToLower(cmd.Name()) {
		case "keys", "type", "smembers", "time", "info":
		case "evalsha":
			args := append([]any{}, cmd.Args()...)
			if v := m.client.Do(ctx, args...); v.Err() != nil && err == nil {
				m.errs = append(m.errs, v.Err())
			}
		default:
			_ = m.client.Do(ctx, cmd.Args()...)
		}
		return err
	}
}

// dump is a real Redis's content, in the form of balancetest's.
func dump(t *testing.T, r tb, rdb *redis.Client) map[string]any {
	t.Helper()
	ctx := t.Context()
	out := map[string]any{}
	keys, err := rdb.Keys(ctx, "*").Result()
	require.NoError(r, err)
	for _, k := range keys {
		kind, err := rdb.Type(ctx, k).Result()
		require.NoError(r, err)
		switch kind {
		case "hash":
			out[k], err = rdb.HGetAll(ctx, k).Result()
		case "set":
			out[k], err = rdb.SMembers(ctx, k).Result()
		case "string":
			out[k], err = rdb.Get(ctx, k).Result()
		case "zset":
			var z []redis.Z
			z, err = rdb.ZRangeByScoreWithScores(ctx, k, &redis.ZRangeBy{Min: "-inf", Max: "+inf"}).Result()
			out[k] = z
		case "stream":
			var list []redis.XMessage
			list, err = rdb.XRangeN(ctx, k, "-", "+", 100_000).Result()
			facts := []map[string]string{}
			for _, m := range list {
				f := map[string]string{}
				for name, v := range m.Values {
					f[name] = str(v)
				}
				facts = append(facts, f)
			}
			out[k] = facts
		default:
			require.Fail(r, "a key of another type", "%s: %s", k, kind)
		}
		require.NoError(r, err)
	}
	return out
}
