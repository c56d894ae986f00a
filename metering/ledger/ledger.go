package ledger

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/sql"
)

// Options say where the ledger is.
type Options struct {
	// URL of ClickHouse's HTTP interface: http://user:password@host:8123.
	URL string
	// Password, where the URL has none.
	Password string
	// Database holds all tables. Default "meterd".
	Database string
	// Transport replaces the network, in process. Default nil: dial.
	Transport http.RoundTripper
	// Conns bounds the connections. Default 16.
	Conns int
}

// Ledger is a connection pool to one database.
type Ledger struct {
	conn     driver.Conn
	server   Server
	database string
	address  string
	lookups  chan struct{} // lookupsAtOnce

	asking sync.Mutex
	asked  []*question // nobody answers them yet

	answering sync.WaitGroup // lookups on their way, whoever still waits for them
}

var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// ErrAway says that ClickHouse can't be reached or doesn't answer.
var ErrAway = errors.New("clickhouse is away")

// dialMax bounds the wait for a connection: a new one, or one of the pool.
const dialMax = 10 * time.Second

// Open makes the pool. It doesn't connect yet.
func Open(o Options) (*Ledger, error) {
	if o.Database == "" {
		o.Database = "meterd"
	}
	if !databaseName.MatchString(o.Database) {
		return nil, fmt.Errorf("database %q: a name has letters, digits and _ only", o.Database)
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("clickhouse address: want http://host:port, for example http://127.0.0.1:8123")
	}
	user, password := "default", o.Password
	if u.User != nil {
		if name := u.User.Username(); name != "" {
			user = name
		}
		if pw, ok := u.User.Password(); ok {
			password = pw
		}
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "8123")
	}
	conns := o.Conns
	if conns == 0 {
		conns = 16
	}
	opts := &clickhouse.Options{
		Protocol: clickhouse.HTTP,
		Addr:     []string{host},
		// The database may not exist before Migrate: tables are named in full.
		Auth:            clickhouse.Auth{Username: user, Password: password, Database: "system"},
		DialTimeout:     dialMax,
		DialContext:     dialer(silenceMax),
		ReadTimeout:     silenceMax, // until an answer begins
		MaxOpenConns:    conns,
		MaxIdleConns:    conns,
		ConnMaxLifetime: time.Hour,
		Settings: clickhouse.Settings{
			"async_insert":                                0,
			"optimize_on_insert":                          0, // merges collapse duplicates, not each insert
			"max_query_size":                              16 << 20,
			"date_time_input_format":                      "best_effort",
			"max_partitions_per_insert_block":             0,
			"do_not_merge_across_partitions_select_final": 1,
		},
	}
	if u.Scheme == "https" {
		opts.TLS = tlsConfig(u.Hostname())
	}
	if o.Transport != nil {
		opts.TransportFunc = func(*http.Transport) (http.RoundTripper, error) { return o.Transport, nil }
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("open clickhouse: %w", err)
	}
	l := &Ledger{conn: conn, database: o.Database, address: host, lookups: make(chan struct{}, lookupsAtOnce)}
	l.server = remote{l}
	return l, nil
}

// Server answers named queries and takes inserts of whole columns: ClickHouse,
// or tables of memory in the simulation of the protocol (ledgertest).
type Server interface {
	// Query calls scan for each row. text is the query's, for who needs it.
	Query(ctx context.Context, name, text string, params map[string]string, scan func(driver.Rows) error) error
	Insert(ctx context.Context, table, columns string, data []any) error
	// Exec runs a named statement, which writes what it reads or changes the schema.
	Exec(ctx context.Context, name, text string, params map[string]string) error
	// Ping tells whether it answers.
	Ping(ctx context.Context) error
	// Close ends its connections.
	Close() error
}

// NewWithServer returns a Ledger over a server that isn't ClickHouse. What that doesn't
// know, such as migrations and rolls of hours, is an error.
func NewWithServer(s Server) *Ledger {
	return &Ledger{server: s, database: "memory", lookups: make(chan struct{}, lookupsAtOnce)}
}

// closeMax is how long Close waits. It takes no time, but the pool's own Close
// may never return: it keeps its lock while it waits for a goroutine that may
// want that lock (ClickHouse/clickhouse-go#1990).
const closeMax = 5 * time.Second

// Close ends the pool.
func (l *Ledger) Close() error {
	closed := make(chan error, 1)
	go func() {
		l.answering.Wait()
		closed <- l.server.Close()
	}()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeMax):
		return fmt.Errorf("close clickhouse: the connections of database %s aren't closed after %s; they end with the process", l.database, closeMax)
	}
}

// Address is ClickHouse's host and port.
func (l *Ledger) Address() string { return l.address }

// Database is its name.
func (l *Ledger) Database() string { return l.database }

// Ping tells whether ClickHouse answers: ErrAway if not.
func (l *Ledger) Ping(ctx context.Context) error {
	err := l.server.Ping(ctx)
	if err == nil {
		return nil
	}
	if err = away(err); errors.Is(err, ErrAway) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}

// Now is ClickHouse's time. Marks and rolls of hours are compared with one
// another, so they are dated by it: the clocks of workers differ.
func (l *Ledger) Now(ctx context.Context) (time.Time, error) {
	var now time.Time
	err := l.each(ctx, "now", nil, func(r driver.Rows) error { return r.Scan(&now) })
	return now, err
}

// text is a statement with what stands for its parts in every query put in: {db} for
// the database, {finding} for the id of a row of findings, {ranks} for the array of statuses in the order of their rank, {family}
// and {families} for the accounts of a query's parent or parents, which rows are
// sorted by, {goes} for goes.
func (l *Ledger) text(q string) string {
	family := "(SELECT id FROM " + l.database + ".catalog WHERE kind = 'account' AND "
	return strings.NewReplacer(
		"{db}", l.database, "{ranks}", ranks(), "{goes}", goes, "{finding}", findingID,
		"{family}", family+"(id = {parent:String} OR parent_id = {parent:String}))",
		"{families}", family+"(id IN {parents:Array(String)} OR parent_id IN {parents:Array(String)}))",
	).Replace(q)
}

// ranks is the same in every statement.
var ranks = sync.OnceValue(func() string { //nolint:gochecknoglobals // a constant
	return "['" + strings.Join(metering.RankedStatuses(), "', '") + "']"
})

// each runs a named query with server-side parameters and calls scan for each
// row.
func (l *Ledger) each(ctx context.Context, name string, params map[string]string, scan func(driver.Rows) error) error {
	return l.eachText(ctx, name, sql.Query(name), params, scan)
}

// eachText is each for the text of a query that was put together.
func (l *Ledger) eachText(ctx context.Context, name, text string, params map[string]string, scan func(driver.Rows) error) error {
	return l.server.Query(ctx, name, text, params, scan)
}

// exec runs a named statement with server-side parameters.
func (l *Ledger) exec(ctx context.Context, name string, params map[string]string) error {
	return l.server.Exec(ctx, name, sql.Query(name), params)
}

// remote is ClickHouse.
type remote struct{ *Ledger }

// Query implements Server.
func (l remote) Query(ctx context.Context, name, text string, params map[string]string, scan func(driver.Rows) error) (err error) {
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(escapeStrings(text, params)))
	rows, err := l.conn.Query(ctx, l.text(text))
	if err != nil {
		return fmt.Errorf("query %s: %w", name, away(err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("query %s: %w", name, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("query %s: %w", name, away(err))
	}
	return nil
}

// Exec implements Server.
func (l remote) Exec(ctx context.Context, name, text string, params map[string]string) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(escapeStrings(text, params)))
	if err := l.conn.Exec(ctx, l.text(text)); err != nil {
		return fmt.Errorf("statement %s: %w", name, away(err))
	}
	return nil
}

// Ping implements Server.
func (l remote) Ping(ctx context.Context) error { return l.conn.Ping(ctx) } //nolint:wrapcheck // Ledger.Ping does

// Close implements Server.
func (l remote) Close() error { return l.conn.Close() } //nolint:wrapcheck // as the pool says it

// Migrate creates the database and brings its schema up to date. It returns
// the names of the migrations that it applied, and may run any number of times
// and at the same time.
func (l *Ledger) Migrate(ctx context.Context) ([]string, error) {
	for _, q := range first() {
		if err := l.server.Exec(ctx, "migrate", qualify(q), nil); err != nil {
			return nil, err
		}
	}
	done := map[string]bool{}
	if err := l.each(ctx, "migrations", nil, func(r driver.Rows) error {
		var name string
		err := r.Scan(&name)
		done[name] = true
		return err
	}); err != nil {
		return nil, err
	}
	all, err := sql.Migrations()
	if err != nil {
		return nil, err
	}
	applied := []string{}
	for _, m := range all {
		if done[m.Name] {
			continue
		}
		for i, s := range m.Statements {
			if err := l.server.Exec(ctx, "migrate", qualify(s), nil); err != nil {
				return applied, fmt.Errorf("migration %s, statement %d (those before it are applied, run it again): %w", m.Name, i+1, err)
			}
		}
		if err := l.exec(ctx, "migrated", map[string]string{"name": m.Name}); err != nil {
			return applied, fmt.Errorf("note migration %s: %w", m.Name, err)
		}
		applied = append(applied, m.Name)
	}
	return applied, nil
}

// serverCode finds ClickHouse's error code in an error of its HTTP interface.
var serverCode = regexp.MustCompile(`[Cc]ode: (\d+)`)

// code is ClickHouse's error code, 0 if the error isn't one of its answers.
func code(err error) int {
	if ex, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return int(ex.Code)
	}
	if m := serverCode.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}

// badParameter is ClickHouse's code for a parameter that can't be read.
const badParameter = 457

// codeName finds the name of ClickHouse's error code in its text.
var codeName = regexp.MustCompile(`\(([A-Z][A-Z0-9_]+)\)`)

// away marks an error that isn't an answer of ClickHouse as ErrAway. An answer
// loses the text of the statement, which may hold amounts, and all of it that
// quotes the data; the address of a request loses what follows its "?": the
// parameters, whole batches of message ids.
func away(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	text := err.Error()
	if code(err) == 0 {
		if u, ok := errors.AsType[*url.Error](err); ok {
			bare, _, _ := strings.Cut(u.URL, "?")
			text = strings.ReplaceAll(text, u.URL, bare)
		}
		return fmt.Errorf("%w: %w", ErrAway, &answerError{text, err})
	}
	if c := code(err); forGood(err) || c == badParameter {
		name := codeName.FindString(text)
		return &answerError{strings.TrimSpace(fmt.Sprintf("code: %d: clickhouse refuses a value, which isn't shown here %s", c, name)), err}
	}
	for _, before := range []string{": In scope ", " In scope ", ": while ", ": While ", "while executing"} {
		text, _, _ = strings.Cut(text, before)
	}
	return &answerError{text, err}
}

// answerError is an error of a statement as it may be shown.
type answerError struct {
	text string
	err  error
}

// Error implements error.
func (e *answerError) Error() string { return e.text }

// Unwrap gives ClickHouse's own.
func (e *answerError) Unwrap() error { return e.err }
