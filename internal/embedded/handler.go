package embedded

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	chproto "github.com/ClickHouse/ch-go/proto"
	chcolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"

	"github.com/meterd/meterd/internal/bodies"
)

// helloQuery is what clickhouse-go asks first on a connection. The handler
// answers it: the engine writes Native blocks at revision 0 whatever the
// client asks for, so that is what it must be told.
const helloQuery = "SELECT displayName(), version(), revision(), timezone()"

// ServeHTTP answers one request of ClickHouse's HTTP protocol.
func (c *ClickHouse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" {
		_, _ = w.Write([]byte("Ok.\n"))
		return
	}
	query := r.URL.Query()
	if !c.authorized(r, query) {
		c.fail(w, exception(codeAuth, "%s: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)", c.user))
		return
	}
	if r.URL.Path != "/" && r.URL.Path != "" {
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodGet && query.Get("query") == "" {
		_, _ = w.Write([]byte("Ok.\n"))
		return
	}
	body := bodies.Get()
	defer bodies.Put(body)
	req, err := parseRequest(r, query, body)
	if err != nil {
		c.fail(w, err)
		return
	}
	if req.streams() {
		c.stream(r.Context(), w, req)
		return
	}
	res, err := c.run(r.Context(), req)
	if err != nil {
		c.fail(w, err)
		return
	}
	c.answer(w, req, res)
}

func (c *ClickHouse) answer(w http.ResponseWriter, req *request, res result) {
	data := res.data
	if req.compress != "" && len(data) > 0 {
		var err error
		if data, err = compressed(data, req.compress); err != nil {
			c.fail(w, err)
			return
		}
	}
	h := c.introduced(w, req)
	h.Set("X-ClickHouse-Summary", `{"read_rows":"`+strconv.FormatUint(res.rowsRead, 10)+
		`","written_rows":"`+strconv.FormatUint(res.rowsWritten, 10)+`"}`)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data)
}

// introduced sets the headers that say how to read an answer.
func (c *ClickHouse) introduced(w http.ResponseWriter, req *request) http.Header {
	h := w.Header()
	h.Set("Content-Type", contentType(req.format))
	h.Set("X-ClickHouse-Format", req.format)
	h.Set("X-ClickHouse-Timezone", c.timezone)
	return h
}

// stream answers a request as its rows come, so that an answer of any size
// needs the memory of one block. An error after the first block breaks the
// connection off: the client must not take the part for the whole.
func (c *ClickHouse) stream(ctx context.Context, w http.ResponseWriter, req *request) {
	cn, err := c.acquire(ctx, req.database, req.settings)
	if err != nil {
		c.fail(w, err)
		return
	}
	defer func() { c.release(ctx, cn, err) }()
	defer c.killOnCancel(ctx, cn)()
	out := http.NewResponseController(w)
	begun := false
	err = cn.stream(req.statement.sql, req.format, req.params, func(data []byte) error {
		if !begun {
			c.introduced(w, req)
			begun = true
		}
		if req.compress != "" {
			var err error
			if data, err = compressed(data, req.compress); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		return out.Flush()
	})
	switch {
	case err != nil && !begun:
		c.fail(w, err)
	case err != nil:
		panic(http.ErrAbortHandler) // net/http's way to break an answer off
	case !begun:
		c.introduced(w, req)
	}
}

// run executes a request on a pooled connection. When ctx ends first, a
// statement that only reads is told to stop; one that writes runs to its end,
// for nobody could say afterwards how far it had got.
func (c *ClickHouse) run(ctx context.Context, req *request) (result, error) {
	if req.hello() {
		return c.hello(req.revision)
	}
	cn, err := c.acquire(ctx, req.database, req.settings)
	if err != nil {
		return result{}, err
	}
	res, err := c.execute(ctx, cn, req)
	if req.statement.marksSession() {
		c.discard(cn)
	} else {
		c.release(ctx, cn, err)
	}
	return res, err
}

// release gives a connection back after a statement. What one had written when
// it failed stays with the engine's connection, and the next one's answer would
// begin with it: such a connection is closed.
func (c *ClickHouse) release(ctx context.Context, cn *conn, err error) {
	if err != nil || ctx.Err() != nil {
		c.discard(cn)
		return
	}
	c.put(cn)
}

func (c *ClickHouse) execute(ctx context.Context, cn *conn, req *request) (result, error) {
	if req.statement.format != "" {
		return cn.insert(req.statement.sql, req.statement.format, req.params, req.body)
	}
	if req.statement.reads() {
		defer c.killOnCancel(ctx, cn)()
	}
	return cn.query(req.statement.sql, req.format, req.params)
}

// hello answers helloQuery in Native, at the revision the client reads with.
func (c *ClickHouse) hello(revision string) (result, error) {
	clientRevision, _ := strconv.ParseUint(revision, 10, 64)
	block := proto.NewBlock()
	for _, column := range []struct{ name, kind string }{
		{"displayName()", "String"}, {"version()", "String"}, {"revision()", "UInt32"}, {"timezone()", "String"},
	} {
		if err := block.AddColumn(column.name, chcolumn.Type(column.kind)); err != nil {
			return result{}, err
		}
	}
	if err := block.Append("meterd", c.version, uint32(0), c.timezone); err != nil {
		return result{}, err
	}
	var buffer chproto.Buffer
	if err := block.Encode(&buffer, clientRevision); err != nil {
		return result{}, err
	}
	return result{data: buffer.Buf, rowsRead: 1}, nil
}

// fail answers with an exception as a server writes it.
func (c *ClickHouse) fail(w http.ResponseWriter, err error) {
	var engine *EngineError
	if !errors.As(err, &engine) {
		engine = exception(codeStopping, "%v. (ABORTED)", err)
	}
	text := engine.Text
	if !strings.Contains(text, "(version ") {
		text += " (version " + c.version + ")"
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(engine.Code))
	w.WriteHeader(httpStatus(engine.Code))
	_, _ = w.Write([]byte(text + "\n"))
}

// httpStatus is the status that a server gives an error code.
func httpStatus(code int) int {
	switch code {
	case codeAuth, 192, 193:
		return http.StatusForbidden
	case 6, 26, 27, 36, 38, 41, 53, 62, 69, 70, 72, 117, 130, 131, 349, 457:
		return http.StatusBadRequest
	case 16, 46, 47, 50, 56, 60, 73, 81, 115:
		return http.StatusNotFound
	case codeTooLarge, 223:
		return http.StatusRequestEntityTooLarge
	case codeUnsupported:
		return http.StatusNotImplemented
	case codeStopping:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func contentType(format string) string {
	switch {
	case strings.HasPrefix(format, "JSONEachRow"), strings.HasPrefix(format, "JSONCompactEachRow"):
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(format, "JSON"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		return "text/csv; charset=UTF-8; header=absent"
	case strings.HasPrefix(format, "TabSeparated"), strings.HasPrefix(format, "TSV"):
		return "text/tab-separated-values; charset=UTF-8"
	case format == "Native":
		return "application/octet-stream"
	}
	return "text/plain; charset=UTF-8"
}
