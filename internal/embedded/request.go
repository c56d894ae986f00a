package embedded

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	chcompress "github.com/ClickHouse/ch-go/compress"
	"github.com/klauspost/compress/zstd"
)

// Error codes of ClickHouse that the handler itself answers with.
const (
	codeUnsupported = 48
	codeBadRequest  = 36
	codeReadOnly    = 164
	codeTooLarge    = 307
	codeAuth        = 516
	codeStopping    = 236
	codeEmptyQuery  = 62
)

// bodyBytesMax bounds one request's body: 1 GiB, some 10 million usage rows.
const bodyBytesMax = 1 << 30

// request is one HTTP request, understood.
type request struct {
	statement statement
	body      []byte // data that follows the statement
	database  string
	format    string // of the answer, where the statement names none
	settings  map[string]string
	params    params
	readOnly  bool
	atOnce    bool   // the client wants rows as they come
	compress  string // native frames around the answer: "", "LZ4" or "ZSTD"
	revision  string // the client's protocol version
}

// streams tells whether the answer goes out block by block: Native blocks stand
// for themselves, other formats need the engine to write head and tail.
func (q *request) streams() bool {
	return q.atOnce && q.format == "Native" && !q.hello() && (q.statement.verb == "SELECT" || q.statement.verb == "WITH")
}

// hello tells whether it is a client's opening question.
func (q *request) hello() bool { return strings.TrimSpace(q.statement.sql) == helloQuery }

// authorized checks user and secret, in any of the three places where clients
// put them, in constant time.
func (c *ClickHouse) authorized(r *http.Request, query url.Values) bool {
	user, password := r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	if user == "" && password == "" {
		var ok bool
		if user, password, ok = r.BasicAuth(); !ok {
			user, password = query.Get("user"), query.Get("password")
		}
	}
	if user == "" {
		user = "default"
	}
	sameUser := subtle.ConstantTimeCompare([]byte(user), []byte(c.user))
	samePassword := subtle.ConstantTimeCompare([]byte(password), []byte(c.password))
	return sameUser&samePassword == 1
}

// parseRequest reads the whole request, so that a client that goes away in
// the middle of an insert leaves nothing half written. Its data stays in buffer.
func parseRequest(r *http.Request, query url.Values, buffer *bytes.Buffer) (*request, error) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		return nil, exception(codeUnsupported, "external tables are not supported by the embedded engine. (NOT_IMPLEMENTED)")
	}
	body, err := readBody(r, query.Get("decompress") == "1", buffer)
	if err != nil {
		return nil, err
	}
	req := &request{
		database: query.Get("database"),
		format:   query.Get("default_format"),
		settings: map[string]string{},
		readOnly: r.Method == http.MethodGet,
		revision: query.Get("client_protocol_version"),
	}
	if name := r.Header.Get("X-ClickHouse-Database"); name != "" && req.database == "" {
		req.database = name
	}
	if format := r.Header.Get("X-ClickHouse-Format"); format != "" && req.format == "" {
		req.format = format
	}
	if req.format == "" {
		req.format = "TabSeparated"
	}
	req.takeParams(query)
	req.takeStatement(query.Get("query"), body)
	if strings.Trim(req.statement.sql, " \t\r\n;") == "" {
		return nil, exception(codeEmptyQuery, "Empty query. (SYNTAX_ERROR)")
	}
	if query.Get("session_id") != "" && req.statement.marksSession() {
		return nil, exception(codeUnsupported, "HTTP sessions are not supported by the embedded engine: give settings and database with each request. (NOT_IMPLEMENTED)")
	}
	if req.readOnly && !req.statement.reads() {
		return nil, exception(codeReadOnly, "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly: use method POST. (READONLY)")
	}
	return req, nil
}

// takeStatement puts the text of URL and body together as a server does.
func (q *request) takeStatement(text string, body []byte) {
	if text == "" {
		q.statement = parseStatement(string(body))
		q.body = q.statement.data
		return
	}
	st := parseStatement(text)
	switch {
	case st.bare && len(body) > 0:
		st.format = q.format
		q.body = body
	case st.format != "":
		q.body = body
		if len(st.data) > 0 {
			q.body = append(st.data, body...)
		}
	case len(body) > 0:
		st = parseStatement(text + "\n" + string(body))
		q.body = st.data
	}
	q.statement = st
}

func (q *request) takeParams(query url.Values) {
	for name, values := range query {
		value := values[len(values)-1]
		if param, ok := strings.CutPrefix(name, "param_"); ok {
			q.params.names = append(q.params.names, param)
			q.params.values = append(q.params.values, value)
			continue
		}
		switch name {
		case "query", "database", "default_format", "user", "password", "query_id", "quota_key", "decompress",
			"client_protocol_version", "buffer_size", "session_timeout", "session_check",
			"stacktrace", "network_zstd_compression_level", "role", "enable_http_compression":
		case "session_id": // what would need one is refused in parseRequest
		case "wait_end_of_query":
			q.atOnce = value == "0"
		case "readonly":
			q.readOnly = q.readOnly || value != "0"
		case "compress":
			if value == "1" && q.compress == "" {
				q.compress = "LZ4"
			}
		case "network_compression_method":
			if query.Get("compress") == "1" {
				q.compress = strings.ToUpper(value)
			}
		default:
			q.settings[name] = value
		}
	}
}

func readBody(r *http.Request, native bool, buffer *bytes.Buffer) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	reader, err := decoded(r)
	if err != nil {
		return nil, err
	}
	if native {
		reader = chcompress.NewReader(reader)
	}
	if r.ContentLength > 0 && r.ContentLength < bodyBytesMax {
		buffer.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	n, err := buffer.ReadFrom(io.LimitReader(reader, bodyBytesMax+1))
	if err != nil && (!native || !errors.Is(err, io.EOF)) {
		return nil, exception(codeBadRequest, "Cannot read the request's body: %v. (BAD_ARGUMENTS)", err)
	}
	if n > bodyBytesMax {
		return nil, exception(codeTooLarge, "The request's body is larger than %d bytes: send smaller batches. (TOO_MANY_BYTES)", bodyBytesMax)
	}
	return buffer.Bytes(), nil
}

func decoded(r *http.Request) (io.Reader, error) {
	var (
		reader io.Reader
		err    error
	)
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return r.Body, nil
	case "gzip":
		reader, err = gzip.NewReader(r.Body)
	case "deflate":
		reader, err = zlib.NewReader(r.Body)
	case "zstd":
		var decoder *zstd.Decoder
		if decoder, err = zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1)); err == nil {
			reader = decoder.IOReadCloser()
		}
	default:
		return nil, exception(codeUnsupported, "Content-Encoding %q is not supported: use gzip, deflate or zstd. (NOT_IMPLEMENTED)", encoding)
	}
	if err != nil {
		return nil, exception(codeBadRequest, "Cannot decompress the request's body: %v. (BAD_ARGUMENTS)", err)
	}
	return reader, nil
}

// compressed wraps an answer in ClickHouse's own compressed frames.
func compressed(data []byte, method string) ([]byte, error) {
	m := chcompress.LZ4
	if method == "ZSTD" {
		m = chcompress.ZSTD
	}
	writer := chcompress.NewWriter(chcompress.LevelZero, m)
	out := make([]byte, 0, len(data)/3)
	for rest := data; len(rest) > 0; {
		frame := rest[:min(len(rest), frameBytesMax)]
		rest = rest[len(frame):]
		if err := writer.Compress(frame); err != nil {
			return nil, fmt.Errorf("compress the answer: %w", err)
		}
		out = append(out, writer.Data...)
	}
	return out, nil
}

// frameBytesMax is how much goes into one compressed frame, as a server does.
const frameBytesMax = 1 << 20
