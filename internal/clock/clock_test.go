package clock_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
)

func TestFakeStandsStillUntilMoved(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	fake := clock.NewFake(start)
	require.Equal(t, start, fake.Now())
	require.Equal(t, start.Add(time.Hour), fake.Advance(time.Hour))
	require.Equal(t, start.Add(time.Hour), fake.Now())
	fake.Set(start)
	require.Equal(t, start, fake.Now())
}

func TestFakeIsSafeForSeveralGoroutines(t *testing.T) {
	t.Parallel()
	start := time.Unix(0, 0)
	fake := clock.NewFake(start)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { fake.Advance(time.Second) })
	}
	group.Wait()
	require.Equal(t, start.Add(8*time.Second), fake.Now())
}

func TestSystemShowsTheMachinesTime(t *testing.T) {
	t.Parallel()
	before := time.Now()
	now := clock.System().Now()
	require.False(t, now.Before(before))
	require.WithinDuration(t, before, now, time.Minute)
}
