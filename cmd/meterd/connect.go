package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/doctor"
	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/internal/quietlog"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
)

// engineOptions are fixed when a projection is made.
type engineOptions struct {
	Window  time.Duration `name:"dedup-window" help:"How long a message id stays hot in Redis; older records are looked up in ClickHouse. Longer: more memory." default:"24h" env:"METERD_DEDUP_WINDOW"`
	Buckets int           `name:"dedup-buckets" help:"Dedup sets of a generation; each should hold fewer than Redis's set-max-intset-entries. Fixed when a projection is made." default:"1024" env:"METERD_DEDUP_BUCKETS"`
}

// engines are a command's connections.
type engines struct {
	redis     redis.UniversalClient
	store     *balance.Store
	ledger    *ledger.Ledger
	snapshots *admin.Snapshots
	projector *reconcile.Projector
	admin     *admin.Service
	clock     clock.Clock
	log       *slog.Logger
	info      embedded.RunInfo
}

// awayError: an engine can't be used. It is shown with the reason, and with
// where its address comes from.
type awayError struct {
	engine, flag, address string
	err                   error
}

// Error implements error.
func (e *awayError) Error() string {
	return fmt.Sprintf("%s at %s can't be used: %v: %s", e.engine, e.address, doctor.Reason(e.err), doctor.TodoOfAway(e.err, e.flag))
}

// Unwrap gives the cause.
func (e *awayError) Unwrap() error { return e.err }

// refused tells whether waiting doesn't help.
func (e *awayError) refused() bool { return errors.Is(doctor.Reason(e.err), doctor.ErrPassword) }

// logger writes structured lines to the error stream.
func (a *app) logger(w io.Writer, fallback slog.Level) *slog.Logger {
	level := fallback
	if a.LogLevel != "info" {
		_ = level.UnmarshalText([]byte(a.LogLevel)) // an enum
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// quietLogger is logger for what runs for long: lines that say the same are summed up
// once a minute, unless all are asked for. flush writes what is held back, at the end.
func (a *app) quietLogger(w io.Writer) (_ *slog.Logger, flush func()) {
	log := a.logger(w, slog.LevelInfo)
	if log.Enabled(a.ctx, slog.LevelDebug) {
		return log, func() {}
	}
	h := quietlog.New(log.Handler(), quietlog.Options{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(a.ctx)) // a stop has lines of its own
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	return slog.New(h), func() {
		cancel()
		running.Wait()
	}
}

// addresses are those of the flags, or of the embedded system that runs on the
// data folder.
func (a *app) addresses() (embedded.RunInfo, error) {
	info := embedded.RunInfo{Redis: a.Redis, ClickHouse: a.ClickHouse, Database: a.Database}
	if a.Redis != "" && a.ClickHouse != "" {
		return info, nil
	}
	run, err := embedded.ReadRunFile(a.Data)
	if errors.Is(err, embedded.ErrIsBackup) {
		return info, err
	}
	if err != nil {
		servers := "servers with --redis and --clickhouse"
		switch {
		case a.Redis != "":
			servers = "the server of --clickhouse too: --redis is given"
		case a.ClickHouse != "":
			servers = "the server of --redis too: --clickhouse is given"
		}
		return info, fmt.Errorf("%w: start it with `meterd up --data %s`, or name %s", err, a.Data, servers)
	}
	if a.Redis == "" {
		info.Redis, info.RedisPassword = run.Redis, run.RedisPassword
	}
	if a.ClickHouse == "" {
		info.ClickHouse, info.ClickHousePassword, info.Database = run.ClickHouse, run.ClickHousePassword, run.Database
	}
	info.HTTP = run.HTTP
	return info, nil
}

// openRedis makes a client of an address: host:port, or a URL with a user, a
// password or, as rediss, with TLS. Where several hosts stand there, separated by
// commas, they are nodes of a cluster.
func openRedis(address, password string, pool int) (redis.UniversalClient, error) {
	const dial = 3 * time.Second
	if strings.Contains(address, "@") && !strings.Contains(address, "://") {
		return nil, wrongInput("--redis: an address with a user or a password is redis://user:password@host:port") // errors of the network would repeat it
	}
	before, nodes := clusterNodes(address)
	if len(nodes) > 1 {
		address = before + nodes[0]
	}
	opts := &redis.Options{Addr: address}
	if strings.Contains(address, "://") {
		var err error
		if opts, err = redis.ParseURL(address); err != nil {
			return nil, wrongInput("--redis: want host:port or redis://user:password@host:port/0")
		}
	}
	if opts.Password == "" {
		opts.Password = password
	}
	if len(nodes) == 1 {
		opts.DialTimeout, opts.PoolSize = dial, pool
		return redis.NewClient(opts), nil
	}
	for _, n := range nodes {
		if _, _, err := net.SplitHostPort(n); err != nil || strings.ContainsAny(n, "/?") || before != "" && !strings.Contains(before, "://") {
			return nil, wrongInput("--redis: the nodes of a cluster are host:port, separated by commas, or redis://user:password@host:port,host:port; it has no numbered databases")
		}
	}
	if opts.TLSConfig != nil {
		opts.TLSConfig.ServerName = "" // each node's own, not that of the first
	}
	return redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: nodes, Username: opts.Username, Password: opts.Password, TLSConfig: opts.TLSConfig, DialTimeout: dial, PoolSize: pool,
	}), nil
}

// clusterNodes are the hosts of an address, and what stands before them: scheme,
// user and password, which may hold commas too.
func clusterNodes(address string) (before string, nodes []string) {
	at := strings.LastIndexByte(address, '@') + 1
	if scheme, _, ok := strings.Cut(address, "://"); ok {
		at = max(at, len(scheme)+len("://"))
	}
	return address[:at], strings.Split(address[at:], ",")
}

// redisPool bounds a process's connections, beside those in which it waits for each
// ingest queue and each partition's outbox.
const redisPool = 96

// open connects to both engines; close ends the connections.
func (a *app) open(log *slog.Logger, durable bool) (*engines, func(), error) {
	info, err := a.addresses()
	if err != nil {
		return nil, nil, err
	}
	return a.openAt(info, nil, log, durable)
}

// openAt connects to engines at addresses, to ClickHouse by a transport if one
// is given.
func (a *app) openAt(info embedded.RunInfo, inside http.RoundTripper, log *slog.Logger, durable bool) (*engines, func(), error) {
	rdb, err := openRedis(info.Redis, info.RedisPassword, redisPool+a.Shards+a.Partitions)
	if err != nil {
		return nil, nil, err
	}
	l, err := ledger.Open(ledger.Options{
		URL: info.ClickHouse, Password: info.ClickHousePassword, Database: info.Database, Transport: inside,
	})
	if err != nil {
		return nil, nil, errors.Join(&inputError{err: err}, rdb.Close())
	}
	c := clock.System()
	e := &engines{redis: rdb, store: balance.New(rdb, a.Partitions), ledger: l, clock: c, log: log, info: info}
	e.snapshots = admin.NewSnapshots(l, e.store, c)
	e.projector = reconcile.New(e.store, l, c, log, reconcile.Options{Window: a.Window, Buckets: a.Buckets, Durable: durable})
	e.admin = admin.NewService(l, e.store, e.snapshots, c, e.projector.Ensure)
	return e, func() {
		if err := errors.Join(l.Close(), rdb.Close()); err != nil {
			log.WarnContext(a.ctx, "not closed", slog.Any("error", err))
		}
	}, nil
}

// pingMax is how long an engine may take to say that it is there.
const pingMax = 5 * time.Second

// ping makes sure that both engines answer.
func (e *engines) ping(ctx context.Context) error {
	if err := pingRedis(ctx, e.redis, &e.info); err != nil {
		return err
	}
	return e.pingLedger(ctx)
}

// pingLedger makes sure that ClickHouse answers.
func (e *engines) pingLedger(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingMax)
	defer cancel()
	if err := e.ledger.Ping(ctx); err != nil {
		return &awayError{"clickhouse", "--clickhouse", hideSecret(e.info.ClickHouse), err}
	}
	return nil
}

// pingRedis makes sure that Redis answers.
func pingRedis(ctx context.Context, rdb redis.UniversalClient, info *embedded.RunInfo) error {
	ctx, cancel := context.WithTimeout(ctx, pingMax)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		return &awayError{"redis", "--redis", hideSecret(info.Redis), err}
	}
	return nil
}

// connect opens the engines for a short command and reads the snapshot.
func (a *app) connect() (*engines, func(), error) {
	e, done, err := a.open(a.logger(a.err, slog.LevelWarn), a.Redis == "")
	if err != nil {
		return nil, nil, err
	}
	if err := e.ping(a.ctx); err != nil {
		done()
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(a.ctx, 30*time.Second)
	defer cancel()
	if _, err := e.ledger.Migrate(ctx); err != nil {
		done()
		return nil, nil, err
	}
	if err := e.projector.Identify(ctx); err != nil {
		done()
		return nil, nil, err
	}
	if _, err := e.snapshots.Refresh(ctx); err != nil {
		done()
		return nil, nil, err
	}
	return e, done, nil
}

// connectToChange is connect for a command that changes the ledger, or what the
// queues hold for it, without a look at the projection.
func (a *app) connectToChange() (*engines, func(), error) {
	e, done, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	if err := e.store.Fits(a.ctx); err != nil {
		done()
		return nil, nil, err
	}
	return e, done, nil
}

// view is what --as may see of target.
func (e *engines) view(as, target string) (metering.Audience, *metering.Account, error) {
	return e.snapshots.Current().View(as, target)
}

// parent refuses what isn't a parent's id; "" is none. It is for the operator, who may
// know whose sub-account it is.
func (e *engines) parent(id string) error {
	switch a := e.snapshots.Current().Accounts[id]; {
	case id == "":
		return nil
	case a == nil:
		return metering.ErrUnknownAccount
	case !a.IsParent():
		return wrongInput("--parent: %s is a sub-account of %s: give --parent %s", id, a.ParentID, a.ParentID)
	}
	return nil
}

// one is view for a command about one account, which must be named.
func (e *engines) one(as, target string) (metering.Audience, *metering.Account, error) {
	if target == "" {
		return "", nil, metering.ErrUnknownAccount
	}
	return e.view(as, target)
}
