package balance

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
)

func TestMain(m *testing.M) { testengine.Main(m) }

// tb is what both a test and a random check offer.
type tb interface {
	require.TestingT
	Helper()
}

// partition is a fresh projection on a Redis of the test's own.
type partition struct {
	*Store

	rdb   *redis.Client
	meta  *Meta
	start time.Time // by Redis's clock
}

// fresh empties Redis and installs a projection, epoch 1.
func fresh(t *testing.T, r tb, rdb *redis.Client) *partition {
	t.Helper()
	return freshWith(t.Context(), r, rdb, 4)
}

// freshWith has so many dedup buckets.
func freshWith(ctx context.Context, r tb, rdb *redis.Client, buckets int) *partition {
	r.Helper()
	require.NoError(r, rdb.FlushAll(ctx).Err())
	now, err := rdb.Time(ctx).Result()
	require.NoError(r, err)
	s := New(rdb, 1)
	s.OfLedger("meterd/1")
	ok, err := s.Lease(ctx, 0, RebuildLease, "token", time.Minute)
	require.NoError(r, err)
	require.True(r, ok)
	require.NoError(r, s.Rebuilding(0, "token").Install(ctx, NewProjection{
		Epoch: 1, Window: steadyWindow(now), Buckets: buckets, Key: hex.EncodeToString(make([]byte, 16)),
	}))
	meta, err := s.Meta(ctx, 0)
	require.NoError(r, err)
	return &partition{Store: s, rdb: rdb, meta: meta, start: now}
}

// steadyWindow is a dedup window whose generation doesn't turn while a test
// runs: two engines that are compared would see it turn one after the other.
func steadyWindow(now time.Time) time.Duration {
	for w := 24 * time.Hour; ; w += time.Hour {
		turns := (&Meta{Window: w}).generation()
		if turns-now.Unix()%turns > 3600 {
			return w
		}
	}
}

// monthName of the made-up months that a test walks through.
func monthName(i int) string { return fmt.Sprintf("20%02d-%02d", 30+i/12, 1+i%12) }

// months around the i-th, which Redis's clock is made to be in.
func (p *partition) months(i int) Months {
	edge := func(n int) time.Time { return p.start.Add(time.Duration(2*n-1) * time.Hour) }
	var m Months
	for k := range m {
		m[k] = metering.Period{Name: monthName(i + k - 1), Start: edge(k - 1), End: edge(k)}
	}
	return m
}

// item of a call; a cold one occurred before the window.
func (p *partition) item(id, account string, amount metering.Micros, cold bool) Item {
	at := p.start
	if cold {
		at = at.Add(-2 * p.meta.Window)
	}
	return Item{
		Identity: metering.Identity{AccountID: account, Kind: metering.KindUsage, ID: id}, Account: account,
		Amount: amount, OccurredAt: at.UnixMilli(),
	}
}

// The instant of a run that failed: 25 hours' generations turn on it.
func TestSteadyWindow(t *testing.T) {
	t.Parallel()
	turn := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	require.Zero(t, turn.Unix()%(25*3600))
	for _, at := range []time.Duration{-time.Hour, -time.Millisecond, 0, time.Hour} {
		w := steadyWindow(turn.Add(at))
		turns := (&Meta{Window: w}).generation()
		require.Equal(t, turn.Add(at).Unix()/turns, turn.Add(at+time.Hour-time.Second).Unix()/turns, "%s after it: %s", at, w)
	}
}
