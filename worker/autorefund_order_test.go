package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

// orders are all of three lines.
func orders() [][3]int {
	return [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
}

// undecided counts what a look may still have to decide.
func (h *harness) undecided() int {
	h.TB.Helper()
	far := time.Now().AddDate(1, 0, 0)
	list, err := h.Ledger.Undecided(h.TB.Context(), &ledger.UndecidedQuery{At: far, Arrived: far, Now: far, Limit: 10_000})
	require.NoError(h.TB, err)
	return len(undecidedOf(list))
}

// undecidedOf leaves out those whose refund was handed over: that it stands is looked
// at later.
func undecidedOf(list []ledger.Undecided) []ledger.Undecided {
	return slices.DeleteFunc(list, func(u ledger.Undecided) bool { return u.Look == ledger.LookMade })
}

// refunded lists an account's refunds: message and time.
func (h *harness) refunded(account string) map[string]string {
	h.TB.Helper()
	return h.pairs("SELECT id, formatDateTime(occurred_at, '%FT%TZ') FROM records FINAL WHERE kind = 'refund' AND account_id = '" + account + "'")
}

// backfill is a harness in which no refund is decided until decide is called, however
// slow the machine, and the instants of minutes of weeks ago.
func backfill(t *testing.T) (h *harness, at func(minute int) string, decide func()) {
	t.Helper()
	h = newHarness(t)
	h.Apply(refundingAccounts)
	stop := h.work(Options{Roles: []string{"ingest"}})
	start := time.Now().AddDate(0, 0, -18).UTC().Truncate(time.Second)
	at = func(minute int) string { return start.Add(time.Duration(minute) * time.Minute).Format(time.RFC3339) }
	return h, at, func() {
		stop()
		h.work(Options{})
	}
}

// decided wants these refunds of zulu once all is, and no other.
func (h *harness) decided(want map[string]string) {
	h.TB.Helper()
	h.Eventually("all is decided", func() bool { return h.undecided() == 0 && len(h.refunded("zulu")) >= len(want) })
	assert.Equal(h.TB, want, h.refunded("zulu"))
	h.Eventually("nothing is under way", func() bool { return h.Reconcile() == 0 })
}

// TestAutomaticRefundsInAnyOrder: message, failed and delivered of weeks ago, in
// every order, in one task, in tasks side by side, and in tasks one after another:
// event times alone decide.
func TestAutomaticRefundsInAnyOrder(t *testing.T) {
	t.Parallel()
	h, at, decide := backfill(t)
	want := map[string]string{}
	lines := func(id string, delivered int) [3]string {
		if delivered > 11 {
			want[id] = at(11)
		}
		return [3]string{
			fmt.Sprintf(`{"id":%q,"account_id":"zulu","channel":"sms","status":"sent","occurred_at":%q}`, id, at(0)),
			fmt.Sprintf(`{"id":"f-%s","kind":"status","account_id":"zulu","refers_to":%q,"status":"failed","occurred_at":%q}`, id, id, at(1)),
			fmt.Sprintf(`{"id":"d-%s","kind":"status","account_id":"zulu","refers_to":%q,"status":"delivered","occurred_at":%q}`, id, id, at(delivered)),
		}
	}
	steps := [3]*workertest.Batch{h.Batch(), h.Batch(), h.Batch()}
	var then [3][]string
	for n, o := range orders() {
		for _, delivered := range []int{6, 11, 30} {
			id := fmt.Sprintf("%d-%d", n, delivered)
			one, apart, after := lines("one-"+id, delivered), lines("apart-"+id, delivered), lines("after-"+id, delivered)
			h.Batch().Task(one[o[0]], one[o[1]], one[o[2]])
			h.Batch().Task(apart[o[0]]).Task(apart[o[1]]).Task(apart[o[2]])
			for step, i := range o {
				then[step] = append(then[step], after[i])
			}
		}
	}
	for step, list := range then {
		for _, l := range list {
			steps[step].Task(l)
		}
		steps[step].Wait()
	}
	decide()
	h.decided(want)
}

// TestAStatusWaitsByItsArrival for its message, however long ago it occurred; a
// message that comes later than that is looked at all the same.
func TestAStatusWaitsByItsArrival(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	month := 30 * 24 * time.Hour
	failed := func(id string) string {
		return workertest.Line("zulu", "s-"+id, month-time.Minute, fmt.Sprintf(`,"kind":"status","status":"failed","refers_to":%q`, id))
	}
	h.statusWait = time.Millisecond
	stop := h.work(Options{})
	h.Batch().Task(failed("late")).Wait()
	h.Eventually("the status has waited long enough", func() bool { return h.undecided() == 0 })
	h.Batch().Task(workertest.Message("zulu", "late", month)).Wait()
	h.Eventually("the late message is refunded", func() bool { return len(h.refunded("zulu")) == 1 })
	stop()

	h.statusWait = 0
	h.work(Options{})
	h.Batch().Task(failed("waits")).Wait()
	h.Batch().Task(workertest.Message("zulu", "control", month), failed("control")).Wait()
	h.Eventually("a look has passed", func() bool { return len(h.refunded("zulu")) == 2 })
	assert.Equal(t, 1, h.undecided(), "it waits")
	h.Batch().Task(workertest.Message("zulu", "waits", month)).Wait()
	h.Eventually("its message is refunded", func() bool { return len(h.refunded("zulu")) == 3 && h.undecided() == 0 })
}

// TestLongIDsAreRefundedAutomatically: the refund's id is longer than a message's
// may be.
func TestLongIDsAreRefundedAutomatically(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	h.work(Options{})
	for _, n := range []int{123, 124, 128} {
		id := strings.Repeat("L", n)
		h.Batch().Task(workertest.Line("zulu", id, time.Hour, `,"status":"failed"`)).Wait()
	}
	h.Eventually("all are refunded", func() bool { return len(h.refunded("zulu")) == 3 })
	// Another refund of the same message is judged against it.
	c := h.Batch().Task(workertest.Line("zulu", "more", 0, fmt.Sprintf(`,"kind":"refund","amount":"0.001","refers_to":%q`, strings.Repeat("L", 128)))).Wait()
	assert.EqualValues(t, 1, c.Quarantined)
	assert.Zero(t, h.Reconcile())
}

// TestNoRefundIsDecidedBehindABacklog: what waits in a queue since an outage may
// prevent it.
func TestNoRefundIsDecidedBehindABacklog(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	d, _ := workertest.Connect(t, h.Address())
	w, err := New(Deps(d), Options{})
	require.NoError(t, err)
	busy := func() bool {
		t.Helper()
		b, err := w.backlogged(t.Context(), time.Now())
		require.NoError(t, err)
		return b
	}
	require.False(t, busy())
	prefix := "asynq:{" + wire.IngestQueue(wire.IngestShards-1) + "}:"
	h.Batch().Task(workertest.Message("zulu", "m", time.Hour)) // nobody works
	require.Eventually(t, busy, 10*time.Second, 50*time.Millisecond, "it is pending for long")
	stop := h.work(Options{})
	h.Eventually("the queue is empty", func() bool { return !busy() })
	stop()
	require.NoError(t, h.Redis.ZAdd(t.Context(), prefix+"retry", redis.Z{Score: 1e12, Member: "x"}).Err())
	require.True(t, busy(), "one is to be tried again")
	w.backlogSince = time.Now().Add(-backlogMax)
	require.False(t, busy(), "but not for ever")
	require.NoError(t, h.Redis.Del(t.Context(), prefix+"retry").Err())
	require.False(t, busy())
	require.True(t, w.backlogSince.IsZero())
	soon := func(d time.Duration) redis.Z {
		return redis.Z{Score: float64(time.Now().Add(d).Unix()), Member: "x"}
	}
	require.NoError(t, h.Redis.ZAdd(t.Context(), prefix+"scheduled", soon(time.Hour)).Err())
	require.False(t, busy(), "one is sent for later")
	require.NoError(t, h.Redis.ZAdd(t.Context(), prefix+"scheduled", soon(time.Second)).Err())
	require.True(t, busy(), "one was set aside")
	require.NoError(t, h.Redis.Del(t.Context(), prefix+"scheduled").Err())
	require.False(t, busy())
	require.NoError(t, h.Redis.LPush(t.Context(), prefix+"active", "x").Err())
	require.False(t, busy(), "one has just been begun")
	require.True(t, busy(), "it is worked on for long")
	require.NoError(t, h.Redis.Del(t.Context(), prefix+"active").Err())
	require.False(t, busy())
	require.NoError(t, h.Redis.ZAdd(t.Context(), prefix+"lease", redis.Z{Score: float64(time.Now().Unix() - 5), Member: "x"}).Err())
	require.True(t, busy(), "its worker died")
	require.NoError(t, h.Redis.Del(t.Context(), prefix+"lease").Err())

	// Nor behind what has just come.
	require.NoError(t, h.Redis.ZAdd(t.Context(), prefix+"retry", redis.Z{Score: 1e12, Member: "x"}).Err())
	h.work(Options{Roles: []string{"ingest"}})
	h.Batch().Task(workertest.Line("zulu", "due", time.Hour, `,"status":"failed"`)).Wait()
	far := time.Now().AddDate(1, 0, 0)
	list, err := h.Ledger.Undecided(t.Context(), &ledger.UndecidedQuery{At: far, Arrived: far, Now: far, Limit: 10})
	require.NoError(t, err)
	var arrived time.Time
	for _, u := range list {
		if u.ID == "due" {
			arrived = u.Arrived
		}
	}
	by := h.byHand()
	now := clock.NewFake(arrived.Add(time.Minute))
	by.deps.Clock = now
	look := func() bool {
		t.Helper()
		require.NoError(t, by.autoRefunds(t.Context()))
		return h.undecided() == 0
	}
	require.False(t, look(), "one is to be tried again")
	require.NoError(t, h.Redis.Del(t.Context(), prefix+"retry").Err())
	now.Set(arrived.Add(arrivalSettle / 2))
	require.False(t, look(), "it has just come")
	now.Set(arrived.Add(time.Minute))
	require.True(t, look())
}

// TestALateStatusThatSpeaksAgainstARefund is a finding: the refund stands.
func TestALateStatusThatSpeaksAgainstARefund(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	h.work(Options{})
	status := func(id, word string, ago time.Duration) string {
		return workertest.Line("zulu", word+id, ago, fmt.Sprintf(`,"kind":"status","status":%q,"refers_to":%q`, word, id))
	}
	day := 24 * time.Hour
	for _, id := range []string{"prevented", "earlier", "later"} {
		h.Batch().Task(workertest.Message("zulu", id, 40*day), status(id, "failed", 40*day-time.Minute)).Wait()
	}
	h.Eventually("all are refunded", func() bool { return len(h.refunded("zulu")) == 3 })
	h.Batch().Task(
		status("prevented", "sent", 40*day-5*time.Minute), // another attempt, in time
		status("earlier", "sent", 40*day),                 // changes nothing
		status("later", "sent", 40*day-time.Hour),         // nor does this
	).Wait()
	w := h.byHand()
	for range 2 {
		require.NoError(t, w.lateStatuses(t.Context()))
	}
	var got []string
	require.NoError(t, h.Engines.ClickHouse(t).QueryRow(t.Context(), "SELECT groupArray(account_id || ' ' || field) FROM findings WHERE kind = 'refund_not_due'").Scan(&got))
	assert.Equal(t, []string{"zulu prevented"}, got)
	assert.Len(t, h.refunded("zulu"), 3)
}
