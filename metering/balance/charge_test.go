package balance

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestChargeRefusesOverflow: sums beyond 64 bits are refused before anything
// changes, whether within a group, over the groups of a parent, or in Go. What leaves
// the range by itself keeps nothing else out.
func TestChargeRefusesOverflow(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		m.push(t, m.order, false)
		try := func(name string, items []Item, groups ...int) {
			t.Helper()
			_, err := m.Charge(t.Context(), 0, m.catalog, m.newCall(name, m.placed(items)))
			var over *OverflowError
			require.ErrorAs(t, err, &over, name)
			assert.Equal(t, groups, over.Groups, name)
			m.agree(t)
		}
		large := func(account string, n int) []Item { return m.many(account, account, n, metering.MicrosMax) }
		try("two groups of one parent", append(large("post-sub", 5), large("post", 5)...), 1)
		try("a sum beyond 64 bits", large("post", 25), 1, 2)
		small := m.item("small", "post-sub", 1, false)
		small.PurseAccount = "post" // a group of its own
		try("what comes after it", append(append(large("post-sub", 5), large("post", 5)...), small), 1)
	})
}

// TestChargeTowardsTheOtherEnd: where a sum is near an end of its range, what takes it
// away from there is charged, and what was charged is known as a duplicate.
func TestChargeTowardsTheOtherEnd(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		m.push(t, m.order, false)
		charge := func(name, outcome string, items []Item) {
			t.Helper()
			for i := range items {
				items[i].PurseAccount = "pre"
			}
			reply, err := m.Charge(t.Context(), 0, m.catalog, m.newCall(name, m.placed(items)))
			require.NoError(t, err, name)
			assert.Equal(t, outcome, reply.Outcome, name)
		}
		holds := func(used int64) {
			t.Helper()
			got, err := m.Read(t.Context(), 0, []string{"pre"})
			require.NoError(t, err)
			assert.Equal(t, used, int64(got.States["pre"].Used[m.now()]))
			assert.Equal(t, -used, int64(got.States["pre"].Balance))
		}
		const n, most = 9, metering.MicrosMax // so many, and no more, are within the range
		nine, all := strings.Repeat("n", n), n*int64(most)
		charge("nine", nine, m.many("a", "pre", n, most))
		charge("the same again", strings.Repeat("d", n), m.many("a", "pre", n, most))
		charge("the same, and one that is new", strings.Repeat("d", n)+"n", append(m.many("a", "pre", n, most), m.item("new", "pre", -1, false)))
		holds(all - 1)
		charge("all back", nine, m.many("b", "pre", n, -most))
		holds(-1)
		charge("below", nine, m.many("c", "pre", n, -most))
		holds(-all - 1)
		charge("above", nine+nine, m.many("d", "pre", 2*n, most))
		holds(all - 1)
		charge("two ways", "nn", append(m.many("e", "pre", 1, -most), m.many("f", "pre-all", 1, 5)...))
		holds(all - int64(most) + 4)
		_, err := m.Charge(t.Context(), 0, m.catalog, m.newCall("three ways", m.placed(slices.Concat(
			m.many("b", "pre", n, -most), m.many("g", "pre", 1, -most), m.many("h", "pre", 2, most),
		))))
		var over *OverflowError
		require.ErrorAs(t, err, &over)
		assert.Equal(t, []int{2}, over.Groups, "only what goes the wrong way")
		holds(all - int64(most) + 4)
	})
}

// many are records of an account, in this month.
func (m *model) many(prefix, account string, n int, amount metering.Micros) []Item {
	items := make([]Item, n)
	for i := range items {
		items[i] = m.item(prefix+strconv.Itoa(i), account, amount, false)
	}
	return items
}

// placed sets what a task and its parent say of its records.
func (m *model) placed(items []Item) []Item {
	for i := range items {
		items[i].Line, items[i].Parent, items[i].Period = i, m.parentOf(m.account[items[i].Account]).id, m.now()
	}
	return items
}

// TestRestartedRedisIsRefused until it is adopted, and by nobody who names
// another epoch.
func TestRestartedRedisIsRefused(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		m.push(t, m.order, false)
		items := m.ofPost("a", 5)
		first, err := m.Charge(t.Context(), 0, 1, m.newCall("one", items))
		require.NoError(t, err)
		require.Equal(t, "n", first.Outcome)

		b.restart(t)
		_, err = m.Charge(t.Context(), 0, 1, m.newCall("two", items))
		require.ErrorIs(t, err, ErrReplid)
		_, err = m.Read(t.Context(), 0, m.order)
		require.ErrorIs(t, err, ErrReplid)
		id, err := m.Replid(t.Context(), 0)
		require.NoError(t, err)
		stranger := *m.meta
		stranger.Epoch++
		require.ErrorIs(t, m.Adopt(t.Context(), 0, &stranger, id), ErrMoved)
		require.ErrorIs(t, m.Adopt(t.Context(), 0, m.meta, "0123"), ErrMoved)
		require.NoError(t, m.Adopt(t.Context(), 0, m.meta, id))

		again, err := m.Charge(t.Context(), 0, 1, m.newCall("one", items))
		require.NoError(t, err)
		assert.Equal(t, AnswerOpen, again.State, "the answer outlives the restart")
		other, err := m.Charge(t.Context(), 0, 1, m.newCall("two", items))
		require.NoError(t, err)
		assert.Equal(t, "d", other.Outcome, "so does the dedup set")
	})
}

// TestAMessageThatWasChangedIsReadAnew: of two who read what a message stood at,
// one changes it; the other is refused until it has read again.
func TestAMessageThatWasChangedIsReadAnew(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		m.push(t, m.order, false)
		change := func(id, message string, stoodAt int64) (*Answer, error) {
			call := m.newCall(id, m.ofPost(id, -5))
			call.Items[0].Changes, call.StoodAt = message, stoodAt
			return m.Charge(t.Context(), 0, 1, call)
		}
		first, err := change("one", "m", 0)
		require.NoError(t, err)
		_, err = change("two", "m", first.Seq-1)
		require.ErrorIs(t, err, ErrChanged)
		keys, _, err := m.rdb.Scan(t.Context(), 0, tag(0)+":ch:*", 1000).Result()
		require.NoError(t, err)
		require.Len(t, keys, 1)
		parts := strings.Split(keys[0], ":")
		hour, err := strconv.ParseInt(parts[len(parts)-1], 10, 64)
		require.NoError(t, err)
		parts[len(parts)-1] = strconv.FormatInt(hour+1, 10)
		what := m.rdb.HGetAll(t.Context(), keys[0]).Val()
		require.NoError(t, m.rdb.Unlink(t.Context(), keys[0]).Err())
		require.NoError(t, m.rdb.HSet(t.Context(), strings.Join(parts, ":"), what).Err())
		_, err = change("two", "m", first.Seq-1)
		require.ErrorIs(t, err, ErrChanged, "Redis's clock was set back over the hour's edge")
		other, err := change("three", "n", first.Seq-1)
		require.NoError(t, err, "another message")
		require.Equal(t, "n", other.Outcome)
		again, err := change("two", "m", first.Seq)
		require.NoError(t, err)
		require.Equal(t, "n", again.Outcome)
		held, err := change("one", "m", 0)
		require.NoError(t, err, "it has its answer")
		require.Equal(t, AnswerOpen, held.State)
		for _, ago := range []time.Duration{61 * time.Minute, -61 * time.Minute} {
			call := m.newCall("four", m.ofPost("four", -5))
			call.Items[0].Changes, call.StoodAt = "o", again.Seq
			call.AskedAt = time.Now().Add(-ago).UnixMilli()
			_, err = m.Charge(t.Context(), 0, 1, call)
			require.ErrorIs(t, err, ErrChanged, "by now what has changed since may be forgotten")
		}
	})
}

// TestAnAnswerThatIsAskedForIsNotGivenUp: whoever has it may send its rows from then
// on, however long ago it was made.
func TestAnAnswerThatIsAskedForIsNotGivenUp(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		m.push(t, m.order, false)
		items := m.ofPost("a", 7)
		reply, err := m.Charge(t.Context(), 0, 1, m.newCall("one", items))
		require.NoError(t, err)
		long := func() { require.NoError(t, m.rdb.HSet(t.Context(), keyTask(0, "one"), "at", 1).Err()) }
		giveUp := func() error {
			return m.GiveUp(t.Context(), 0, m.meta, OpenAnswer{Task: "one", Seq: reply.Seq}, 10*time.Minute)
		}
		long()
		_, err = m.Charge(t.Context(), 0, 1, m.newCall("one", items))
		require.NoError(t, err)
		require.ErrorIs(t, giveUp(), ErrGone)
		long()
		require.NoError(t, giveUp())
	})
}

// TestEmptyPartitionRefuses every call.
func TestEmptyPartitionRefuses(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		_, err := m.Rebuilding(0, "token").Clear(t.Context())
		require.NoError(t, err)
		_, err = m.Meta(t.Context(), 0)
		require.ErrorIs(t, err, ErrEmpty)
		items := m.ofPost("a", 1)
		_, err = m.Charge(t.Context(), 0, 1, m.newCall("one", items))
		require.ErrorIs(t, err, ErrEmpty)
	})
}

// TestNewMonthLiftsMonthlyFlags: the ceiling of a parent and the own limit of a
// sub-account end with their month; a wallet's state doesn't.
func TestNewMonthLiftsMonthlyFlags(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		m.push(t, m.order, false)
		items := []Item{m.item("a", "post-sub", 1200, false), m.item("b", "pre-all", 600, false)}
		items[0].Parent, items[1].Parent, items[1].PurseAccount, items[1].Line = "post", "pre", "pre", 1
		items[0].Period, items[1].Period = m.now(), m.now()
		_, err := m.Charge(t.Context(), 0, 1, m.newCall("one", items))
		require.NoError(t, err)
		flags := func() map[string]metering.Flags {
			got, err := m.Read(t.Context(), 0, m.order)
			require.NoError(t, err)
			out := map[string]metering.Flags{}
			for id, st := range got.States {
				out[id] = st.Own
			}
			return out
		}
		assert.Equal(t, map[string]metering.Flags{
			"pre": metering.FlagWallet, "pre-own": metering.FlagBudget, "pre-all": metering.FlagMonthly,
			"post": metering.FlagCeiling, "post-sub": metering.FlagMonthly,
		}, flags())

		// The gate doesn't honour a monthly flag once its month is over, even
		// before anyone has judged it anew.
		st, err := m.State(t.Context(), "post-sub")
		require.NoError(t, err)
		next := m.months(m.month)[1].End.UnixMilli()
		own, inherited := st.Flags(next - 1)
		assert.Equal(t, metering.FlagMonthly|metering.FlagCeiling, own|inherited)
		own, inherited = st.Flags(next)
		assert.Zero(t, own|inherited)

		m.month++
		_, err = m.Roll(t.Context(), 0, m.meta, m.months(m.month), m.order)
		require.NoError(t, err)
		assert.Equal(t, map[string]metering.Flags{
			"pre": metering.FlagWallet, "pre-own": metering.FlagBudget, "pre-all": 0, "post": 0, "post-sub": 0,
		}, flags())
	})
}

// TestOnlyPursesAreSilentFromBirth: an account that a limit suspends from birth
// is told of, and so is the end of every suspension, each under a higher epoch.
func TestOnlyPursesAreSilentFromBirth(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		none, some := metering.Micros(0), metering.Micros(500)
		m.account["post"].credit, m.account["post-sub"].limit = &none, &none
		m.push(t, m.order, false)
		told := func(id string) (flags []string) {
			facts, err := m.Facts(t.Context(), 0, 100)
			require.NoError(t, err)
			for _, f := range facts {
				if f.Fields["k"] == "state" && f.Fields["id"] == id {
					flags = append(flags, f.Fields["f"])
				}
			}
			return flags
		}
		epoch := func(id string) int64 {
			st, err := m.State(t.Context(), id)
			require.NoError(t, err)
			return st.Epoch
		}
		assert.Equal(t, []string{"4"}, told("post"))
		assert.Equal(t, []string{"8"}, told("post-sub"))
		assert.Empty(t, told("pre"), "an empty wallet")
		assert.Empty(t, told("pre-own"), "an empty budget")
		before := map[string]int64{"post": epoch("post"), "post-sub": epoch("post-sub"), "pre-own": epoch("pre-own")}

		m.account["post"].credit, m.account["post-sub"].limit = &some, &some
		m.account["pre-own"].source = metering.SourceShared
		m.catalog++
		m.push(t, m.order, true)
		assert.Equal(t, []string{"4", "0"}, told("post"))
		assert.Equal(t, []string{"8", "0"}, told("post-sub"))
		assert.Equal(t, []string{"0"}, told("pre-own"), "an empty budget that is none any more")
		assert.Empty(t, told("pre"))
		for id, was := range before {
			assert.Greater(t, epoch(id), was, id)
		}
		m.agree(t)
	})
}

// TestAlertsOnce: each share of a limit is told once for each period, and of a
// purse once for each top-up.
func TestAlertsOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		m := newModel(t, fresh(t, t, b.rdb))
		ctx := t.Context()
		m.push(t, m.order, false)
		require.NoError(t, m.rdb.HSet(ctx, keyAccount(0, "pre"), "alerts", "50,80,100").Err())
		topup := func(ref string, amount metering.Micros) {
			t.Helper()
			_, err := m.Transfer(ctx, 0, m.meta, &TransferCall{Ref: ref, Hash: 1, Amount: amount, To: "pre", ResetAlerts: true, Row: []byte("{}"), Months: m.months(m.month)})
			require.NoError(t, err)
		}
		spend := func(id string, amount metering.Micros) {
			t.Helper()
			it := m.item(id, "pre", amount, false)
			it.Parent, it.PurseAccount, it.Period = "pre", "pre", m.now()
			_, err := m.Charge(ctx, 0, 1, m.newCall(id, []Item{it}))
			require.NoError(t, err)
		}
		told := func() []string {
			facts, err := m.Facts(ctx, 0, 1000)
			require.NoError(t, err)
			var out []string
			for _, f := range facts {
				if f.Fields["k"] == "alert" {
					out = append(out, f.Fields["limit"]+" "+f.Fields["share"])
				}
			}
			if len(facts) > 0 {
				require.NoError(t, m.Relayed(ctx, 0, facts))
			}
			return out
		}
		topup("r1", 100)
		spend("a", 49)
		assert.Empty(t, told())
		spend("b", 2)
		assert.Equal(t, []string{"wallet 50"}, told())
		spend("c", 5)
		assert.Empty(t, told())
		spend("d", 60)
		assert.Equal(t, []string{"wallet 80", "wallet 100"}, told())
		topup("r2", 216) // 200 are left
		assert.Empty(t, told())
		spend("e", 100)
		assert.Equal(t, []string{"wallet 50"}, told())
	})
}
