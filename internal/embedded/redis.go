package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions tell how the redis-server child is started.
type RedisOptions struct {
	// Password is the secret that clients must give. Default: a random one.
	Password string
	// Port is the loopback port. Default: a free one.
	Port int
	// IntsetEntriesMax is how many members a set of integers holds in its
	// compact form: more is faster for large calls, but slower per write.
	// Default 4096.
	IntsetEntriesMax int
	// Cluster makes it a node of a cluster, that talks to others on a second free
	// loopback port. It holds no slot yet. Default false.
	Cluster bool
	// LoadTimeout is how long the append-only file may take to load. Default
	// 5m, at some 20 MB a second.
	LoadTimeout time.Duration
}

// WithDefaults returns o with every zero field but Port set.
func (o RedisOptions) WithDefaults() RedisOptions {
	if o.Password == "" {
		o.Password = rand.Text()
	}
	if o.IntsetEntriesMax == 0 {
		o.IntsetEntriesMax = 4096
	}
	if o.LoadTimeout == 0 {
		o.LoadTimeout = 5 * time.Minute
	}
	return o
}

// Redis is a redis-server child of this process. It never outlives it.
type Redis struct {
	dir      string
	addr     string
	password string
	process  *os.Process
	done     chan struct{} // closed when the child has ended

	mu       sync.Mutex
	stopping bool
	err      error
}

// bindAttemptsMax bounds how often another port is tried, should someone take
// the free one between the look and redis-server's bind.
const bindAttemptsMax = 5

// StartRedis starts redis-server on dir and waits until it has loaded its
// data. A child left on dir by a process that was killed is ended first.
func StartRedis(ctx context.Context, dir string, opts RedisOptions) (*Redis, error) {
	opts = opts.WithDefaults()
	binary, err := findRedis()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	if err := endPrevious(ctx, dir); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	if err := cutTail(ctx, dir); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	for attempt := 1; ; attempt++ {
		r, err := startRedis(ctx, binary, dir, opts)
		if err == nil {
			return r, nil
		}
		var early *exitedError
		taken := errors.As(err, &early) && strings.Contains(early.log, "Address already in use")
		if !taken || opts.Port != 0 || attempt == bindAttemptsMax {
			return nil, fmt.Errorf("start redis-server: %w", err)
		}
	}
}

func findRedis() (string, error) {
	if path := os.Getenv("METERD_REDIS_SERVER"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("METERD_REDIS_SERVER: %w: let it name a redis-server, or unset it for the one in PATH", err)
		}
		return path, nil
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", fmt.Errorf("redis-server is not installed: run `make setup`, or set METERD_REDIS_SERVER: %w", err)
	}
	return path, nil
}

// exitedError says that the child ended before it was told to.
type exitedError struct {
	state string
	log   string
}

func (e *exitedError) Error() string {
	return "redis-server ended by itself (" + e.state + "): " + e.log
}

func startRedis(ctx context.Context, binary, dir string, opts RedisOptions) (*Redis, error) {
	port := opts.Port
	if port == 0 {
		var err error
		if port, err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	text := redisConfig(dir, port, opts)
	if opts.Cluster {
		bus, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		text += "cluster-enabled yes\ncluster-port " + strconv.Itoa(bus) + "\n"
	}
	conf := filepath.Join(dir, "redis.conf")
	if err := writeFile(conf, []byte(text)); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(dir, "redis.log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	r := &Redis{
		dir:      dir,
		addr:     net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		password: opts.Password,
		done:     make(chan struct{}),
	}
	if err := r.spawn(binary, conf); err != nil {
		return nil, err
	}
	if err := r.waitLoaded(ctx, opts.LoadTimeout); err != nil {
		return nil, errors.Join(err, r.kill())
	}
	return r, nil
}

// redisConfig is the child's configuration. It is handed over in a file of
// mode 0600, for a command line is there for every user to read.
func redisConfig(dir string, port int, opts RedisOptions) string {
	return strings.Join([]string{
		"bind 127.0.0.1",
		"port " + strconv.Itoa(port),
		"requirepass " + strconv.Quote(opts.Password),
		"dir " + strconv.Quote(dir),
		"pidfile " + strconv.Quote(filepath.Join(dir, "redis.pid")),
		"logfile " + strconv.Quote(filepath.Join(dir, "redis.log")),
		"loglevel warning",
		"daemonize no",
		"save \"\"",
		"appendonly yes",
		"appendfsync always",
		"no-appendfsync-on-rewrite no",
		"aof-use-rdb-preamble yes",
		"aof-load-truncated no", // what is cut off is cut before: see cutTail
		"rdbcompression no",     // random hashes, which the rewrite would compress in vain
		"auto-aof-rewrite-percentage 100",
		"auto-aof-rewrite-min-size 64mb",
		"maxmemory-policy noeviction",
		"set-max-intset-entries " + strconv.Itoa(opts.IntsetEntriesMax),
		"",
	}, "\n")
}

// spawn starts the child from a goroutine that keeps its thread until the
// child ends. Linux sends the parent-death signal when the *thread* that
// forked ends, and Go ends threads as it pleases: only a thread that is locked
// for the child's whole life ties the child to the process.
func (r *Redis) spawn(binary, conf string) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.Command(binary, conf) //nolint:gosec,noctx // the child outlives the caller's context; Stop ends it
		cmd.SysProcAttr = childAttributes()
		cmd.Dir = r.dir
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		cmd.WaitDelay = outputWait
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("run %s: %w", binary, err)
			return
		}
		r.process = cmd.Process
		started <- nil
		err := cmd.Wait()
		r.ended(cmd.ProcessState, err, output.String())
	}()
	return <-started
}

// outputWait is how long the output of a child that has ended is waited for: a
// child of its own, that rewrites the append-only file, keeps it open.
const outputWait = 2 * time.Second

func (r *Redis) ended(state *os.ProcessState, err error, output string) {
	r.mu.Lock()
	if !r.stopping {
		text := output
		if log, readErr := os.ReadFile(filepath.Join(r.dir, "redis.log")); readErr == nil && len(log) > 0 {
			text = string(log)
		}
		e := &exitedError{state: state.String(), log: lastLines(text)}
		r.err = e
		if err != nil {
			r.err = fmt.Errorf("%w: %w", e, err)
		}
	}
	r.mu.Unlock()
	close(r.done)
}

// lastLines returns what a log said last.
func lastLines(log string) string {
	const linesMax = 5
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-linesMax):], "; ")
}

func (r *Redis) waitLoaded(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: r.addr, Password: r.password, PoolSize: 1, MaxRetries: -1})
	defer func() { _ = client.Close() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := client.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		select {
		case <-r.done:
			return r.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait until redis-server has loaded: %w (last answer: %w)", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Addr is the child's address, "127.0.0.1:port".
func (r *Redis) Addr() string { return r.addr }

// Password is the secret that clients must give.
func (r *Redis) Password() string { return r.password }

// PID is the child's process id.
func (r *Redis) PID() int { return r.process.Pid }

// Done is closed when the child has ended.
func (r *Redis) Done() <-chan struct{} { return r.done }

// Err tells why the child ended; nil while it runs and after Stop.
func (r *Redis) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Stop ends the child cleanly: it writes out and syncs its append-only file.
// When ctx ends first the child is killed, which loses nothing acknowledged.
func (r *Redis) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	if err := r.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop redis-server: %w", err)
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		if err := r.kill(); err != nil {
			return fmt.Errorf("stop redis-server: %w", err)
		}
		return fmt.Errorf("stop redis-server: killed, for it didn't stop in time: %w", ctx.Err())
	}
}

// killMax is how long a killed child may take to end, its output included.
const killMax = 10 * time.Second

func (r *Redis) kill() error {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	_ = r.process.Kill()
	select {
	case <-r.done:
		return nil
	case <-time.After(killMax):
		return fmt.Errorf("process %d is still there %s after it was killed: look what its disk waits for", r.PID(), killMax)
	}
}

// freePort asks the kernel for a loopback port that nobody listens on.
func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("find a free port: unexpected address %s", listener.Addr())
	}
	return addr.Port, nil
}
