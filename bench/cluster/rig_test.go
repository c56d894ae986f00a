package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/worker"
)

// rig is a cluster, a database, the accounts, and who is told of suspensions.
type rig struct {
	worker.Deps

	t       *testing.T
	nodes   *nodes
	engines *testengine.Engines
	ch      driver.Conn
	admin   *admin.Service
	book    *book
	traffic *traffic
	told    *receiver
	log     *logged
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, nodes: startNodes(t), engines: testengine.StartClickHouse(t), book: newBook(), told: newReceiver(t), log: newLogged()}
	r.ch = r.engines.ClickHouse(t)
	r.Deps = r.connect()
	r.admin = admin.NewService(r.Ledger, r.Store, r.Snapshots, r.Clock, r.Projector.Ensure)
	r.traffic = newTraffic(t, r.book)
	_, err := r.Ledger.Migrate(t.Context())
	require.NoError(t, err)
	file, err := admin.ParseAccountsFile("accounts.yaml", []byte(r.book.file()))
	require.NoError(t, err)
	_, err = r.admin.Apply(t.Context(), file, false)
	require.NoError(t, err)
	r.fund(metering.TransferTopup, r.book.parents[0], wallet)
	r.fund(metering.TransferAllocate, r.book.poor(), budget)
	return r
}

// connect opens what a worker needs, as meterd worker does it: not Durable.
func (r *rig) connect() worker.Deps {
	r.t.Helper()
	rdb := r.nodes.client()
	l, err := ledger.Open(ledger.Options{
		URL:      r.engines.ClickHouseAddress(),
		Password: r.engines.ClickHousePassword, Database: r.engines.Database,
	})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = l.Close() })
	log := slog.New(r.log)
	s, c := balance.New(rdb, partitions), clock.System()
	return worker.Deps{
		Redis: rdb, Store: s, Ledger: l, Snapshots: admin.NewSnapshots(l, s, c), Clock: c, Log: log, Metrics: prometheus.NewRegistry(),
		Projector: reconcile.New(s, l, c, log, reconcile.Options{Buckets: 64}),
	}
}

// logged remembers which chores failed, and shows nothing: what is logged is of
// slots that move.
type logged struct {
	slog.Handler

	mu     sync.Mutex
	chores map[string]bool
}

func newLogged() *logged {
	return &logged{Handler: slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError + 4}), chores: map[string]bool{}}
}

// Enabled implements slog.Handler.
func (l *logged) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (l *logged) Handle(ctx context.Context, rec slog.Record) error {
	rec.Attrs(func(a slog.Attr) bool {
		if a.Key == "chore" {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.chores[a.Value.String()] = true
		}
		return true
	})
	if !l.Handler.Enabled(ctx, rec.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, rec)
}

// failed tells whether a chore did.
func (l *logged) failed(chore string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.chores[chore]
}

func (r *rig) fund(kind metering.TransferKind, account string, amount metering.Micros) {
	r.t.Helper()
	_, err := r.admin.Transfer(r.t.Context(), metering.Transfer{
		Ref: "fund-" + account, Kind: kind, AccountID: account, Amount: amount, Actor: admin.OperatorActor,
	})
	require.NoError(r.t, err)
}

// work runs a worker on connections of its own until the test ends, which wants
// it to end cleanly.
func (r *rig) work() {
	r.t.Helper()
	w, err := worker.New(r.connect(), worker.Options{
		ReconcileEvery: 5 * time.Second, Hooks: []metering.Hook{{URL: r.told.URL}},
	})
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			assert.NoError(r.t, err, "the worker's end")
		case <-time.After(60 * time.Second): // it says itself what it waits for, and sooner
			r.t.Error("the worker doesn't stop")
		}
	})
	select {
	case <-w.Ready():
	case err := <-ended:
		ended <- nil // for the end
		r.t.Fatalf("the worker ended: %v", err)
	case <-time.After(60 * time.Second):
		r.t.Fatal("the worker isn't ready")
	}
}

// sending is a channel service at work.
type sending struct {
	run  string
	done chan struct{}
	err  error
}

// send sends lines beside the caller until enough says so.
func (r *rig) send(run string, enough func() bool) *sending {
	r.t.Helper()
	rdb := r.nodes.client()
	c, err := jobs.NewClient(rdb, jobs.ClientOptions{Run: run, RecordsMax: 250})
	require.NoError(r.t, err)
	s := &sending{run: run, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for !enough() && s.err == nil {
			s.err = c.Add(r.t.Context(), []byte(r.traffic.next()))
		}
		if err := c.Close(r.t.Context()); s.err == nil {
			s.err = err
		}
	}()
	return s
}

// wait until all is sent and has its outcome.
func (r *rig) wait(s *sending, lines int64) balance.Counts {
	r.t.Helper()
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		r.t.Fatal("not every record could be sent")
	}
	require.NoError(r.t, s.err)
	var counts balance.Counts
	eventually(r.t, "every line has its outcome", 2*time.Minute, func() bool {
		var err error
		counts, err = r.Store.RunCounts(r.t.Context(), s.run)
		return err == nil && counts.Sum() >= lines
	})
	assert.Equal(r.t, lines, counts.Sum())
	assert.Zero(r.t, counts.Quarantined)
	assert.Zero(r.t, counts.Waiting)
	return counts
}

// receiver is a webhook.
type receiver struct {
	*httptest.Server

	mu   sync.Mutex
	seen map[string]int // "type account"
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	rc := &receiver{seen: map[string]int{}}
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var m struct {
			Type string `json:"type"`
			Data struct {
				AccountID string `json:"account_id"`
			} `json:"data"`
		}
		if err := json.NewDecoder(req.Body).Decode(&m); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		rc.mu.Lock()
		defer rc.mu.Unlock()
		rc.seen[m.Type+" "+m.Data.AccountID]++
	}))
	t.Cleanup(rc.Close)
	return rc
}

// heard of an event of an account.
func (rc *receiver) heard(event, account string) bool {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.seen[event+" "+account] > 0
}

// left are tasks in any queue, in whatever state, open answers and facts.
func (r *rig) left() string {
	ctx := r.t.Context()
	var out []string
	note := func(what string, n int64, err error) {
		if err != nil || n > 0 {
			out = append(out, fmt.Sprint(what, ": ", n, " ", err))
		}
	}
	for _, q := range append(wire.IngestQueues(wire.IngestShards), wire.QueueRefunds, wire.QueueSuspensions, wire.QueueReports) {
		prefix := "asynq:{" + q + "}:"
		for _, state := range []string{"pending", "active"} {
			n, err := r.Redis.LLen(ctx, prefix+state).Result()
			note(q+" "+state, n, err)
		}
		for _, state := range []string{"scheduled", "retry", "archived", "lease"} {
			n, err := r.Redis.ZCard(ctx, prefix+state).Result()
			note(q+" "+state, n, err)
		}
	}
	for p := range partitions {
		open, err := r.Store.OpenAnswers(ctx, p, 0)
		note(fmt.Sprint("answers open in ", p), int64(len(open)), err)
		facts, err := r.Store.Facts(ctx, p, 1)
		note(fmt.Sprint("facts in ", p), int64(len(facts)), err)
	}
	return strings.Join(out, ", ")
}
