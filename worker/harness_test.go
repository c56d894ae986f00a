package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/schematest"
	"github.com/meterd/meterd/metering/reconcile"
)

// price of a message in micro-units, by the accounts below.
const price = 10_000

const testAccounts = `
plans:
  - id: flat
    currency: EUR
    versions:
      - effective_from: 2020-01-01T00:00:00Z
        rules: [{channel: sms, unit: segment, price: "0.01"}]
parents:
  - id: acme
    module: enterprise
    timezone: Europe/Rome
    plan: flat
    funding: {mode: prepaid}
    sub_accounts:
      - {id: acme-own, channels: [sms], funding: {source: allocated}}
      - {id: acme-shared, channels: [sms], funding: {source: shared, monthly_limit: "0.05"}}
  - id: globex
    module: reseller
    timezone: Asia/Kathmandu
    plan: flat
    funding: {mode: postpaid}
    sub_accounts:
      - {id: globex-shop, channels: [sms]}
`

// address of the engines, as a worker of another process is told.
type address struct {
	Redis, RedisPassword, ClickHouse, ClickHousePassword, Database string
	Point                                                          string // at which it dies
	Nth                                                            int
	Partitions                                                     int // 0: one
}

// connect opens everything that a worker needs.
func connect(tb testing.TB, a address) (Deps, *admin.Service) {
	tb.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: a.Redis, Password: a.RedisPassword, PoolSize: 64})
	tb.Cleanup(func() { _ = rdb.Close() })
	l, err := ledger.Open(ledger.Options{URL: a.ClickHouse, Password: a.ClickHousePassword, Database: a.Database})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	s := balance.New(rdb, max(a.Partitions, 1))
	c := clock.System()
	d := Deps{
		Redis: rdb, Store: s, Ledger: l, Snapshots: admin.NewSnapshots(l, s, c), Clock: c, Log: log, Metrics: prometheus.NewRegistry(),
		Projector: reconcile.New(s, l, c, log, reconcile.Options{Durable: true, Buckets: 16}),
	}
	return d, admin.NewService(l, s, d.Snapshots, c, d.Projector.Ensure)
}

// harness is engines of a test's own, with the accounts above.
type harness struct {
	Deps

	tb      testing.TB
	engines *testengine.Engines
	admin   *admin.Service
	tasks   int

	partitions int
	statusWait time.Duration // shorter than a worker's option may be; 0: as that is
}

func newHarness(tb testing.TB) *harness {
	tb.Helper()
	return newHarnessOf(tb, 1)
}

// newHarnessOf so many partitions.
func newHarnessOf(tb testing.TB, partitions int) *harness {
	tb.Helper()
	h := &harness{tb: tb, engines: testengine.Start(tb), partitions: partitions}
	schematest.Make(tb, h.engines)
	h.Deps, h.admin = connect(tb, h.address())
	h.apply(testAccounts)
	return h
}

func (h *harness) address() address {
	e := h.engines
	return address{
		Redis: e.RedisAddr, RedisPassword: e.RedisPassword, Database: e.Database, Partitions: h.partitions,
		ClickHouse: e.ClickHouseAddress(), ClickHousePassword: e.ClickHousePassword,
	}
}

func (h *harness) apply(text string) {
	h.tb.Helper()
	file, err := admin.ParseAccountsFile("accounts.yaml", []byte(text))
	require.NoError(h.tb, err)
	_, err = h.admin.Apply(h.tb.Context(), file, false)
	require.NoError(h.tb, err)
}

// runWriter runs an engine's writer until the test ends.
func runWriter(tb testing.TB, e *engine) {
	tb.Helper()
	var writer sync.WaitGroup
	writer.Go(func() { _ = e.writer.Run(tb.Context()) })
	tb.Cleanup(writer.Wait)
}

// byHand is a worker that nothing runs: a test calls its parts.
func (h *harness) byHand() *Worker {
	h.tb.Helper()
	d, _ := connect(h.tb, h.address())
	return h.byHandWith(d)
}

func (h *harness) byHandWith(d Deps) *Worker {
	h.tb.Helper()
	w, err := New(d, Options{})
	require.NoError(h.tb, err)
	_, err = d.Snapshots.Refresh(h.tb.Context())
	require.NoError(h.tb, err)
	return w
}

// work runs a worker until stop is called, which wants it to end cleanly.
func (h *harness) work(o Options) (stop func()) {
	h.tb.Helper()
	d, _ := connect(h.tb, h.address())
	return h.workWith(d, o)
}

// knowsAccounts waits until the harness has read them too.
func (h *harness) knowsAccounts() {
	h.tb.Helper()
	require.Eventually(h.tb, func() bool { return h.Snapshots.Current().Catalog > 0 }, 10*time.Second, 10*time.Millisecond)
}

// saveAccount stores an account behind the commands' backs. A worker may take the
// catalog's next number for itself meanwhile.
func (h *harness) saveAccount(a *metering.Account) {
	h.tb.Helper()
	require.Eventually(h.tb, func() bool {
		number, err := h.Ledger.CatalogNumber(h.tb.Context())
		require.NoError(h.tb, err)
		a.Catalog = number + 1
		err = h.Ledger.SaveCatalog(h.tb.Context(), number+1, []*metering.Account{a}, nil, time.Now())
		if !errors.Is(err, ledger.ErrNumberTaken) {
			require.NoError(h.tb, err)
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
}

// workWith runs a worker on connections that the caller made.
func (h *harness) workWith(d Deps, o Options) (stop func()) {
	h.tb.Helper()
	o.Alone = true
	w, err := New(d, o)
	require.NoError(h.tb, err)
	if h.statusWait > 0 {
		w.opts.StatusWaitMax = h.statusWait
	}
	ctx, cancel := context.WithCancel(h.tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		h.tb.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			assert.NoError(h.tb, err)
		case <-time.After(stopMax + 5*time.Second): // it says itself what it waits for
			h.tb.Fatal("the worker doesn't stop")
		}
	}
	select {
	case <-w.Ready():
	case err := <-ended:
		h.tb.Fatalf("the worker ended: %v", err)
	case <-time.After(30 * time.Second):
		h.tb.Fatal("the worker isn't ready")
	}
	h.tb.Cleanup(stop)
	return stop
}

// batch is a run of tasks whose outcome is waited for.
type batch struct {
	h     *harness
	run   string
	lines int64
}

func (h *harness) batch() *batch { return &batch{h: h, run: "run-" + uuid.NewString()} }

// task enqueues one task of exactly these lines.
func (b *batch) task(lines ...string) *batch {
	b.h.tb.Helper()
	codec, err := wire.NewCodec()
	require.NoError(b.h.tb, err)
	raw := make([][]byte, len(lines))
	for i, l := range lines {
		raw[i] = []byte(l)
	}
	b.h.tasks++
	b.lines += int64(len(lines))
	id := fmt.Sprintf("%s.%d", b.run, b.h.tasks)
	queue := asynq.NewClientFromRedisClient(b.h.Redis)
	_, err = queue.EnqueueContext(b.h.tb.Context(), asynq.NewTask(wire.TypeIngest, codec.Encode(raw)), wire.TaskOptions(id, wire.IngestQueue(wire.ShardOf(id, wire.IngestShards)))...)
	require.NoError(b.h.tb, err)
	return b
}

// wait until every line has its outcome.
func (b *batch) wait() balance.Counts {
	b.h.tb.Helper()
	var c balance.Counts
	b.h.eventually("every line has its outcome", func() bool {
		var err error
		c, err = b.h.Store.RunCounts(b.h.tb.Context(), b.run)
		require.NoError(b.h.tb, err)
		return c.Sum() >= b.lines
	})
	require.Equal(b.h.tb, b.lines, c.Sum())
	return c
}

// eventually polls until ok says so.
func (h *harness) eventually(what string, ok func() bool) {
	h.tb.Helper()
	if !testengine.Until(40*time.Second, ok) {
		h.tb.Fatalf("not in time: %s", what)
	}
}

// message is a line of one segment that cost price.
func message(account, id string, ago time.Duration) string {
	return line(account, id, ago, "")
}

// line with more fields.
func line(account, id string, ago time.Duration, more string) string {
	at := time.Now().Add(-ago).UTC().Format(time.RFC3339Nano)
	return fmt.Sprintf(`{"id":%q,"account_id":%q,"channel":"sms","occurred_at":%q%s}`, id, account, at, more)
}

// refundLine gives a message back.
func refundLine(account, id string) string {
	return line(account, "refund-"+id, 0, fmt.Sprintf(`,"kind":"refund","refers_to":%q`, id))
}

// rows of the ledger: usage less refunds.
type rows struct {
	Usage, Refunds, Identities int64
	Net                        metering.Micros
}

func (h *harness) rows(account string) rows {
	h.tb.Helper()
	var r rows
	var usage, refunds, identities uint64
	var net int64
	row := h.engines.ClickHouse(h.tb).QueryRow(h.tb.Context(), `SELECT countIf(kind = 'usage'), countIf(kind = 'refund'),
		uniqExact(kind, id), toInt64(sum(if(kind = 'refund', -amount, amount)) * 1000000) FROM records FINAL WHERE account_id = '`+account+`'`)
	require.NoError(h.tb, row.Scan(&usage, &refunds, &identities, &net))
	r.Usage, r.Refunds, r.Identities = int64(usage), int64(refunds), int64(identities)
	r.Net = metering.Micros(net)
	return r
}

// used is what the projection holds of an account, all months.
func (h *harness) used(account string) metering.Micros {
	h.tb.Helper()
	st, err := h.Store.State(h.tb.Context(), account)
	require.NoError(h.tb, err)
	var sum metering.Micros
	for _, v := range st.Used {
		sum += v
	}
	return sum
}

// charged wants so many messages of an account, once each, in the ledger and
// in the projection.
func (h *harness) charged(account string, messages int64) {
	h.tb.Helper()
	assert.Equal(h.tb, rows{Usage: messages, Identities: messages, Net: metering.Micros(messages * price)}, h.rows(account), "rows of %s", account)
	assert.Equal(h.tb, metering.Micros(messages*price), h.used(account), "projection of %s", account)
}

// reconcile compares projection and ledger, and returns how much had drifted.
func (h *harness) reconcile() int {
	h.tb.Helper()
	_, err := h.Snapshots.Refresh(h.tb.Context())
	require.NoError(h.tb, err)
	_, err = h.Projector.Ensure(h.tb.Context(), 0)
	require.NoError(h.tb, err)
	var res reconcile.Result
	h.eventually("open answers settle", func() bool {
		res, err = reconcile.NewReconciler(h.Projector, h.Log).Run(h.tb.Context(), h.Snapshots.Current())
		return !errors.Is(err, reconcile.ErrBusy)
	})
	require.NoError(h.tb, err)
	return res.Drifted
}

// reasons of the open quarantine entries of one record.
func (h *harness) reasons(account, id string) []metering.Reason {
	h.tb.Helper()
	var out []metering.Reason
	require.NoError(h.tb, h.Ledger.Quarantined(h.tb.Context(), ledger.QuarantineFilter{State: ledger.QuarantineOpen, Accounts: []string{account}, RecordID: id}, func(e *ledger.Entry) error {
		out = append(out, e.Reason)
		return nil
	}))
	return out
}

func (a address) String() string {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	return string(b)
}
