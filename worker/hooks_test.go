package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/suspend"
	"github.com/meterd/meterd/worker/workertest"
)

// heard is a message that a hook was sent.
type heard struct {
	Type string            `json:"type"`
	Data suspend.StateData `json:"data"`
}

// receiver is a hook's server that keeps what it was told.
type receiver struct {
	mu    sync.Mutex
	heard []heard
	srv   *httptest.Server
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.srv = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		var m heard
		if err := json.NewDecoder(q.Body).Decode(&m); err != nil {
			t.Errorf("a hook's body: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.heard = append(r.heard, m)
	}))
	t.Cleanup(r.srv.Close)
	return r
}

func (r *receiver) all() []heard {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heard)
}

// told lists account and event of each message.
func (r *receiver) told() []string {
	var out []string
	for _, m := range r.all() {
		out = append(out, m.Data.AccountID+" "+strings.TrimPrefix(m.Type, "account."))
	}
	return out
}

func (r *receiver) times(what string) (n int) {
	for _, s := range r.told() {
		if s == what {
			n++
		}
	}
	return n
}

// newHooked is a parent "good" with a sub-account "good-0", and their hook.
func newHooked(t *testing.T) (*harness, *receiver) {
	t.Helper()
	hook := newReceiver(t)
	newInbox(t)
	h := newHarness(t)
	h.Apply(workertest.Parents(workertest.Parent("good", hookText(hook.srv.URL, ""), 1)))
	return h, hook
}

// silence takes connections on every loopback address and never answers.
func silence(t *testing.T) (port string, asked *atomic.Int64, end func()) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "0.0.0.0:0")
	require.NoError(t, err)
	asked = &atomic.Int64{}
	ctx, stop := context.WithCancel(context.Background())
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-r.Context().Done():
		case <-ctx.Done():
		}
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(l) }()
	end = func() { stop(); _ = srv.Close(); <-ended }
	t.Cleanup(end)
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port, asked, end
}

// hookText is a hook of an accounts file; its secret is newInbox's.
func hookText(url, events string) string {
	return fmt.Sprintf("{url: %q, secret_env: METERD_TEST_HOOK, events: [%s]}", url, events)
}

// toldInTime wants a suspension and a resume of good-0 to be told before a call
// that hangs is given up (notify: 15 s); how soon they are is logged.
func (h *harness) toldInTime(good *receiver) {
	h.TB.Helper()
	for _, what := range []string{"suspend", "resume"} {
		before := good.times("good-0 " + what)
		act := h.Admin.Suspend
		if what == "resume" {
			act = h.Admin.Resume
		}
		require.NoError(h.TB, act(h.TB.Context(), "good-0", "operator", "x"))
		started := time.Now()
		h.Eventually("good-0 is told", func() bool { return good.times("good-0 "+what) > before })
		took := time.Since(started)
		assert.Less(h.TB, took, 15*time.Second, "%s told", what)
		h.TB.Logf("a %s is told after %s", what, took.Round(time.Millisecond))
	}
}

// TestHooksThatHangHoldNobodyUp: neither a thousand accounts of one parent whose
// hook hangs, nor hundreds of parents whose hooks hang, each at a host of its own,
// nor a hook of the operator's, hold up what another parent is told.
func TestHooksThatHangHoldNobodyUp(t *testing.T) {
	t.Parallel()
	const subs, parents = 1000, 150
	good := newReceiver(t)
	port, asked, end := silence(t)
	in := newInbox(t)
	in.hook.URL = "http://127.0.3.1:" + port
	h := newHarness(t)
	list := []string{workertest.Parent("good", hookText(good.srv.URL, ""), 1), workertest.Parent("many", hookText("http://127.0.0.1:"+port, ""), subs)}
	for i := range parents {
		list = append(list, workertest.Parent(fmt.Sprintf("p%d", i), hookText(fmt.Sprintf("http://127.0.%d.%d:%s", 1+i/200, 1+i%200, port), ""), 0))
	}
	h.Apply(workertest.Parents(list...))
	h.work(Options{Hooks: []metering.Hook{in.hook}})
	h.toldInTime(good)

	require.NoError(t, h.Admin.Suspend(t.Context(), "many", "operator", "x"))
	ask := asynq.NewInspectorFromRedisClient(h.Redis)
	h.Eventually("all accounts of the one were tried", func() bool { // on a busy machine never all of them wait at one moment
		queue, err := ask.GetQueueInfo(wire.QueueSuspensions)
		require.NoError(t, err)
		return asked.Load() > 1 && queue.FailedTotal > subs
	})
	h.toldInTime(good)
	for i := range parents {
		require.NoError(t, h.Admin.Suspend(t.Context(), fmt.Sprintf("p%d", i), "operator", "x"))
	}
	h.Eventually("each was tried", func() bool { return asked.Load() > parents })
	h.toldInTime(good)
	end() // else the worker's stop waits for them
}

// TestAHookThatIsDownBacksOff: its jobs come later each time, each costs the
// ledger one row until it succeeds, and then they are told once.
func TestAHookThatIsDownBacksOff(t *testing.T) {
	t.Parallel()
	const subs = 60
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	newInbox(t)
	h := newHarness(t)
	h.Apply(workertest.Parents(workertest.Parent("down", hookText("http://"+address, ""), subs)))
	require.NoError(t, h.Engines.ClickHouse(t).Exec(t.Context(), "SYSTEM STOP MERGES deliveries"))
	h.work(Options{})
	require.NoError(t, h.Admin.Suspend(t.Context(), "down", "operator", "x"))
	ask := asynq.NewInspectorFromRedisClient(h.Redis)
	least := func() (n int, next time.Duration) {
		list, err := ask.ListRetryTasks(wire.QueueSuspensions, asynq.PageSize(2*subs))
		if errors.Is(err, asynq.ErrQueueNotFound) || len(list) < subs+1 {
			return 0, 0
		}
		require.NoError(t, err)
		n, next = list[0].Retried, time.Hour
		for _, x := range list {
			n, next = min(n, x.Retried), min(next, x.NextProcessAt.Sub(x.LastFailedAt))
		}
		return n, next
	}
	h.Eventually("each has been tried three times", func() bool {
		n, next := least()
		return n >= 3 && assert.Greater(t, next, 2*time.Second)
	})
	assert.LessOrEqual(t, h.deliveries("1"), uint64(subs+1), "rows")
	l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	hook := newReceiver(t)
	up := &httptest.Server{Listener: l, Config: &http.Server{Handler: hook.srv.Config.Handler, ReadHeaderTimeout: time.Minute}}
	up.Start()
	t.Cleanup(up.Close)
	h.Eventually("all are told", func() bool {
		_, err := ask.RunAllRetryTasks(wire.QueueSuspensions) // not in half a minute, but now
		require.NoError(t, err)
		return h.deliveries("outcome = 'delivered'") == subs+1
	})
	for i := range subs {
		assert.Equal(t, 1, hook.times(fmt.Sprintf("down-%d suspend", i)))
	}
	assert.LessOrEqual(t, h.deliveries("1"), uint64(2*(subs+1)), "rows")
}

// deliveries are the rows that say so, replaced ones too.
func (h *harness) deliveries(where string) (n uint64) {
	h.TB.Helper()
	require.NoError(h.TB, h.Engines.ClickHouse(h.TB).QueryRow(h.TB.Context(), "SELECT count() FROM deliveries WHERE "+where).Scan(&n))
	return n
}

// TestAHookIsToldOnceWhileTheLedgerIsAway: its outcome waits in Redis.
func TestAHookIsToldOnceWhileTheLedgerIsAway(t *testing.T) {
	t.Parallel()
	h, good := newHooked(t)
	rename := func(from, to string) {
		require.NoError(t, h.Engines.ClickHouse(t).Exec(t.Context(), "RENAME TABLE "+from+" TO "+to))
	}
	rename("deliveries", "gone")
	h.work(Options{})
	require.NoError(t, h.Admin.Suspend(t.Context(), "good-0", "operator", "x"))
	h.Eventually("it is tried again", func() bool { return good.times("good-0 suspend") > 0 && h.Waiting(wire.QueueSuspensions) > 0 })
	rename("gone", "deliveries")
	h.Eventually("the outcome is kept", func() bool { return h.deliveries("outcome = 'delivered'") == 1 })
	assert.Equal(t, 1, good.times("good-0 suspend"))
}

// TestATaskOfAnOlderStateTellsWhenThePresentOneBegan: a suspension's task that
// comes to it when the account has been resumed tells of the resume, as the
// resume's own task would.
func TestATaskOfAnOlderStateTellsWhenThePresentOneBegan(t *testing.T) {
	t.Parallel()
	h, hook := newHooked(t)
	require.NoError(t, h.Admin.Suspend(t.Context(), "good", "operator", "x"))
	require.NoError(t, h.Admin.Resume(t.Context(), "good", "operator", "x"))
	w := h.byHand()
	for _, old := range []wire.StateChange{{AccountID: "good", At: 1}, {AccountID: "good-0", ParentID: "good", At: 1}} {
		payload, err := json.Marshal(old)
		require.NoError(t, err)
		require.NoError(t, w.hooks.StateTask(t.Context(), "", payload))
	}
	var resumed time.Time
	require.NoError(t, h.Engines.ClickHouse(t).QueryRow(t.Context(),
		"SELECT max(occurred_at) FROM states WHERE account_id = 'good' AND flags = 0").Scan(&resumed))
	require.Len(t, hook.all(), 2)
	for _, m := range hook.all() {
		assert.Equal(t, resumed.UTC().Format("2006-01-02T15:04:05.000Z07:00"), m.Data.OccurredAt, "%s of %s", m.Data.State, m.Data.AccountID)
		assert.Equal(t, resumed.UTC().Format("2006-01"), m.Data.Period)
	}
}

// TestHooksOfOneAddress: each is called for its events, and one that is written
// twice is one.
func TestHooksOfOneAddress(t *testing.T) {
	t.Parallel()
	good := newReceiver(t)
	newInbox(t)
	h := newHarness(t)
	list := []string{hookText(good.srv.URL, "resume"), hookText(good.srv.URL, "suspend"), hookText(good.srv.URL, "suspend")}
	h.Apply(workertest.Parents(workertest.Parent("good", strings.Join(list, ", "), 1)))
	h.work(Options{})
	for n := range 2 {
		require.NoError(t, h.Admin.Suspend(t.Context(), "good-0", "operator", "x"))
		h.Eventually("the suspension is told", func() bool { return good.times("good-0 suspend") > n })
		require.NoError(t, h.Admin.Resume(t.Context(), "good-0", "operator", "x"))
		h.Eventually("the resume is told", func() bool { return good.times("good-0 resume") > n })
	}
	assert.Equal(t, []string{"good-0 suspend", "good-0 resume", "good-0 suspend", "good-0 resume"}, good.told())
}

// TestAMailServerThatHangsHoldsNobodyUp: letters of hundreds of alerts wait for it,
// of one parent and of many; hooks, and who has no letters, don't.
func TestAMailServerThatHangsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	const many = 100
	good := newReceiver(t)
	newInbox(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // it never says a word
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	m, err := notify.NewMail(notify.MailOptions{Server: "smtp://" + l.Addr().String() + "?tls=none", From: "meterd@example.com"})
	require.NoError(t, err)
	h := newHarness(t)
	text := workertest.Parent("good", hookText(good.srv.URL, ""), many)
	list := []string{strings.Replace(text, "    hooks:", "    alert_mail: [a@x.example]\n    hooks:", 1)}
	for i := range many {
		list = append(list, strings.Replace(workertest.Parent(fmt.Sprintf("p%d", i), "", 0), "    hooks:", "    alert_mail: [a@x.example]\n    hooks:", 1))
	}
	h.Apply(workertest.Parents(list...))
	queue := asynq.NewClientFromRedisClient(h.Redis)
	for i := range many {
		for id, parent := range map[string]string{fmt.Sprintf("good-%d", i): "good", fmt.Sprintf("p%d", i): ""} {
			require.NoError(t, wire.EnqueueAccountJob(t.Context(), queue, wire.TypeAlert, "alert:1:"+id+":wallet:1:50", wire.Alert{
				AccountID: id, ParentID: parent, Limit: "wallet", Share: 50, Mark: "1", Period: "2026-11",
			}))
		}
	}
	h.work(Options{Mail: m})
	h.Eventually("all letters wait", func() bool { return h.Waiting(wire.QueueSuspensions) >= 2*many-1 })
	h.toldInTime(good)
	h.Eventually("hooks are told", func() bool {
		for i := range many {
			if good.times(fmt.Sprintf("good-%d alert", i)) != 1 {
				return false
			}
		}
		return true
	})
	require.NoError(t, l.Close())
}

// TestAResumptionLostWithRedisIsTold: whoever was told of a suspension is told of
// its end once Redis was lost with the job, or with all that was known of it; and
// nobody is told twice.
func TestAResumptionLostWithRedisIsTold(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	newInbox(t)
	h := newHarness(t)
	h.Apply(workertest.Parents(workertest.Parent("good", hookText(hook.srv.URL, ""), 1), workertest.Parent("calm", hookText(hook.srv.URL, ""), 0)))
	stop := h.work(Options{})
	require.NoError(t, h.Admin.Suspend(t.Context(), "good", "operator", "x"))
	h.Eventually("the suspension is told", func() bool { return h.deliveries("event = 'suspend' AND outcome = 'delivered'") == 2 })
	stop()
	require.NoError(t, h.Admin.Resume(t.Context(), "good", "operator", "x"))
	// Of another only the ledger knows that it was suspended; nothing suspends it now.
	require.NoError(t, h.Ledger.InsertStates(t.Context(), []ledger.StateRow{{
		AccountID: "calm", ParentID: "calm", Epoch: 5, Flags: metering.FlagMonthly, Cause: "usage", At: time.Now(),
	}}))
	resumed := []string{"good resume", "good-0 resume", "calm resume"}
	for again := range 2 {
		require.NoError(t, h.Redis.FlushAll(t.Context()).Err())
		stop := h.work(Options{})
		if again == 1 { // a later job: those before it are done
			require.NoError(t, h.Admin.Suspend(t.Context(), "good", "operator", "x"))
		}
		h.Eventually("all know their state", func() bool {
			for _, what := range resumed {
				if hook.times(what) == 0 {
					return false
				}
			}
			return hook.times("good suspend") == 1+again && h.deliveries("event = 'resume' AND outcome = 'delivered'") == 3
		})
		stop()
	}
	for _, what := range resumed {
		assert.Equal(t, 1, hook.times(what), what)
	}
}

// TestASuspensionLostWithRedisIsTold to the sub-accounts too that it reaches: of a
// projection that begins with it nobody knows who has heard of it.
func TestASuspensionLostWithRedisIsTold(t *testing.T) {
	t.Parallel()
	hook := newReceiver(t)
	newInbox(t)
	h := newHarness(t)
	h.Apply(workertest.Parents(workertest.Parent("good", hookText(hook.srv.URL, ""), 2)))
	require.NoError(t, h.Admin.Suspend(t.Context(), "good", "operator", "x"))
	require.NoError(t, h.Redis.FlushAll(t.Context()).Err(), "before anybody was told")
	h.work(Options{})
	h.Eventually("all are told", func() bool {
		return hook.times("good suspend") == 1 && hook.times("good-0 suspend") == 1 && hook.times("good-1 suspend") == 1
	})
}
