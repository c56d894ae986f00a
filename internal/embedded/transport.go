package embedded

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Transport returns a round tripper that calls the engine without a socket.
// Give it to clickhouse-go as its TransportFunc's result.
func (c *ClickHouse) Transport() http.RoundTripper { return transport{handler: c} }

type transport struct{ handler http.Handler }

// RoundTrip runs the request. If its context ends first, RoundTrip returns at
// once and the statement ends in the background. If it ends while the answer is
// handed over, reading fails and so does writing: who stops reading without
// closing holds nothing.
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
	rec := &recorder{header: http.Header{}, status: http.StatusOK, ready: make(chan struct{})}
	go rec.serve(t.handler, in)
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-rec.ready:
		return rec.response(r), nil
	}
}

// recorder keeps what a handler writes until it ends; from the handler's first
// Flush on it hands it over as it comes.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	ready  chan struct{} // closed once there is a response

	mu        sync.Mutex
	forgotten bool
	read      *io.PipeReader // of a response that is handed over
	write     *io.PipeWriter
}

// serve runs the handler to its end.
func (rec *recorder) serve(h http.Handler, r *http.Request) {
	stop := context.AfterFunc(r.Context(), rec.forget)
	defer func() {
		stop()
		if r.Body != nil {
			_ = r.Body.Close()
		}
		broken := recover() // the handler breaks off what it has begun
		if err, ok := broken.(error); broken != nil && (!ok || !errors.Is(err, http.ErrAbortHandler)) {
			panic(broken)
		}
		if rec.write == nil {
			close(rec.ready)
		} else if broken != nil {
			_ = rec.write.CloseWithError(io.ErrUnexpectedEOF)
		} else {
			_ = rec.write.Close()
		}
	}()
	h.ServeHTTP(rec, r)
}

// forget makes further writes fail: nobody reads them.
func (rec *recorder) forget() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.forgotten = true
	if rec.read != nil {
		_ = rec.read.Close()
	}
}

// Flush implements http.Flusher.
func (rec *recorder) Flush() {
	rec.mu.Lock()
	if rec.write == nil {
		rec.read, rec.write = io.Pipe()
		if rec.forgotten {
			_ = rec.read.Close()
		}
		close(rec.ready)
	}
	rec.mu.Unlock()
	_, _ = rec.write.Write(rec.body.Bytes()) // the next Write tells that nobody reads
	rec.body.Reset()
}

func (rec *recorder) Header() http.Header    { return rec.header }
func (rec *recorder) WriteHeader(status int) { rec.status = status }
func (rec *recorder) Write(p []byte) (n int, err error) {
	if rec.write != nil {
		return rec.write.Write(p)
	}
	return rec.body.Write(p)
}

func (rec *recorder) response(r *http.Request) *http.Response {
	res := &http.Response{
		Status:     strconv.Itoa(rec.status) + " " + http.StatusText(rec.status),
		StatusCode: rec.status,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     rec.header,
		Request:    r,
	}
	if rec.read != nil {
		res.Body, res.ContentLength = rec.read, -1
		return res
	}
	res.Body, res.ContentLength = io.NopCloser(&rec.body), int64(rec.body.Len())
	return res
}
