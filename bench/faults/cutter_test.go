package main_test

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// cutter passes requests on to ClickHouse. While it is armed it waits for the
// whole answer to an insert of records, which is on disk then, passes on the
// first bytes of the answer's head, and ends the connection.
type cutter struct {
	*httptest.Server

	armed atomic.Int64 // so many are still to be cut
	cuts  atomic.Int64
}

func newCutter(t *testing.T, upstream string) *cutter {
	t.Helper()
	c := &cutter{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		out, err := http.NewRequestWithContext(req.Context(), req.Method, upstream+req.URL.RequestURI(), req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		out.Header = req.Header
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		body, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		insert := strings.Contains(req.URL.Query().Get("query"), ".records (") && resp.StatusCode == http.StatusOK
		if insert && c.armed.Add(-1) >= 0 {
			c.cuts.Add(1)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Le"))
				_ = conn.Close()
			}
			return
		}
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(body)
	}))
	t.Cleanup(c.Close)
	require.NotEmpty(t, upstream)
	return c
}
