// Package testengine gives tests the real engines: one embedded ClickHouse for
// the test process, with a database of its own for each test, and a
// redis-server of its own for each test. It never skips: an engine that is
// missing fails the test.
//
// METERD_TEST_CLICKHOUSE (http://user:password@host:port) and METERD_TEST_REDIS
// (redis://:password@host:port) name real servers to use instead. That Redis
// is emptied before each test, and the tests that use it run one at a time.
package testengine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/embedded"
)

// Engines is what one test works with.
type Engines struct {
	RedisAddr     string // host:port
	RedisPassword string

	ClickHouseURL      string // http://host:port
	ClickHouseUser     string
	ClickHousePassword string
	Database           string // of this test alone

	redisDir string
	redis    *embedded.Redis
}

// Start gives tb its own database and its own Redis, and takes both away when
// tb ends.
func Start(tb testing.TB) *Engines {
	tb.Helper()
	e := StartClickHouse(tb)
	e.startRedis(tb)
	return e
}

// StartClickHouse gives tb its own database and no Redis.
func StartClickHouse(tb testing.TB) *Engines {
	tb.Helper()
	Bound(tb, testMax)
	e := &Engines{Database: "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")}
	if external := os.Getenv("METERD_TEST_CLICKHOUSE"); external != "" {
		e.useClickHouse(tb, external)
	} else {
		server, err := shared.start()
		if err != nil {
			tb.Fatalf("start the embedded ClickHouse: %v", err)
		}
		e.ClickHouseURL = server.url
		e.ClickHouseUser, e.ClickHousePassword = server.engine.User(), server.engine.Password()
	}
	Log(tb, "ClickHouse: what runs", e.statements)
	admin := e.open(tb, "default")
	if err := admin.Exec(tb.Context(), "CREATE DATABASE "+e.Database); err != nil {
		tb.Fatalf("create database %s: %v", e.Database, err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := admin.Exec(ctx, "DROP DATABASE IF EXISTS "+e.Database); err != nil {
			tb.Errorf("drop database %s: %v", e.Database, err)
		}
		_ = admin.Close()
	})
	return e
}

// Embedded is the shared embedded ClickHouse, for tests of what only it has.
func Embedded(tb testing.TB) *embedded.ClickHouse {
	tb.Helper()
	Bound(tb, testMax)
	server, err := shared.start()
	if err != nil {
		tb.Fatalf("start the embedded ClickHouse: %v", err)
	}
	return server.engine
}

// StartRedis gives tb its own Redis and no ClickHouse.
func StartRedis(tb testing.TB) *Engines {
	tb.Helper()
	e := &Engines{}
	e.startRedis(tb)
	return e
}

// ClickHouse opens a client on the test's database; it is closed when tb ends.
func (e *Engines) ClickHouse(tb testing.TB) driver.Conn {
	tb.Helper()
	conn := e.open(tb, e.Database)
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ClickHouseOptions are the options of a client on the test's database.
func (e *Engines) ClickHouseOptions(tb testing.TB) *clickhouse.Options {
	tb.Helper()
	u, err := url.Parse(e.ClickHouseURL)
	if err != nil {
		tb.Fatalf("ClickHouse's URL %s: %v", e.ClickHouseURL, err)
	}
	return &clickhouse.Options{
		Protocol:     clickhouse.HTTP,
		Addr:         []string{u.Host},
		Auth:         clickhouse.Auth{Database: e.Database, Username: e.ClickHouseUser, Password: e.ClickHousePassword},
		MaxOpenConns: 16,
		MaxIdleConns: 16,
		DialTimeout:  10 * time.Second,
		ReadTimeout:  time.Minute,
	}
}

// ClickHouseAddress is the server's URL with its user, as the ledger's options take it.
func (e *Engines) ClickHouseAddress() string {
	return strings.Replace(e.ClickHouseURL, "://", "://"+e.ClickHouseUser+"@", 1)
}

func (e *Engines) open(tb testing.TB, database string) driver.Conn {
	tb.Helper()
	options := e.ClickHouseOptions(tb)
	options.Auth.Database = database
	conn, err := clickhouse.Open(options)
	if err != nil {
		tb.Fatalf("open a ClickHouse client: %v", err)
	}
	return conn
}

func (e *Engines) useClickHouse(tb testing.TB, external string) {
	tb.Helper()
	u, err := url.Parse(external)
	if err != nil {
		tb.Fatal("METERD_TEST_CLICKHOUSE is no URL like http://user:password@host:port")
	}
	e.ClickHouseUser = "default"
	if u.User != nil {
		e.ClickHouseUser = u.User.Username()
		e.ClickHousePassword, _ = u.User.Password()
	}
	e.ClickHouseURL = u.Scheme + "://" + u.Host
}

// Redis opens a client on the test's Redis; it is closed when tb ends.
func (e *Engines) Redis(tb testing.TB) *redis.Client {
	tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: e.RedisAddr, Password: e.RedisPassword})
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// externalRedis is held by the test that uses the one external Redis.
var externalRedis sync.Mutex //nolint:gochecknoglobals // one server, shared by all tests of the process

func (e *Engines) startRedis(tb testing.TB) {
	tb.Helper()
	Bound(tb, testMax)
	if external := os.Getenv("METERD_TEST_REDIS"); external != "" {
		options, err := redis.ParseURL(external)
		if err != nil {
			tb.Fatal("METERD_TEST_REDIS is no URL like redis://:password@host:port")
		}
		externalRedis.Lock()
		tb.Cleanup(externalRedis.Unlock)
		e.RedisAddr, e.RedisPassword = options.Addr, options.Password
		if err := e.Redis(tb).FlushAll(tb.Context()).Err(); err != nil {
			tb.Fatalf("empty the external Redis: %v", err)
		}
		return
	}
	e.redisDir = tb.TempDir()
	Log(tb, "redis.log", fileLog(e.redisDir, "redis.log"))
	e.launchRedis(tb, embedded.RedisOptions{})
	tb.Cleanup(func() { e.StopRedis(tb) })
}

func (e *Engines) launchRedis(tb testing.TB, options embedded.RedisOptions) {
	tb.Helper()
	server, err := embedded.StartRedis(context.Background(), e.redisDir, options)
	if err != nil {
		tb.Fatalf("start redis-server: %v", err)
	}
	e.redis, e.RedisAddr, e.RedisPassword = server, server.Addr(), server.Password()
}

// StopRedis stops the test's Redis cleanly; its data stay for RestartRedis.
func (e *Engines) StopRedis(tb testing.TB) {
	tb.Helper()
	if e.redis == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := e.redis.Stop(ctx); err != nil {
		tb.Errorf("stop redis-server: %v", err)
	}
	e.redis = nil
}

// RestartRedis stops the test's Redis, if it runs, and starts it again on its
// data, with the same address and secret. Clients find it again by themselves.
func (e *Engines) RestartRedis(tb testing.TB) {
	tb.Helper()
	if e.redisDir == "" {
		tb.Fatal("RestartRedis needs a Redis of the test's own: unset METERD_TEST_REDIS")
	}
	e.StopRedis(tb)
	_, port, err := net.SplitHostPort(e.RedisAddr)
	if err != nil {
		tb.Fatal(err)
	}
	options := embedded.RedisOptions{Password: e.RedisPassword}
	if _, err := fmt.Sscan(port, &options.Port); err != nil {
		tb.Fatal(err)
	}
	e.launchRedis(tb, options)
}

// Main runs a package's tests and stops the shared engine. Use it as
//
//	func TestMain(m *testing.M) { testengine.Main(m) }
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for who has something to take away after it; it returns the exit code.
func Run(m *testing.M) int {
	code := m.Run()
	if err := copied.drop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the embedded ClickHouse:", err)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2) // who holds what still runs
		code = max(code, 1)
	}
	return code
}

// shared is the one ClickHouse of the test process: the engine opens a single
// folder in the life of a process.
var shared engine //nolint:gochecknoglobals // see above

type engine struct {
	once   sync.Once
	server *clickHouse
	err    error
}

type clickHouse struct {
	dir    string
	url    string
	engine *embedded.ClickHouse
	http   *http.Server
}

func (s *engine) start() (*clickHouse, error) {
	s.once.Do(func() { s.server, s.err = startClickHouse(context.Background()) })
	return s.server, s.err
}

func startClickHouse(ctx context.Context) (*clickHouse, error) {
	dir, err := os.MkdirTemp("", "meterd-test-")
	if err != nil {
		return nil, err
	}
	c := &clickHouse{dir: dir}
	if c.engine, err = embedded.OpenClickHouse(ctx, dir, embedded.Options{}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, c.engine.Close(ctx), os.RemoveAll(dir))
	}
	c.url = "http://" + listener.Addr().String()
	c.http = &http.Server{Handler: c.engine, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = c.http.Serve(listener) }()
	return c, nil
}

func (s *engine) stop() error {
	if s.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(s.server.http.Close(), s.server.engine.Close(ctx), os.RemoveAll(s.server.dir))
}
