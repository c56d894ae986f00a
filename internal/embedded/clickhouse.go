package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options tell how the embedded engines are opened.
type Options struct {
	// User is the name that clients must give. Default "default".
	User string
	// Password is the secret that clients must give. Default: a random one.
	Password string
	// MaxConnections is how many statements ClickHouse runs at a time; more
	// wait. Each costs about 1 MB and up to MaxThreads threads while it runs.
	// Default 8, min 1, max 64.
	MaxConnections int
	// MaxThreads bounds the threads of one statement. Default: one a core.
	MaxThreads int
	// MaxMemoryBytes bounds the memory of one statement; what needs more fails
	// with code 241. All of them together may take twice as much. Default 2 GiB.
	MaxMemoryBytes int64
}

// WithDefaults returns o with every zero field set.
func (o Options) WithDefaults() Options {
	if o.User == "" {
		o.User = "default"
	}
	if o.Password == "" {
		o.Password = rand.Text()
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = 8
	}
	if o.MaxMemoryBytes == 0 {
		o.MaxMemoryBytes = 2 << 30
	}
	return o
}

// Validate names the first field that is out of its bounds.
func (o Options) Validate() error {
	if o.MaxConnections < 1 || o.MaxConnections > 64 {
		return fmt.Errorf("MaxConnections is %d, must be 1 to 64", o.MaxConnections)
	}
	if o.MaxThreads < 0 {
		return fmt.Errorf("MaxThreads is %d, must not be negative", o.MaxThreads)
	}
	if o.MaxMemoryBytes < 64<<20 {
		return fmt.Errorf("MaxMemoryBytes is %d, must be at least 64 MiB", o.MaxMemoryBytes)
	}
	return nil
}

// ClickHouse is the ClickHouse engine, opened in this process on a folder. It
// is an http.Handler that speaks ClickHouse's HTTP protocol.
type ClickHouse struct {
	lib      *library
	args     []string
	base     map[string]string
	user     string
	password string
	version  string
	timezone string

	anchorMu sync.Mutex
	anchor   *conn // keeps the engine up while the pool is empty, and stops queries

	slots chan *conn // a free connection, or nil for one not opened yet
	size  int

	closing   chan struct{}
	closeOnce sync.Once
}

// OpenClickHouse opens the engine on dir, which is made where it is missing.
// Only one folder can be open in a process at a time.
func OpenClickHouse(ctx context.Context, dir string, opts Options) (*ClickHouse, error) {
	opts = opts.WithDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	path, err := findLibrary()
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	lib, err := loadLibrary(path)
	if err != nil {
		return nil, err
	}
	args, err := engineArgs(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	c := &ClickHouse{
		lib:      lib,
		args:     args,
		base:     baseSettings(opts),
		user:     opts.User,
		password: opts.Password,
		slots:    make(chan *conn, opts.MaxConnections),
		size:     opts.MaxConnections,
		closing:  make(chan struct{}),
	}
	for range opts.MaxConnections {
		c.slots <- nil
	}
	c.anchor, err = c.open()
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse in %s: %w", dir, err)
	}
	if err := c.introduce(); err != nil {
		c.anchor.close()
		return nil, fmt.Errorf("open ClickHouse in %s: %w", dir, err)
	}
	return c, nil
}

// baseSettings are what every statement starts from; a request's own settings
// come on top and are taken back after it.
func baseSettings(opts Options) map[string]string {
	base := map[string]string{
		"async_insert":                       "0",
		"session_timezone":                   "UTC",
		"max_memory_usage":                   fmt.Sprint(opts.MaxMemoryBytes),
		"query_profiler_cpu_time_period_ns":  "0",
		"query_profiler_real_time_period_ns": "0",
	}
	if opts.MaxThreads > 0 {
		base["max_threads"] = fmt.Sprint(opts.MaxThreads)
	}
	return base
}

func (c *ClickHouse) open() (*conn, error) {
	cn, err := c.lib.open(c.args)
	if err != nil {
		return nil, err
	}
	cn.mark = rand.Text()
	base := maps.Clone(c.base)
	base["log_comment"] = cn.mark
	if _, err := cn.query(setStatement(base, nil), "Null", params{}); err != nil {
		cn.close()
		return nil, fmt.Errorf("apply the engine's settings: %w", err)
	}
	cn.database = "default"
	return cn, nil
}

// introduce asks the engine what the opening query of clients wants to know.
func (c *ClickHouse) introduce() error {
	r, err := c.anchor.query("SELECT version(), timezone()", "TSV", params{})
	if err != nil {
		return err
	}
	version, timezone, ok := strings.Cut(strings.TrimSpace(string(r.data)), "\t")
	if !ok {
		return fmt.Errorf("the engine introduced itself as %q", r.data)
	}
	c.version, c.timezone = version, timezone
	return nil
}

// Version is the engine's version.
func (c *ClickHouse) Version() string { return c.version }

// Password is the secret that clients must give.
func (c *ClickHouse) Password() string { return c.password }

// User is the name that clients must give.
func (c *ClickHouse) User() string { return c.user }

// acquire waits for a free connection and sets it to the database and the
// settings that a request wants. Give it back with put or discard.
func (c *ClickHouse) acquire(ctx context.Context, database string, settings map[string]string) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var cn *conn
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.closing:
		return nil, ErrClosed
	default:
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.closing:
		return nil, ErrClosed
	case cn = <-c.slots:
	}
	if cn == nil {
		opened, err := c.open()
		if err != nil {
			c.slots <- nil
			return nil, err
		}
		cn = opened
	}
	if err := c.prepare(cn, database, settings); err != nil {
		c.discard(cn)
		return nil, err
	}
	return cn, nil
}

// prepare changes only what differs from the connection's last request.
func (c *ClickHouse) prepare(cn *conn, database string, settings map[string]string) error {
	if !maps.Equal(cn.settings, settings) {
		if err := c.set(cn, settings); err != nil {
			return err
		}
	}
	if database == "" {
		database = "default"
	}
	if database != cn.database {
		if _, err := cn.query("USE "+quoteName(database), "Null", params{}); err != nil {
			return err
		}
		cn.database = database
	}
	return nil
}

func (c *ClickHouse) set(cn *conn, settings map[string]string) error {
	change := map[string]string{}
	var reset []string
	for name := range cn.settings {
		if _, ok := settings[name]; ok {
			continue
		}
		if value, ok := c.base[name]; ok {
			change[name] = value
		} else {
			reset = append(reset, name)
		}
	}
	for name, value := range settings {
		if old, ok := cn.settings[name]; !ok || old != value {
			change[name] = value
		}
	}
	if _, err := cn.query(setStatement(change, reset), "Null", params{}); err != nil {
		return err
	}
	cn.settings = maps.Clone(settings)
	if cn.settings == nil {
		cn.settings = map[string]string{}
	}
	return nil
}

// setStatement is one SET with change's values, and the defaults for reset.
func setStatement(change map[string]string, reset []string) string {
	parts := make([]string, 0, len(change)+len(reset))
	for _, name := range slices.Sorted(maps.Keys(change)) {
		parts = append(parts, quoteName(name)+" = "+quoteText(change[name]))
	}
	slices.Sort(reset)
	for _, name := range reset {
		parts = append(parts, quoteName(name)+" = DEFAULT")
	}
	return "SET " + strings.Join(parts, ", ")
}

// Bounds of the time between two tries to stop a statement.
const (
	killFirst = 20 * time.Millisecond
	killMost  = time.Second
)

// killOnCancel stops what cn runs when ctx ends. Call what it returns before
// another statement may run on cn. It tries again until then: a statement that
// the engine hasn't quite begun is none that can be stopped, and would run on.
func (c *ClickHouse) killOnCancel(ctx context.Context, cn *conn) (release func()) {
	over, done := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		for pause := killFirst; ; pause = min(2*pause, killMost) {
			c.kill(cn)
			select {
			case <-over:
				return
			case <-time.After(pause):
			}
		}
	})
	return func() {
		close(over)
		if !stop() {
			<-done
		}
	}
}

// kill what cn runs now, if anything.
func (c *ClickHouse) kill(cn *conn) {
	c.anchorMu.Lock()
	defer c.anchorMu.Unlock()
	_, _ = c.anchor.query("KILL QUERY WHERE Settings['log_comment'] = "+quoteText(cn.mark)+" ASYNC", "Null", params{})
}

func (c *ClickHouse) put(cn *conn) { c.slots <- cn }

// discard closes a connection whose session isn't what the pool believes.
func (c *ClickHouse) discard(cn *conn) {
	cn.close()
	c.slots <- nil
}

// Close waits for the running statements, refuses new ones, and stops the
// engine. When ctx ends first the engine is left as it is: what has been
// acknowledged is on disk.
func (c *ClickHouse) Close(ctx context.Context) error {
	err := ErrClosed
	c.closeOnce.Do(func() { err = c.close(ctx) })
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

func (c *ClickHouse) close(ctx context.Context) error {
	close(c.closing)
	var idle []*conn
	for range c.size {
		select {
		case <-ctx.Done():
			return fmt.Errorf("close ClickHouse: statements still run: %w", ctx.Err())
		case cn := <-c.slots:
			if cn != nil {
				idle = append(idle, cn)
			}
		}
	}
	done := make(chan struct{})
	go func() {
		for _, cn := range idle {
			cn.close()
		}
		c.anchor.close()
		close(done)
	}()
	select {
	case <-ctx.Done():
		return fmt.Errorf("close ClickHouse: the engine is still stopping: %w", ctx.Err())
	case <-done:
		return nil
	}
}

func quoteName(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

func quoteText(text string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(text) + "'"
}
