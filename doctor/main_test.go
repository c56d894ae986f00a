package doctor_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/doctor"
	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/schematest"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/worker"
)

func TestMain(m *testing.M) { testengine.Main(m) }

const accounts = `
plans:
  - {id: flat, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.01"}]}]}
parents:
  - {id: acme, module: enterprise, timezone: UTC, plan: flat, funding: {mode: prepaid}}
`

// patient is a system under the doctor's eyes: engines of its own, seen through
// doors that a test may put something in between.
type patient struct {
	doctor.System

	engines *testengine.Engines
	rdb     *redis.Client // past the doors
	admin   *admin.Service
	door    *door
	hook    *hook
	deps    worker.Deps
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	e := testengine.Start(t)
	schematest.Make(t, e)
	p := &patient{engines: e, rdb: e.Redis(t), door: &door{}, hook: &hook{}}
	seen := e.Redis(t)
	seen.AddHook(p.hook)
	l := p.ledger(t, p.door)
	p.System = doctor.System{Redis: seen, Store: balance.New(seen, 1), Ledger: l, RedisName: "redis here", LedgerName: "clickhouse here"}

	own, c := p.ledger(t, nil), clock.System()
	log := slog.New(slog.DiscardHandler)
	store := balance.New(p.rdb, 1)
	p.deps = worker.Deps{
		Redis: p.rdb, Store: store, Ledger: own, Snapshots: admin.NewSnapshots(own, store, c), Clock: c, Log: log, Metrics: prometheus.NewRegistry(),
		Projector: reconcile.New(store, own, c, log, reconcile.Options{Durable: true, Buckets: 16}),
	}
	p.admin = admin.NewService(own, store, p.deps.Snapshots, c, p.deps.Projector.Ensure)
	return p
}

func (p *patient) ledger(t *testing.T, through http.RoundTripper) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(ledger.Options{URL: p.engines.ClickHouseURL, Password: p.engines.ClickHousePassword, Database: p.engines.Database, Transport: through})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// work starts a worker, until the test ends or it is stopped.
func (p *patient) work(t *testing.T, roles ...string) (stop func()) {
	t.Helper()
	d := p.deps
	d.Metrics = prometheus.NewRegistry()
	w, err := worker.New(d, worker.Options{Roles: roles})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	t.Cleanup(stop)
	select {
	case <-w.Ready():
	case <-time.After(time.Minute):
		t.Fatal("the worker isn't ready")
	}
	return stop
}

func (p *patient) apply(t *testing.T, text string) {
	t.Helper()
	f, err := admin.ParseAccountsFile("accounts.yaml", []byte(text))
	require.NoError(t, err)
	_, err = p.admin.Apply(t.Context(), f, false)
	require.NoError(t, err)
}

// failed are the checks that aren't OK: name → detail.
func (p *patient) failed(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, c := range p.All(t.Context()) {
		require.NotEmpty(t, c.Name)
		if !c.OK {
			require.NotEmpty(t, c.Detail, c.Name)
			out[c.Name] = c.Detail
		}
	}
	return out
}

// door is what the doctor asks ClickHouse through.
type door struct {
	mu   sync.Mutex
	ask  func(query string) string // rewrites it
	hang bool
	err  error
}

func (d *door) set(f func(d *door)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ask, d.hang, d.err = nil, false, nil
	if f != nil {
		f(d)
	}
}

// RoundTrip implements http.RoundTripper.
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	ask, hang, err := d.ask, d.hang, d.err
	d.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	if ask != nil && r.Body != nil {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		text = []byte(ask(string(text)))
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		r.GetBody = nil
	}
	return http.DefaultTransport.RoundTrip(r)
}

// instead asks something else of ClickHouse where a query has a text.
func instead(old, other string) func(d *door) {
	return func(d *door) {
		d.ask = func(query string) string { return strings.ReplaceAll(query, old, other) }
	}
}

// hook is what the doctor asks Redis through.
type hook struct {
	mu    sync.Mutex
	after func(cmd redis.Cmder)
}

func (h *hook) set(f func(cmd redis.Cmder)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.after = f
}

// DialHook implements redis.Hook, as do the others.
func (h *hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.after != nil && err == nil {
			h.after(cmd)
		}
		return err
	}
}

func (h *hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
