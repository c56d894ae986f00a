package worker

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

// refundingAccounts give a failed message back, but for its fee.
const refundingAccounts = `
plans:
  - id: refunding
    currency: EUR
    versions:
      - effective_from: 2020-01-01T00:00:00Z
        refund_on: [failed]
        refund_after: 10m
        rules: [{channel: sms, unit: segment, price: "0.01", fee: "0.002"}]
parents:
  - id: zulu
    module: reseller
    timezone: UTC
    plan: refunding
    funding: {mode: postpaid}
`

// TestAutomaticRefundsBehindOrphans: statuses whose message never comes, more
// than one look takes, hold up no refund that is due.
func TestAutomaticRefundsBehindOrphans(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	h.work(Options{})
	status := func(id, message string) string {
		return workertest.Line("zulu", id, time.Hour, fmt.Sprintf(`,"kind":"status","status":"failed","refers_to":%q`, message))
	}
	orphans := h.Batch()
	for task := range 6 {
		var lines []string
		for i := range 1000 {
			id := fmt.Sprintf("a-%d-%d", task, i)
			lines = append(lines, status("s"+id, id))
		}
		orphans.Task(lines...)
	}
	orphans.Wait()
	h.Batch().Task(workertest.Message("zulu", "z", 2*time.Hour), status("sz", "z")).Wait()
	h.Eventually("the message is refunded", func() bool { return h.Rows("zulu").Refunds == 1 })
	assert.EqualValues(t, 2000, h.Used("zulu"), "all but the fee comes back")
	assert.Zero(t, h.Reconcile())
}

// TestWhatMayBeRefundedLaterIsPutOff until then, each message once; one that hasn't
// come for as long as half of what its status has waited.
func TestWhatMayBeRefundedLaterIsPutOff(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	h.Apply(strings.NewReplacer("refunding", "patient", "zulu", "yankee", "10m", "720h").Replace(refundingAccounts))
	stop := h.work(Options{})
	status := func(account, id, message string, ago time.Duration) string {
		return workertest.Line(account, id, ago, fmt.Sprintf(`,"kind":"status","status":"failed","refers_to":%q`, message))
	}
	day := 24 * time.Hour
	h.Batch().Task(workertest.Message("yankee", "m", 3*day), status("yankee", "s1", "m", 2*day), status("yankee", "s2", "m", day), status("yankee", "s3", "none", day)).Wait()
	h.Batch().Task(workertest.Message("zulu", "m", day), status("zulu", "s", "m", day)).Wait()
	due := func(ahead time.Duration) []ledger.Undecided {
		t.Helper()
		list, err := h.Ledger.Undecided(t.Context(), &ledger.UndecidedQuery{At: time.Now(), Arrived: time.Now(), Now: time.Now().Add(ahead), Limit: 10})
		require.NoError(t, err)
		return undecidedOf(list)
	}
	h.Eventually("all are looked at", func() bool { return len(due(0)) == 0 && h.Rows("zulu").Refunds == 1 })
	stop()
	none := due(20 * time.Second)
	require.Len(t, none, 1)
	assert.Equal(t, ledger.MessageKey{AccountID: "yankee", ID: "none"}, none[0].MessageKey)
	require.Len(t, due(28*day-time.Minute), 1)
	later := due(28*day + time.Minute)
	require.Len(t, later, 2)
	assert.Equal(t, ledger.MessageKey{AccountID: "yankee", ID: "m"}, later[1].MessageKey)
	assert.Equal(t, ledger.LookAgain, later[1].Look)

	w := h.byHand()
	// Another worker has a newer snapshot.
	stored := &ledger.Traces{Stored: true, Plan: "p", PlanVersion: 1}
	_, outcome := w.refundDue(metering.NewSnapshot(0, nil, nil), none[0].MessageKey, stored, h.Clock.Now(), h.Clock.Now())
	assert.Equal(t, refundOpen, outcome)
	at, outcome := w.refundDue(w.deps.Snapshots.Current(), none[0].MessageKey, nil, h.Clock.Now().Add(-2*time.Hour), h.Clock.Now())
	assert.Equal(t, refundOpen, outcome)
	assert.WithinDuration(t, h.Clock.Now().Add(time.Hour), at, time.Minute)
	at, _ = w.refundDue(w.deps.Snapshots.Current(), none[0].MessageKey, nil, h.Clock.Now().Add(-23*time.Hour), h.Clock.Now())
	assert.WithinDuration(t, h.Clock.Now().Add(time.Hour), at, time.Minute, "it is given up in time")
}

// TestDeliveredAfterARefund: the refund stands, and a finding says so, once.
func TestDeliveredAfterARefund(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	h.work(Options{})
	status := func(id, of, status string, ago time.Duration) string {
		return workertest.Line("zulu", id, ago, fmt.Sprintf(`,"kind":"status","refers_to":%q,"status":%q`, of, status))
	}
	h.Batch().Task(workertest.Message("zulu", "m", time.Hour), workertest.Message("zulu", "n", time.Hour)).Wait()
	h.Batch().Task(status("s1", "m", "failed", 50*time.Minute), status("s2", "n", "failed", 50*time.Minute)).Wait()
	h.Eventually("both are refunded", func() bool { return h.Rows("zulu").Refunds == 2 })
	h.Batch().Task(status("s3", "m", "delivered", time.Minute)).Wait()

	w := h.byHand()
	findings := func() []string {
		var out []string
		require.NoError(t, h.Engines.ClickHouse(t).QueryRow(t.Context(),
			"SELECT groupArray(account_id || ' ' || field) FROM findings WHERE kind = 'delivered_after_refund'").Scan(&out))
		return out
	}
	for range 2 {
		require.NoError(t, w.lateStatuses(t.Context()))
	}
	assert.Equal(t, []string{"zulu m"}, findings())
	assert.EqualValues(t, 2, h.Rows("zulu").Refunds, "refunded for good")
	assert.EqualValues(t, 4000, h.Used("zulu"), "the fees")
	assert.Zero(t, h.Reconcile())
}

// TestRefundsCarryTheirMessagesTags, so that usage by tag has both sides, be they
// by the plan or sent. The content that tells a copy is the record's alone.
func TestRefundsCarryTheirMessagesTags(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	h.work(Options{})
	tagged := func(id, campaign string) string {
		return workertest.Line("zulu", id, 2*time.Hour, fmt.Sprintf(`,"tags":{"campaign":%q,"team":"x"}`, campaign))
	}
	h.Batch().Task(
		tagged("a", "spring"), tagged("b", "spring"), tagged("c", "autumn"), workertest.Message("zulu", "d", 2*time.Hour),
		workertest.Line("zulu", "sa", time.Hour, `,"kind":"status","status":"failed","refers_to":"a"`),
	).Wait()
	h.Batch().Task(
		workertest.RefundLine("zulu", "b"), workertest.RefundLine("zulu", "d"),
		workertest.Line("zulu", "refund-c", 0, `,"kind":"refund","refers_to":"c","tags":{"campaign":"other","agent":"7"}`),
	).Wait()
	h.Eventually("the failed message is refunded", func() bool { return h.Rows("zulu").Refunds == 4 })
	by, err := ledger.ParseDimensions("tag:campaign,tag:agent,tag:team")
	require.NoError(t, err)
	got := map[string]string{}
	require.NoError(t, h.Ledger.Usage(t.Context(), ledger.UsageQuery{Accounts: []string{"zulu"}, By: by}, func(u *ledger.UsageLine) error {
		got[fmt.Sprint(u.Keys)] = u.Refunds.String()
		return nil
	}))
	assert.Equal(t, map[string]string{
		"[spring  x]": "0.02", "[autumn  x]": "0", "[autumn 7 x]": "0.01", "[  ]": "0.01",
	}, got, "the message's own tag stands; a refund's others stay")
	again := h.Batch().Task(workertest.RefundLine("zulu", "b")).Wait()
	assert.EqualValues(t, 1, again.Duplicates, "the content is the record's")
	assert.Zero(t, h.Reconcile())
}

// TestAutomaticRefundsOutliveTheQueue: nobody sends one once more that was lost with its
// Redis, so it is handed over until it stands, or is refused.
func TestAutomaticRefundsOutliveTheQueue(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	ingest := Options{Roles: []string{"ingest"}}
	stop := h.work(ingest)
	const day = 24 * time.Hour
	for _, id := range []string{"made", "refused"} {
		h.Batch().Task(workertest.Message("zulu", id, 40*day), workertest.Line("zulu", "s-"+id, 40*day-time.Minute, fmt.Sprintf(`,"kind":"status","status":"failed","refers_to":%q`, id))).Wait()
	}
	stop()
	w, began := h.byHand(), h.Clock.Now()
	queue := asynq.NewInspectorFromRedisClient(h.Redis)
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	// look decides what is due by then, and returns how many reasons that were and what
	// refunds wait.
	look := func(after time.Duration) (reasons int, lines [][]byte) {
		t.Helper()
		now := began.Add(after)
		page, err := h.Ledger.Undecided(t.Context(), &ledger.UndecidedQuery{At: now, Arrived: now, Now: now, Limit: 100})
		require.NoError(t, err)
		require.NoError(t, w.decideRefunds(t.Context(), w.deps.Snapshots.Current(), page, now))
		require.NoError(t, h.Redis.SAdd(t.Context(), "asynq:queues", wire.QueueRefunds).Err()) // a client says so once
		list, err := queue.ListPendingTasks(wire.QueueRefunds)
		require.NoError(t, err)
		for _, info := range list {
			got, err := codec.DecodeHead(info.Payload, &wire.RefundHeader{})
			require.NoError(t, err)
			lines = append(lines, got...)
		}
		return len(page), lines
	}
	_, lines := look(time.Minute)
	require.Len(t, lines, 2)
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	reasons, again := look(time.Minute + madeLeast - time.Second)
	require.Zero(t, reasons)
	require.Empty(t, again)
	_, again = look(time.Minute + madeLeast)
	require.ElementsMatch(t, lines, again)

	require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
	refused := lines[slices.IndexFunc(lines, func(line []byte) bool { return bytes.Contains(line, []byte("refused")) })]
	require.NoError(t, h.Ledger.OpenQuarantine(t.Context(), []ledger.Entry{{
		ID: ledger.EntryID("zulu", metering.KindRefund, refused), Reason: metering.ReasonOverflow, AccountID: "zulu", Kind: metering.KindRefund, Raw: refused, State: ledger.QuarantineOpen,
	}}))
	_, again = look(2*madeLeast + 2*time.Minute)
	require.Len(t, again, 1)
	require.Contains(t, string(again[0]), "made")
	stop = h.work(ingest)
	h.Eventually("it is refunded", func() bool { return len(h.refunded("zulu")) == 1 })
	stop()
	reasons, again = look(5 * madeLeast)
	require.Equal(t, 1, reasons)
	require.Empty(t, again)
	reasons, _ = look(day)
	require.Zero(t, reasons, "it stands")
}
