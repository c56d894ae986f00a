package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/worker"
)

// address is all that a worker is told, in this process or in one of its own.
type address struct {
	Redis, RedisPassword                         string
	ClickHouse, ClickHousePassword, ClickHouseDB string

	Durable bool          // Redis can't lose an answered write
	Alone   bool          // no other worker can hold tasks
	Clock   time.Duration // how far its clock is off
	Die     string        // the point at which it is killed
	Nth     int           // the how manyth time
	Death   *death        // the statement at which it is killed
	Keep    admin.Retention
}

// skewed is a clock that is wrong by a fixed time.
type skewed struct {
	clock.Clock

	off time.Duration
}

func (s skewed) Now() time.Time { return s.Clock.Now().Add(s.off) }

// system is everything that a worker or a test needs of the engines.
type system struct {
	worker.Deps

	admin *admin.Service
	redis *redis.Client
}

func (s *system) close() {
	_ = s.redis.Close()
	_ = s.Ledger.Close()
}

func (a address) open(level slog.Level) (*system, error) {
	rdb := redis.NewClient(&redis.Options{Addr: a.Redis, Password: a.RedisPassword, PoolSize: 64, DialTimeout: 3 * time.Second})
	o := ledger.Options{URL: a.ClickHouse, Password: a.ClickHousePassword, Database: a.ClickHouseDB}
	if a.Death != nil {
		o.Transport = dying{*a.Death, http.DefaultTransport}
	}
	l, err := ledger.Open(o)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	store := balance.New(rdb, 1)
	clk := skewed{clock.System(), a.Clock}
	snapshots := admin.NewSnapshots(l, store, clk)
	projector := reconcile.New(store, l, clk, log, reconcile.Options{Durable: a.Durable})
	return &system{
		redis: rdb,
		Deps: worker.Deps{
			Redis: rdb, Store: store, Ledger: l, Snapshots: snapshots, Projector: projector,
			Clock: clk, Log: log, Metrics: prometheus.NewRegistry(),
		},
		admin: admin.NewService(l, store, snapshots, clk, projector.Ensure),
	}, nil
}

func (a address) options() worker.Options {
	return worker.Options{Alone: a.Alone, ReconcileEvery: pick(3*time.Second, time.Second), Retention: a.Keep}
}

// workerEnv makes a process of the test binary a worker.
const workerEnv = "METERD_FAULTS_WORKER"

// serve is the whole life of such a process.
func serve(text string) error {
	var a address
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return err
	}
	s, err := a.open(slog.LevelError)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o := a.options()
	var passed atomic.Int64
	o.Crash = func(point string) {
		if point == a.Die && passed.Add(1) == int64(a.Nth) {
			die()
		}
	}
	w, err := worker.New(s.Deps, o)
	if err != nil {
		return err
	}
	go func() { // ends with the process
		<-w.Ready()
		fmt.Println("ready")
	}()
	return w.Run(ctx)
}

func (a address) String() string {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	return string(b)
}
