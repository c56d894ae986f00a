package embedded

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
)

// Transport returns a round tripper that calls the engine without a socket.
// Give it to clickhouse-go as its TransportFunc's result.
func (c *ClickHouse) Transport() http.RoundTripper { return transport{handler: c} }

type transport struct{ handler http.Handler }

// RoundTrip runs the request. If its context ends first, RoundTrip returns at
// once and the statement ends in the background.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	in := r.Clone(r.Context())
	if user := r.URL.User; user != nil && in.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		in.SetBasicAuth(user.Username(), password)
	}
	done := make(chan *recorder, 1)
	go func() {
		rec := &recorder{header: http.Header{}, status: http.StatusOK}
		t.handler.ServeHTTP(rec, in)
		if in.Body != nil {
			_ = in.Body.Close()
		}
		done <- rec
	}()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case rec := <-done:
		return rec.response(r), nil
	}
}

// recorder keeps what a handler writes.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (rec *recorder) Header() http.Header               { return rec.header }
func (rec *recorder) WriteHeader(status int)            { rec.status = status }
func (rec *recorder) Write(p []byte) (n int, err error) { return rec.body.Write(p) }

func (rec *recorder) response(r *http.Request) *http.Response {
	return &http.Response{
		Status:        strconv.Itoa(rec.status) + " " + http.StatusText(rec.status),
		StatusCode:    rec.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        rec.header,
		Body:          io.NopCloser(&rec.body),
		ContentLength: int64(rec.body.Len()),
		Request:       r,
	}
}
