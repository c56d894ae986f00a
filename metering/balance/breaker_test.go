package balance

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
)

// flapping are accounts of one parent that a test takes over their limit and back.
type flapping struct {
	*partition

	t    *testing.T
	corr int64
}

func (f *flapping) spend(id string, amount metering.Micros) {
	f.t.Helper()
	months := f.months(5)
	require.NoError(f.t, f.Heal(f.t.Context(), 0, 1, f.corr, months, []Drift{{Account: id, Field: "u:" + months[1].Name, Delta: amount}}))
	f.corr++
}

// flap takes an account to its limit, and back so many times.
func (f *flapping) flap(id string, times int) {
	f.t.Helper()
	for range times {
		f.spend(id, 10)
		f.spend(id, -10)
	}
	f.spend(id, 10)
}

// is what takes effect of the account's flags, and what is held back.
func (f *flapping) is(id string, effect, back metering.Flags) {
	f.t.Helper()
	st, err := f.State(f.t.Context(), id)
	require.NoError(f.t, err)
	assert.Equal(f.t, []metering.Flags{effect, back}, []metering.Flags{st.Own, st.OwnHeldBack}, id)
}

func (f *flapping) open() bool {
	f.t.Helper()
	at, err := f.BreakerOpenSince(f.t.Context(), 0)
	require.NoError(f.t, err)
	return !at.IsZero()
}

// TestTheBreakerCountsAccounts: one whose limit is reached again and again within a
// minute counts once. Who was suspended when the breaker opened is so again when its
// limit is reached again; what is kept for that is bounded, and ends.
func TestTheBreakerCountsAccounts(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		ctx := t.Context()
		require.True(t, testengine.Until(time.Minute, func() bool { // what is counted begins anew with the minute
			now, err := b.rdb.Time(ctx).Result()
			require.NoError(t, err)
			return now.Second() <= 45
		}))
		f := &flapping{partition: fresh(t, t, b.rdb), t: t}
		limit := metering.Micros(10)
		list := []live{liveOf(&metering.Account{ID: "p", Mode: metering.Postpaid, Source: metering.SourceCredit, Catalog: 1})}
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			list = append(list, liveOf(&metering.Account{ID: id, ParentID: "p", Mode: metering.Postpaid, Source: metering.SourceCredit, MonthlyLimit: &limit, Catalog: 1}))
		}
		_, err := f.run(ctx, "push", []string{keyMeta(0)}, f.months(5).append([]any{1, 0, document(t, list), 1, "p"})...)
		require.NoError(t, err)
		require.NoError(t, f.SetBreaker(ctx, 0, f.meta, 2))

		f.flap("a", 4)
		f.is("a", metering.FlagMonthly, 0)
		f.flap("b", 1)
		f.is("b", metering.FlagMonthly, 0)
		assert.False(t, f.open(), "two accounts of two")
		f.flap("c", 1)
		f.is("c", 0, metering.FlagMonthly)
		assert.True(t, f.open())

		f.spend("a", -10)
		f.is("a", 0, 0)
		f.flap("a", 2)
		f.is("a", metering.FlagMonthly, 0)
		f.flap("d", 3)
		f.is("d", 0, metering.FlagMonthly)
		if strings.HasSuffix(t.Name(), "/redis") {
			now, err := b.rdb.Time(ctx).Result()
			require.NoError(t, err)
			key := tag(0) + ":brk:" + str(now.Unix()/int64(time.Minute/time.Second))
			counted, err := b.rdb.SMembers(ctx, key).Result()
			require.NoError(t, err)
			assert.ElementsMatch(t, []string{"a", "b"}, counted)
			left, err := b.rdb.TTL(ctx, key).Result()
			require.NoError(t, err)
			assert.Positive(t, left)
			assert.LessOrEqual(t, left, 2*time.Minute)
		}

		require.NoError(t, f.ReleaseHeld(ctx, 0, f.meta, f.months(5), []string{"c", "d"}))
		require.NoError(t, f.CloseBreaker(ctx, 0, f.meta))
		f.is("c", metering.FlagMonthly, 0)
		f.is("d", metering.FlagMonthly, 0)
		left, err := b.rdb.Exists(ctx, keyLifted(0)).Result()
		require.NoError(t, err)
		assert.Zero(t, left, "kept only while it is open")
		f.spend("c", -10)
		f.flap("c", 2)
		f.flap("e", 2)
		f.is("e", metering.FlagMonthly, 0)
		assert.False(t, f.open(), "it counts from nothing")
	})
}
