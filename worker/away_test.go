package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// door before the ledger: shut, whoever comes is cut off.
type door struct {
	url     string
	shut    atomic.Bool
	lookups atomic.Int64         // that are cut off all the same
	stands  atomic.Pointer[stop] // who comes waits
}

// stop of who asks the ledger what contains asks, until it is released.
type stop struct {
	asks     string
	arrived  atomic.Bool // one of them waits
	released chan struct{}
}

// stop who comes to the door from now on, if they ask that.
func (d *door) stop(asks string) *stop {
	s := &stop{asks: asks, released: make(chan struct{})}
	d.stands.Store(s)
	return s
}

// lets tells whether a request may pass.
func (d *door) lets(r *http.Request) bool {
	if d.shut.Load() {
		return false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if s := d.stands.Load(); s != nil && bytes.Contains(body, []byte(s.asks)) {
		s.arrived.Store(true)
		select {
		case <-s.released:
		case <-r.Context().Done():
			return false
		}
	}
	return !bytes.Contains(body, []byte("argMax(content_hash")) || d.lookups.Add(-1) < 0
}

func (h *harness) door() *door {
	h.tb.Helper()
	behind, err := url.Parse(h.engines.ClickHouseURL)
	require.NoError(h.tb, err)
	d := &door{}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.lets(r) {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	h.tb.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// behindDoor is what a worker needs, with a door before its ledger.
func (h *harness) behindDoor() (*door, Deps) {
	h.tb.Helper()
	d, a := h.door(), h.address()
	a.ClickHouse = d.url
	deps, _ := connect(h.tb, a)
	return d, deps
}

// withNewAccount are the accounts of the tests, and one more.
const withNewAccount = testAccounts + "      - {id: globex-new, channels: [sms]}\n"

// TestLimitsHoldWhileTheLedgerIsAway: whatever else is in a task, what can be charged
// without the ledger is, in every partition; the rest has its outcome once it is back.
func TestLimitsHoldWhileTheLedgerIsAway(t *testing.T) {
	t.Parallel()
	const old = 40 * time.Hour // colder than the dedup window
	late1 := message("globex-shop", "late", old)
	late3 := strings.Replace(late1, `"channel"`, `"units":"3","channel"`, 1) // the first stands
	for _, c := range []struct {
		name  string
		lines []string
		want  balance.Counts
		apply string // meanwhile, past the door
	}{
		{"an account that a newer snapshot may know", []string{message("nobody", "u", 0)}, balance.Counts{Quarantined: 1}, ""},
		{"an account that a newer snapshot knows", []string{message("globex-new", "n", 0)}, balance.Counts{Stored: 1}, withNewAccount},
		{"a channel that may be enabled by now", []string{line("globex-shop", "v", 0, `,"channel":"voice"`)}, balance.Counts{Quarantined: 1}, ""},
		{"a late record", []string{message("globex-shop", "late", old), message("acme-own", "late", old)}, balance.Counts{Stored: 2}, ""},
		{"a late record and its copy", []string{message("globex-shop", "late", old), message("globex-shop", "late", old)}, balance.Counts{Stored: 1, Duplicates: 1}, ""},
		{"two contents of a late record", []string{late1, late3, late1}, balance.Counts{Stored: 1, Duplicates: 1, Quarantined: 1}, ""},
		{"two of an identity, the first of a channel that may be enabled", []string{line("globex-shop", "v", 0, `,"channel":"voice"`), message("globex-shop", "v", 0)}, balance.Counts{Stored: 1, Quarantined: 1}, ""},
		{"no record", []string{`{"id":`}, balance.Counts{Quarantined: 1}, ""},
		{"a late record among what isn't known", []string{message("globex-shop", "late", old), message("nobody", "late", old), `{}`}, balance.Counts{Stored: 1, Quarantined: 2}, ""},
	} {
		for _, partitions := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s, %d partitions", c.name, partitions), func(t *testing.T) {
				t.Parallel()
				h := newHarnessOf(t, partitions)
				d, deps := h.behindDoor()
				h.workWith(deps, Options{})
				h.batch().task(message("globex-shop", "before", 0), message("acme-own", "before", 0)).wait()

				d.shut.Store(true)
				b := h.batch().task(append([]string{message("globex-shop", "m", 0), message("acme-own", "m", 0)}, c.lines...)...)
				for _, id := range []string{"globex-shop", "acme-own"} {
					h.eventually("it is charged", func() bool { return h.used(id) >= 2*price })
				}
				if c.apply != "" {
					h.apply(c.apply)
				}
				d.shut.Store(false)
				want := c.want
				want.Stored += 2
				require.Equal(t, want, b.wait())
				require.Zero(t, h.reconcile())
				assert.LessOrEqual(t, h.used("globex-shop"), metering.Micros(3*price))
			})
		}
	}
}

// TestLimitsHoldWhileTheLedgerHangs, which is away for who waits for it: no line that
// needs it holds up another, nor do those that need nothing else.
func TestLimitsHoldWhileTheLedgerHangs(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 4)
	d, deps := h.behindDoor()
	h.workWith(deps, Options{})
	h.batch().task(message("globex-shop", "before", 0), message("acme-own", "before", 0)).wait()

	everybody := d.stop("")
	const old = 40 * time.Hour
	b := h.batch()
	for i := range 20 { // more than are worked on at a time
		b.task(message("globex-shop", fmt.Sprint("late", i), old)).task(message("nobody", fmt.Sprint(i), 0))
	}
	b.task(message("globex-shop", "m", 0), message("acme-own", "m", 0), message("globex-shop", "late", old), message("nobody", "x", 0))
	for _, id := range []string{"globex-shop", "acme-own"} {
		h.eventually("it is charged", func() bool { return h.used(id) >= 2*price })
	}
	close(everybody.released)
	require.Equal(t, balance.Counts{Stored: 23, Quarantined: 21}, b.wait())
	require.Zero(t, h.reconcile())
}

// TestTheFirstStandsWhereALookupFails: of an identity that couldn't be asked for no
// other content is charged in the place of the first.
func TestTheFirstStandsWhereALookupFails(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, w := h.byHandBehindDoor()
	first := message("globex-shop", "late", 40*time.Hour)
	other := strings.Replace(first, `"channel"`, `"units":"3","channel"`, 1)
	lines := [][]byte{[]byte(message("globex-shop", "m", 0)), []byte(first), []byte(other), []byte(first)}
	d.lookups.Store(1)
	require.NoError(t, w.engine.process(t.Context(), newTask("run-x.1", lines, false)))
	assert.Equal(t, metering.Micros(price), h.used("globex-shop"))

	assert.Equal(t, lines[1:], h.aside(w), "in their order")
}

// TestNothingIsRefusedForAnotherOnesSnapshot: the snapshot that another has read, while
// this task couldn't ask for one, is newer than its own but not the newest.
func TestNothingIsRefusedForAnotherOnesSnapshot(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, w := h.byHandBehindDoor()
	h.apply(testAccounts + "      - {id: globex-other, channels: [sms]}\n")
	catalog := d.stop("argMax(doc, number)")
	var others sync.WaitGroup
	others.Go(func() { _, _ = w.engine.snapshots.Refresh(t.Context()) })
	h.eventually("another reads a snapshot", catalog.arrived.Load)

	lines := [][]byte{[]byte(message("globex-shop", "m", 0)), []byte(message("globex-new", "n", 0))}
	failed := make(chan error, 1)
	go func() { failed <- w.engine.process(t.Context(), newTask("run-x.1", lines, false)) }()
	h.eventually("the task waits for its own", func() bool { return w.engine.outage.asked() == 1 })
	d.shut.Store(true) // who stands at it has passed
	close(catalog.released)
	others.Wait()
	require.ErrorIs(t, <-failed, ledger.ErrAway)
	h.apply(withNewAccount)
	d.shut.Store(false)
	require.NoError(t, w.engine.process(t.Context(), newTask("run-x.1", lines, false)))
	assert.Equal(t, lines[1:], h.aside(w))
}

// asked is how many wait for the ledger.
func (o *outage) asked() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asking)
}

// TestWhatIsSetAsideStaysSo: a newer snapshot brings a line into another partition's
// slice, which isn't charged yet, after the first one's answer has set it aside. It is
// counted once.
func TestWhatIsSetAsideStaysSo(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 4)
	a, b := h.parentIn(true), h.parentIn(false)
	accounts := func(subs int) { h.apply(parentsText(parentText(a, "", 1), parentText(b, "", subs))) }
	accounts(1)
	d, w := h.byHandBehindDoor()
	lines := [][]byte{[]byte(message(a+"-0", "m", 0)), []byte(message(b+"-1", "n", 0))}
	attempt := func() error { return w.engine.process(t.Context(), newTask("run-x.1", lines, false)) }
	d.shut.Store(true)
	require.ErrorIs(t, attempt(), ledger.ErrAway)
	accounts(2)
	d.shut.Store(false)
	_, err := w.engine.snapshots.Refresh(t.Context())
	require.NoError(t, err)
	require.NoError(t, attempt())
	assert.EqualValues(t, price, h.used(a+"-0"))
	assert.Zero(t, h.used(b+"-1"))
	assert.Equal(t, lines[1:], h.aside(w))
}

// TestARefundOfAnAccountThatCameLater: the first partition, which refuses what is of no account
// that is known, hasn't, and another one was charged: it leaves as a task of its own too.
func TestARefundOfAnAccountThatCameLater(t *testing.T) {
	t.Parallel()
	h := newHarnessOf(t, 4)
	parent := h.parentIn(false)
	accounts := func(subs int) { h.apply(parentsText(parentText(parent, "", subs))) }
	accounts(1)
	stop := h.work(Options{})
	h.batch().task(message(parent+"-0", "m", 0)).wait()
	stop()
	w := h.byHand()
	e := w.engine
	runWriter(t, e)
	lines := [][]byte{[]byte(refundLine(parent+"-0", "m")), []byte(refundLine(parent+"-1", "n"))}
	charged := newTask("run-x.1~r", lines, true)
	parts, _, err := e.classify(t.Context(), charged, e.snapshots.Current())
	require.NoError(t, err)
	e.chargeAll(t.Context(), charged, parts, []int{h.Store.PartitionOf(parent)})
	require.Zero(t, h.used(parent+"-0"), "it is given back")

	accounts(2)
	_, err = e.snapshots.Refresh(t.Context())
	require.NoError(t, err)
	require.NoError(t, e.process(t.Context(), newTask("run-x.1~r", lines, true)))
	assert.Equal(t, lines[1:], h.aside(w))
}

// parentIn is the id of a parent that is in the first partition, or isn't.
func (h *harness) parentIn(first bool) string {
	for i := 0; ; i++ {
		if id := fmt.Sprint("parent", i); h.Store.PartitionOf(id) == 0 == first {
			return id
		}
	}
}

// TestWhatOverflowsWhileTheLedgerIsAway is refused once it is back, and nothing else is.
func TestWhatOverflowsWhileTheLedgerIsAway(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d, w := h.byHandBehindDoor()
	amount := func(id string) []byte {
		return []byte(line("globex-shop", id, 0, `,"currency":"EUR","amount":"999999999999"`))
	}
	attempt := func(task string, lines ...[]byte) error {
		return w.engine.process(t.Context(), newTask("run-x."+task, lines, false))
	}
	for id := range strings.SplitSeq("123456789", "") {
		require.NoError(t, attempt(id, amount(id)))
	}
	d.shut.Store(true)
	w.engine.outage.left()
	require.Error(t, attempt("over", amount("over")))
	d.shut.Store(false)
	w.engine.outage.away.Store(false)
	require.NoError(t, attempt("over", amount("over")))
	require.Equal(t, []metering.Reason{metering.ReasonOverflow}, h.reasons("globex-shop", "over"))
}

// byHandBehindDoor is a worker that nothing runs, and the door before its ledger.
func (h *harness) byHandBehindDoor() (*door, *Worker) {
	h.tb.Helper()
	d, deps := h.behindDoor()
	w := h.byHandWith(deps)
	runWriter(h.tb, w.engine)
	return d, w
}

// aside are the lines of tasks that wait for their first try.
func (h *harness) aside(w *Worker) (lines [][]byte) {
	h.tb.Helper()
	queue := asynq.NewInspectorFromRedisClient(h.Redis)
	for _, q := range w.engine.ingestQueues() {
		list, err := queue.ListScheduledTasks(q)
		if errors.Is(err, asynq.ErrQueueNotFound) {
			continue
		}
		require.NoError(h.tb, err)
		for _, info := range list {
			assert.Equal(h.tb, wire.TypeIngest, info.Type)
			got, err := w.engine.codec.Decode(info.Payload)
			require.NoError(h.tb, err)
			lines = append(lines, got...)
		}
	}
	return lines
}

// TestEveryWorkerKnowsNewAccounts, whatever its roles, before a task needs them: hooks
// and reports go by them too, and while the ledger is away nobody could ask.
func TestEveryWorkerKnowsNewAccounts(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"ingest", "suspensions", "reports", "scheduler"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			deps, _ := connect(t, h.address())
			h.workWith(deps, Options{Roles: []string{role}})
			require.Nil(t, deps.Snapshots.Current().Accounts["globex-new"])
			h.apply(withNewAccount)
			h.eventually("it knows the new account", func() bool { return deps.Snapshots.Current().Accounts["globex-new"] != nil })
		})
	}
}
