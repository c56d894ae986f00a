package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
)

// spread is a rig over a real Redis, whose number of partitions changes.
type spread struct {
	*rig

	rdb *redis.Client
}

const spreadParents = 12

func newSpread(t *testing.T, partitions int) *spread {
	t.Helper()
	s := &spread{rdb: testengine.StartRedis(t).Redis(t), rig: &rig{
		tb: t, ledger: ledger.NewWithServer(ledgertest.New()), now: clock.NewFake(start), log: slog.New(slog.DiscardHandler),
	}}
	s.apply(spreadParents)
	s.topups(spreadParents, "a")
	s.of(partitions)
	require.NoError(t, s.projector().RebuildAll(t.Context(), "test"))
	return s
}

// of so many partitions is whoever asks from now on.
func (s *spread) of(partitions int) { s.store = balance.New(s.rdb, partitions) }

func (s *spread) projector() *Projector {
	return New(s.store, s.ledger, s.now, s.log, Options{Buckets: 4, Durable: true})
}

// refused wants that whoever works with a number can do nothing.
func (s *spread) refused(made, asked int) {
	s.tb.Helper()
	s.of(asked)
	before := s.keys()
	want := &balance.PartitionsError{Made: made, Asked: asked}
	require.Equal(s.tb, want, s.store.Fits(s.tb.Context()))
	for p := range asked {
		_, err := s.projector().Ensure(s.tb.Context(), p)
		require.Equal(s.tb, want, err, "partition %d", p)
	}
	for i := range spreadParents {
		_, err := s.store.State(s.tb.Context(), fmt.Sprint("p", i, "-sub"))
		require.Equal(s.tb, want, err)
	}
	_, err := s.store.Read(s.tb.Context(), 0, []string{"p0"})
	require.Equal(s.tb, want, err)
	require.Equal(s.tb, before, s.keys())
}

// right wants that all is where a number of partitions looks for it.
func (s *spread) right(partitions int) {
	s.tb.Helper()
	s.of(partitions)
	for p := range partitions {
		_, err := s.projector().Ensure(s.tb.Context(), p)
		require.NoError(s.tb, err)
	}
	for i := range spreadParents {
		st, err := s.store.State(s.tb.Context(), fmt.Sprint("p", i))
		require.NoError(s.tb, err)
		require.EqualValues(s.tb, i+1, st.Balance)
	}
	require.Equal(s.tb, Result{Checked: 2 * spreadParents}, s.reconcile())
}

// landing is in how many of the partitions rows of before may land.
func (s *spread) landing(partitions int) (n int) {
	s.tb.Helper()
	for p := range partitions {
		meta, err := s.store.Meta(s.tb.Context(), p)
		require.NoError(s.tb, err)
		may, err := s.store.Landing(s.tb.Context(), p, meta)
		require.NoError(s.tb, err)
		if may {
			n++
		}
	}
	return n
}

func (s *spread) keys() []string {
	s.tb.Helper()
	keys, err := s.rdb.Keys(s.tb.Context(), "*").Result()
	require.NoError(s.tb, err)
	slices.Sort(keys)
	return keys
}

// Whoever works with another number of partitions than the projection was made
// for is refused, until a rebuild takes it up; then the others are, and nothing
// is left of partitions that are no more.
func TestAnotherNumberOfPartitionsNeedsARebuild(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 3)
	for _, key := range []string{"{p02}:t:task", "{p02}:hook:x", "{p11}:d:1:1", "{p12}:meta"} { // of a larger number, too
		require.NoError(t, s.rdb.HSet(t.Context(), key, "field", 1).Err())
	}
	others := []string{"asynq:{q}:pending", "{p00}:run:x", "{p01}:hook:x", "{p1}:x", "{p}:x", "{pa}:x", "{p-1}:x", "p02:x"}
	for _, key := range others {
		require.NoError(t, s.rdb.Set(t.Context(), key, 1, 0).Err())
	}
	s.right(3)
	require.Equal(t, 0, s.landing(3), "there was nothing before")
	made := 3
	for _, next := range []int{2, 1, 3} {
		s.refused(made, next)
		for range 2 { // it may run again
			require.NoError(t, s.projector().RebuildAll(t.Context(), "test"))
			s.right(next)
			require.Equal(t, next, s.landing(next), "any of the others may have charged for its parents")
			for _, key := range s.keys() {
				for p := next; p < 20; p++ {
					require.NotContains(t, key, fmt.Sprintf("{p%02d}", p))
				}
			}
			s.of(next)
		}
		s.refused(next, made)
		made = next
	}
	require.Subset(t, s.keys(), []string{"asynq:{q}:pending", "{p00}:run:x", "{p1}:x", "{p}:x", "{pa}:x", "{p-1}:x", "p02:x"})
}

// A rebuild that is cut off after its install has judged no state: whoever uses the
// projection next does.
func TestAProjectionWhoseStatesWereNotJudged(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 1)
	s.apply(spreadParents + 1) // the last has nothing
	require.NoError(t, s.projector().RebuildAll(t.Context(), "test"))
	last := fmt.Sprint("p", spreadParents)
	suspended := func() bool {
		st, err := s.store.State(t.Context(), last)
		require.NoError(t, err)
		return st.Own != 0
	}
	require.True(t, suspended())
	_, err := s.projector().Ensure(t.Context(), 0)
	require.NoError(t, err)
	require.NoError(t, s.rdb.HSet(t.Context(), "{p00}:a:"+last, "f", 0).Err())
	_, err = s.projector().Ensure(t.Context(), 0)
	require.NoError(t, err)
	require.False(t, suspended(), "all had been judged")
	require.NoError(t, s.rdb.HSet(t.Context(), "{p00}:meta", "pushed", 1).Err()) // another epoch
	_, err = s.projector().Ensure(t.Context(), 0)
	require.NoError(t, err)
	require.True(t, suspended())
	meta, err := s.store.Meta(t.Context(), 0)
	require.NoError(t, err)
	require.True(t, meta.Pushed)
}

// One that was made before the number was kept is of the number in use.
func TestAProjectionThatDoesNotSayItsNumberTakesIt(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 3)
	for p := range 3 {
		require.NoError(t, s.rdb.HDel(t.Context(), fmt.Sprintf("{p%02d}:meta", p), "parts").Err())
	}
	before, err := s.store.Meta(t.Context(), 1)
	require.NoError(t, err)
	s.right(3)
	after, err := s.store.Meta(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, before.Epoch, after.Epoch, "it isn't made anew")
	s.refused(3, 2)
	s.refused(3, 4)
}

// Whoever works with another ledger than the projection was made from is refused,
// until a rebuild takes that one up; then the others are.
func TestAnotherLedgersProjectionNeedsARebuild(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 3)
	epoch := func(p int) int64 {
		t.Helper()
		s.of(3)
		meta, err := s.store.Meta(t.Context(), p)
		require.NoError(t, err)
		return meta.Epoch
	}
	first := epoch(1)
	right := func(ledger string) {
		t.Helper()
		s.of(3)
		s.store.OfLedger(ledger)
		for p := range 3 {
			_, err := s.projector().Ensure(t.Context(), p)
			require.NoError(t, err)
		}
	}
	refused := func(made, asked string) {
		t.Helper()
		epochs := []int64{epoch(0), epoch(1), epoch(2), epoch(0)} // partition 0 speaks for one that isn't there
		for _, partitions := range []int{3, 4} {                  // nor is the number taken up
			s.of(partitions)
			s.store.OfLedger(asked)
			before := s.keys()
			require.Equal(t, &balance.LedgerError{Made: made, Asked: asked, Epoch: epochs[0]}, s.store.Fits(t.Context()))
			for p := range partitions {
				_, err := s.projector().Ensure(t.Context(), p)
				require.Equal(t, &balance.LedgerError{Made: made, Asked: asked, Epoch: epochs[p]}, err)
			}
			require.Equal(t, before, s.keys())
		}
	}
	right("meterd/1") // one that was made before the ledger was kept is of the ledger in use
	require.Equal(t, first, epoch(1), "it isn't made anew")
	refused("meterd/1", "typo/2")
	refused("meterd/1", "meterd/2")
	right("") // who knows of no ledger only reads
	right("meterd/1")

	made := s.ledger
	for _, l := range []struct {
		name   string
		ledger *ledger.Ledger
	}{{"typo/2", ledger.NewWithServer(ledgertest.New())}, {"meterd/1", made}} {
		before := epoch(1)
		s.of(3)
		s.store.OfLedger(l.name)
		s.ledger = l.ledger
		require.NoError(t, s.projector().RebuildAll(t.Context(), "it has moved"))
		right(l.name)
		require.Greater(t, epoch(1), before, "who works with the one before is fenced")
		for _, other := range []string{"typo/2", "meterd/1"} {
			if other != l.name {
				refused(l.name, other)
			}
		}
	}
	s.right(3)
}

// asked counts how often a client asks for the lease of a rebuild.
type asked struct{ leases atomic.Int64 }

// DialHook implements redis.Hook.
func (a *asked) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (a *asked) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements redis.Hook.
func (a *asked) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if slices.Contains(cmd.Args(), any("{p00}:lease:"+balance.RebuildLease)) {
			a.leases.Add(1)
		}
		return next(ctx, cmd)
	}
}

// Who waits for a rebuild that turns out to be another ledger's, or of another number
// of partitions, leaves it as it is.
func TestWhatAnotherRebuiltStands(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 2)
	for _, c := range []struct {
		ledger     string
		partitions int
	}{{"typo/2", 2}, {"meterd/1", 3}} {
		s.of(2)
		s.store.OfLedger("meterd/1")
		require.NoError(t, s.projector().RebuildAll(t.Context(), "test"))
		meta, err := s.rdb.HGetAll(t.Context(), "{p00}:meta").Result()
		require.NoError(t, err)
		ok, err := s.store.Lease(t.Context(), 0, balance.RebuildLease, "its", leaseTime)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, s.rdb.Del(t.Context(), "{p00}:meta").Err()) // it has begun
		asking := redis.NewClient(s.rdb.Options())
		t.Cleanup(func() { _ = asking.Close() })
		asked := &asked{}
		asking.AddHook(asked)
		s.store = balance.New(asking, c.partitions)
		s.store.OfLedger(c.ledger)
		done := make(chan error, 1)
		go func() { // the test waits for its answer
			_, err := s.projector().Ensure(t.Context(), 0)
			done <- err
		}()
		require.Eventually(t, func() bool { return asked.leases.Load() >= 2 }, time.Minute, time.Millisecond, "it waits for the other")
		require.NoError(t, s.rdb.HSet(t.Context(), "{p00}:meta", meta).Err())
		require.NoError(t, s.rdb.Del(t.Context(), "{p00}:lease:"+balance.RebuildLease).Err())
		require.Error(t, <-done)
		after, err := s.rdb.HGetAll(t.Context(), "{p00}:meta").Result()
		require.NoError(t, err)
		require.Equal(t, meta, after)
	}
}
