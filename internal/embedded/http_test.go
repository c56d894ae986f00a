package embedded_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
)

func named(name string, value uint64) any { return clickhouse.Named(name, value) }

// plain is a request as curl would send it.
type plain struct {
	method string
	query  url.Values
	body   io.Reader
	header map[string]string // beyond, or instead of, the right user and secret
}

func (p plain) send(t *testing.T, e *testengine.Engines) (status int, text string, header http.Header) {
	t.Helper()
	p.query.Set("database", e.Database)
	r, err := http.NewRequestWithContext(t.Context(), p.method, e.ClickHouseURL+"/?"+p.query.Encode(), p.body)
	require.NoError(t, err)
	r.Header.Set("X-ClickHouse-User", e.ClickHouseUser)
	r.Header.Set("X-ClickHouse-Key", e.ClickHousePassword)
	for name, value := range p.header {
		r.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body), res.Header
}

func TestPlainHTTPRequests(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	get := func(query url.Values, want string) {
		t.Helper()
		status, text, _ := plain{method: http.MethodGet, query: query}.send(t, e)
		require.Equal(t, http.StatusOK, status, text)
		require.Equal(t, want, text)
	}
	post := func(query url.Values, body, want string) {
		t.Helper()
		status, text, _ := plain{method: http.MethodPost, query: query, body: strings.NewReader(body)}.send(t, e)
		require.Equal(t, http.StatusOK, status, text)
		require.Equal(t, want, text)
	}
	get(url.Values{"query": {"SELECT 1, 'a'"}}, "1\ta\n")
	get(url.Values{"query": {"SELECT 1 AS x"}, "default_format": {"JSONEachRow"}}, "{\"x\":1}\n")
	get(url.Values{"query": {"SELECT 1 AS x FORMAT CSVWithNames"}}, "\"x\"\n1\n")
	get(url.Values{"query": {"SELECT {n:UInt8} + 1"}, "param_n": {"41"}}, "42\n")
	get(url.Values{"query": {"SELECT getSetting('max_block_size')"}, "max_block_size": {"77"}}, "77\n")
	get(url.Values{"query": {"SELECT 2"}, "session_id": {"x"}, "query_id": {"y"}}, "2\n")
	get(url.Values{"query": {"SELECT timezone(), toString(toDateTime(0))"}}, "UTC\t1970-01-01 00:00:00\n")
	get(url.Values{"query": {"-- comment\nSELECT 3;"}}, "3\n")
	post(url.Values{}, "SELECT currentDatabase()", e.Database+"\n")
	post(url.Values{"query": {"SELECT"}}, "5", "5\n")
	post(url.Values{}, "CREATE TABLE t (a UInt32, format String, c DateTime64(3, 'UTC') DEFAULT '2026-01-01') ENGINE = MergeTree ORDER BY a", "")
	post(url.Values{}, "INSERT INTO t (a, format) VALUES (1, 'FORMAT x'), (2, 'it''s')", "")
	post(url.Values{}, "INSERT INTO t (a, format) FORMAT JSONEachRow {\"a\": 3, \"format\": \"j\"}\n{\"a\": 4, \"format\": \"k\"}\n", "")
	post(url.Values{"query": {"INSERT INTO t (a, format) FORMAT CSV"}}, "5,\"five\"\n6,six\n", "")
	post(url.Values{"query": {"INSERT INTO t (a, format) SETTINGS max_insert_threads = 1 FORMAT TSV"}}, "7\tseven\n", "")
	post(url.Values{"query": {"INSERT INTO t (a, format) VALUES"}}, "(8, 'eight')", "")
	post(url.Values{"query": {"INSERT INTO t (a, format) VALUES"}, "param_x": {"nine"}}, "(9, {x:String})", "")
	post(url.Values{"query": {"INSERT INTO t (a, format)"}, "default_format": {"CSV"}}, "10,ten\n", "")
	post(url.Values{"query": {"INSERT INTO t (a, format) FORMAT Values"}}, "(11, 'eleven')", "")
	get(url.Values{"query": {"SELECT count(), sum(a), groupArray(format) FROM (SELECT * FROM t ORDER BY a)"}},
		"11\t66\t['FORMAT x','it\\'s','j','k','five','six','seven','eight','nine','ten','eleven']\n")
	get(url.Values{"query": {"SELECT DISTINCT toString(c) FROM t"}}, "2026-01-01 00:00:00.000\n")

	var zipped bytes.Buffer
	writer := gzip.NewWriter(&zipped)
	_, err := writer.Write([]byte("12,twelve\n"))
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	status, text, _ := plain{
		method: http.MethodPost, query: url.Values{"query": {"INSERT INTO t (a, format) FORMAT CSV"}},
		body: &zipped, header: map[string]string{"Content-Encoding": "gzip"},
	}.send(t, e)
	require.Equal(t, http.StatusOK, status, text)
	get(url.Values{"query": {"SELECT count() FROM t"}}, "12\n")
}

func TestRefusalsOverPlainHTTP(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	refused := func(wantStatus int, wantCode string, request plain) {
		t.Helper()
		status, text, got := request.send(t, e)
		require.Equal(t, wantStatus, status, text)
		require.Equal(t, wantCode, got.Get("X-Clickhouse-Exception-Code"), text)
		require.Contains(t, text, "Code: "+wantCode+". DB::Exception: ")
	}
	get := func(sql string, header map[string]string) plain {
		return plain{method: http.MethodGet, query: url.Values{"query": {sql}}, header: header}
	}
	nobody := map[string]string{"X-ClickHouse-User": "", "X-ClickHouse-Key": ""}
	refused(http.StatusForbidden, "516", get("SELECT 1", map[string]string{"X-ClickHouse-Key": "wrong"}))
	refused(http.StatusForbidden, "516", get("SELECT 1", map[string]string{"X-ClickHouse-User": "other"}))
	refused(http.StatusForbidden, "516", get("SELECT 1", nobody))
	refused(http.StatusNotFound, "60", get("SELECT * FROM nope", nil))
	refused(http.StatusBadRequest, "62", plain{method: http.MethodPost, query: url.Values{"query": {"SELEC 1"}}})
	refused(http.StatusInternalServerError, "164", get("CREATE TABLE x (a UInt8) ENGINE = Memory", nil))

	refused(http.StatusNotImplemented, "48", plain{method: http.MethodPost, query: url.Values{"query": {"SET max_threads = 1"}, "session_id": {"x"}}})
	refused(http.StatusInternalServerError, "164", plain{method: http.MethodPost, query: url.Values{"query": {"CREATE TABLE x (a UInt8) ENGINE = Memory"}, "readonly": {"1"}}})
	refused(http.StatusBadRequest, "62", plain{method: http.MethodPost, query: url.Values{}})

	right := url.Values{"query": {"SELECT 1"}, "user": {e.ClickHouseUser}, "password": {e.ClickHousePassword}}
	status, text, _ := plain{method: http.MethodGet, query: right, header: nobody}.send(t, e)
	require.Equal(t, http.StatusOK, status, text)

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.ClickHouseURL+"/ping", nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "Ok.\n", string(body), "/ping needs no secret")
}

func TestAnInsertCutShortWritesNothing(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	conn := e.ClickHouse(t)
	require.NoError(t, conn.Exec(t.Context(), "CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a"))
	reader, writer := io.Pipe()
	go func() {
		_, _ = writer.Write([]byte("1\n2\n3\n"))
		_ = writer.CloseWithError(io.ErrUnexpectedEOF)
	}()
	query := url.Values{"query": {"INSERT INTO t FORMAT TSV"}, "database": {e.Database}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.ClickHouseURL+"/?"+query.Encode(), reader)
	require.NoError(t, err)
	r.SetBasicAuth(e.ClickHouseUser, e.ClickHousePassword)
	res, err := http.DefaultClient.Do(r)
	if err == nil {
		_ = res.Body.Close()
	}
	require.Error(t, err)
	var n uint64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM t").Scan(&n))
	require.Zero(t, n)
}
