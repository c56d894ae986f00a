package workertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
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

// Price of a message in micro-units, by the accounts below.
const Price = 10_000

// Accounts of a rig until others are applied.
const Accounts = `
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

// Deps are what works with the engines: of the same shape as worker.Deps.
type Deps struct {
	Redis     redis.UniversalClient
	Store     *balance.Store
	Ledger    *ledger.Ledger
	Snapshots *admin.Snapshots
	Projector *reconcile.Projector
	Clock     clock.Clock
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// Address of the engines, as a worker of another process is told.
type Address struct {
	Redis              string `json:"redis"`
	RedisPassword      string `json:"redis_password"`
	ClickHouse         string `json:"clickhouse"`
	ClickHousePassword string `json:"clickhouse_password"`
	Database           string `json:"database"`
	Point              string `json:"point"` // at which it dies
	Nth                int    `json:"nth"`
	Partitions         int    `json:"partitions"` // 0: one
}

// Connect opens everything that a worker needs.
func Connect(tb testing.TB, a Address) (Deps, *admin.Service) {
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

// Rig is engines of a test's own, with Accounts in them.
type Rig struct {
	Deps

	TB      testing.TB
	Engines *testengine.Engines
	Admin   *admin.Service

	partitions int
	tasks      int // that were enqueued
}

// New rig of so many partitions.
func New(tb testing.TB, partitions int) *Rig {
	tb.Helper()
	h := &Rig{TB: tb, Engines: testengine.Start(tb), partitions: partitions}
	schematest.Make(tb, h.Engines)
	h.Deps, h.Admin = Connect(tb, h.Address())
	h.Apply(Accounts)
	return h
}

// Address of its engines.
func (h *Rig) Address() Address {
	e := h.Engines
	return Address{
		Redis: e.RedisAddr, RedisPassword: e.RedisPassword, Database: e.Database, Partitions: h.partitions,
		ClickHouse: e.ClickHouseAddress(), ClickHousePassword: e.ClickHousePassword,
	}
}

// Repartition connects anew with another number of partitions.
func (h *Rig) Repartition(partitions int) {
	h.TB.Helper()
	h.partitions = partitions
	h.Deps, h.Admin = Connect(h.TB, h.Address())
}

// Apply an accounts file.
func (h *Rig) Apply(text string) {
	h.TB.Helper()
	file, err := admin.ParseAccountsFile("accounts.yaml", []byte(text))
	require.NoError(h.TB, err)
	_, err = h.Admin.Apply(h.TB.Context(), file, false)
	require.NoError(h.TB, err)
}

// KnowsAccounts waits until the Rig has read them too.
func (h *Rig) KnowsAccounts() {
	h.TB.Helper()
	require.Eventually(h.TB, func() bool { return h.Snapshots.Current().Catalog > 0 }, 10*time.Second, 10*time.Millisecond)
}

// SaveAccount stores an account behind the commands' backs. A worker may take the
// catalog's next number for itself meanwhile.
func (h *Rig) SaveAccount(a *metering.Account) {
	h.TB.Helper()
	require.Eventually(h.TB, func() bool {
		number, err := h.Ledger.CatalogNumber(h.TB.Context())
		require.NoError(h.TB, err)
		a.Catalog = number + 1
		err = h.Ledger.SaveCatalog(h.TB.Context(), number+1, []*metering.Account{a}, nil, clock.System().Now())
		if !errors.Is(err, ledger.ErrNumberTaken) {
			require.NoError(h.TB, err)
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
}

// Batch is a run of tasks whose outcome is waited for.
type Batch struct {
	h     *Rig
	Run   string
	Lines int64
}

// Batch begins a run.
func (h *Rig) Batch() *Batch { return &Batch{h: h, Run: "run-" + uuid.NewString()} }

// Task enqueues one task of exactly these lines.
func (b *Batch) Task(lines ...string) *Batch {
	b.h.TB.Helper()
	b.h.tasks++
	b.Lines += int64(len(lines))
	id := fmt.Sprintf("%s.%d", b.Run, b.h.tasks)
	queue := asynq.NewClientFromRedisClient(b.h.Redis)
	_, err := queue.EnqueueContext(b.h.TB.Context(), asynq.NewTask(wire.TypeIngest, Payload(b.h.TB, lines...)), wire.TaskOptions(id, wire.IngestQueue(wire.ShardOf(id, wire.IngestShards)))...)
	require.NoError(b.h.TB, err)
	return b
}

// Wait until every line has its outcome.
func (b *Batch) Wait() balance.Counts {
	b.h.TB.Helper()
	var c balance.Counts
	b.h.Eventually("every line has its outcome", func() bool {
		var err error
		c, err = b.h.Store.RunCounts(b.h.TB.Context(), b.Run)
		require.NoError(b.h.TB, err)
		return c.Sum() >= b.Lines
	})
	require.Equal(b.h.TB, b.Lines, c.Sum())
	return c
}

// Eventually polls until ok says so.
func (h *Rig) Eventually(what string, ok func() bool) {
	h.TB.Helper()
	if !testengine.Until(40*time.Second, ok) {
		h.TB.Fatalf("not in time: %s", what)
	}
}

// Message is a line of one segment that cost price.
func Message(account, id string, ago time.Duration) string {
	return Line(account, id, ago, "")
}

// Line with more fields.
func Line(account, id string, ago time.Duration, more string) string {
	at := clock.System().Now().Add(-ago).UTC().Format(time.RFC3339Nano)
	return fmt.Sprintf(`{"id":%q,"account_id":%q,"channel":"sms","occurred_at":%q%s}`, id, account, at, more)
}

// RefundLine gives a message back.
func RefundLine(account, id string) string {
	return Line(account, "refund-"+id, 0, fmt.Sprintf(`,"kind":"refund","refers_to":%q`, id))
}

// RowSums are of rows of the ledger: usage less refunds.
type RowSums struct {
	Usage, Refunds, Identities int64
	Net                        metering.Micros
}

// Rows of an account, as they stand.
func (h *Rig) Rows(account string) RowSums {
	h.TB.Helper()
	var r RowSums
	var usage, refunds, identities uint64
	var net int64
	row := h.Engines.ClickHouse(h.TB).QueryRow(h.TB.Context(), `SELECT countIf(kind = 'usage'), countIf(kind = 'refund'),
		uniqExact(kind, id), toInt64(sum(if(kind = 'refund', -amount, amount)) * 1000000) FROM records FINAL WHERE account_id = '`+account+`'`)
	require.NoError(h.TB, row.Scan(&usage, &refunds, &identities, &net))
	r.Usage, r.Refunds, r.Identities = int64(usage), int64(refunds), int64(identities)
	r.Net = metering.Micros(net)
	return r
}

// Used is what the projection holds of an account, all months.
func (h *Rig) Used(account string) metering.Micros {
	h.TB.Helper()
	st, err := h.Store.State(h.TB.Context(), account)
	require.NoError(h.TB, err)
	var sum metering.Micros
	for _, v := range st.Used {
		sum += v
	}
	return sum
}

// Charged wants so many messages of an account, once each, in the ledger and
// in the projection.
func (h *Rig) Charged(account string, messages int64) {
	h.TB.Helper()
	assert.Equal(h.TB, RowSums{Usage: messages, Identities: messages, Net: metering.Micros(messages * Price)}, h.Rows(account), "rows of %s", account)
	assert.Equal(h.TB, metering.Micros(messages*Price), h.Used(account), "projection of %s", account)
}

// Reconcile compares projection and ledger, and returns how much had drifted.
func (h *Rig) Reconcile() int {
	h.TB.Helper()
	_, err := h.Snapshots.Refresh(h.TB.Context())
	require.NoError(h.TB, err)
	_, err = h.Projector.Ensure(h.TB.Context(), 0)
	require.NoError(h.TB, err)
	var res reconcile.Result
	h.Eventually("open answers settle", func() bool {
		res, err = reconcile.NewReconciler(h.Projector, h.Log).Run(h.TB.Context(), h.Snapshots.Current())
		return !errors.Is(err, reconcile.ErrBusy)
	})
	require.NoError(h.TB, err)
	return res.Drifted
}

// Reasons of the open quarantine entries of one record.
func (h *Rig) Reasons(account, id string) []metering.Reason {
	h.TB.Helper()
	var out []metering.Reason
	require.NoError(h.TB, h.Ledger.Quarantined(h.TB.Context(), ledger.QuarantineFilter{State: ledger.QuarantineOpen, Accounts: []string{account}, RecordID: id}, func(e *ledger.Entry) error {
		out = append(out, e.Reason)
		return nil
	}))
	return out
}

func (a Address) String() string {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Forget drops the dedup sets, as time does.
func (h *Rig) Forget() {
	h.TB.Helper()
	keys, err := h.Redis.Keys(h.TB.Context(), "{p00}:d:*").Result()
	require.NoError(h.TB, err)
	require.NotEmpty(h.TB, keys)
	require.NoError(h.TB, h.Redis.Del(h.TB.Context(), keys...).Err())
	require.NoError(h.TB, h.Redis.HSet(h.TB.Context(), "{p00}:meta", "gen", 0).Err())
}

// Payload of a task of these lines.
func Payload(tb testing.TB, lines ...string) []byte {
	tb.Helper()
	codec, err := wire.NewCodec()
	require.NoError(tb, err)
	raw := make([][]byte, len(lines))
	for i, l := range lines {
		raw[i] = []byte(l)
	}
	return codec.Encode(raw)
}

// Waiting is how many jobs wait for their next try.
func (h *Rig) Waiting(queue string) int64 {
	h.TB.Helper()
	n, err := h.Redis.ZCard(h.TB.Context(), "asynq:{"+queue+"}:retry").Result()
	require.NoError(h.TB, err)
	return n
}
