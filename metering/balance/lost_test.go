package balance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestALostAccountEndsTheProjection once somebody would push it: until then each script
// that needs it, or whose account's parent it is, changes nothing.
func TestALostAccountEndsTheProjection(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		ctx := t.Context()
		for _, lost := range []string{"post", "post-sub"} {
			m := newModel(t, fresh(t, t, b.rdb))
			m.push(t, m.order, true)
			require.NoError(t, m.rdb.Del(ctx, keyAccount(0, lost)).Err())
			before, err := m.rdb.HGetAll(ctx, keyAccount(0, "post-sub")).Result()
			require.NoError(t, err)
			absent, err := m.Absent(ctx, 0, m.order)
			require.NoError(t, err)
			require.Equal(t, []string{lost}, absent)

			var missing *MissingError
			items := m.placed([]Item{m.item("a", "post-sub", 5, false)})
			_, err = m.Charge(ctx, 0, m.catalog, m.newCall("one", items))
			require.ErrorAs(t, err, &missing)
			require.Contains(t, missing.Accounts, lost)
			_, err = m.SetManual(ctx, 0, m.meta, &ManualChange{Account: "post-sub", Flag: metering.FlagManualOperator, Set: true, Months: m.months(m.month)})
			require.ErrorAs(t, err, &missing)
			require.ErrorIs(t, m.Heal(ctx, 0, m.meta.Epoch, 0, m.months(m.month), []Drift{{Account: "post-sub", Field: "bal", Delta: 1}}), ErrMoved)
			_, err = m.Roll(ctx, 0, m.meta, m.months(m.month), []string{"post-sub"})
			require.NoError(t, err)
			after, err := m.rdb.HGetAll(ctx, keyAccount(0, "post-sub")).Result()
			require.NoError(t, err)
			require.Equal(t, before, after)

			sub := *m.doc(m.account["post-sub"])
			sub.First, sub.Catalog = sub.Catalog, sub.Catalog+1 // a version of its own that came later
			sub.Calendar, err = metering.NewCalendar([]metering.ZoneFrom{{Zone: "UTC"}})
			require.NoError(t, err)
			now, err := m.rdb.Time(ctx).Result()
			require.NoError(t, err)
			err = m.Push(ctx, 0, m.meta, 0, []*metering.Account{&sub}, now)
			require.ErrorIs(t, err, ErrLost)
			require.True(t, Over(err))
			meta, err := m.Meta(ctx, 0)
			require.NoError(t, err)
			require.Equal(t, lost, meta.Lost)
			_, err = m.Charge(ctx, 0, m.catalog, m.newCall("two", m.ofPost("b", 5)))
			require.ErrorIs(t, err, ErrLost)
			id, err := m.Replid(ctx, 0)
			require.NoError(t, err)
			require.ErrorIs(t, m.Adopt(ctx, 0, m.meta, id), ErrMoved, "no restart makes it good")
		}
	})
}
