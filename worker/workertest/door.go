package workertest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"

	"github.com/stretchr/testify/require"
)

// Door before the ledger: shut, whoever comes is cut off.
type Door struct {
	url     string
	Shut    atomic.Bool
	Lookups atomic.Int64         // that are cut off all the same
	stands  atomic.Pointer[Stop] // who comes waits
}

// Stop of who asks the ledger what contains asks, until it is released.
type Stop struct {
	asks     string
	Arrived  atomic.Bool // one of them waits
	Released chan struct{}
}

// Stop who comes to the door from now on, if they ask that.
func (d *Door) Stop(asks string) *Stop {
	s := &Stop{asks: asks, Released: make(chan struct{})}
	d.stands.Store(s)
	return s
}

// lets tells whether a request may pass.
func (d *Door) lets(r *http.Request) bool {
	if d.Shut.Load() {
		return false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if s := d.stands.Load(); s != nil && bytes.Contains(body, []byte(s.asks)) {
		s.Arrived.Store(true)
		select {
		case <-s.Released:
		case <-r.Context().Done():
			return false
		}
	}
	return !bytes.Contains(body, []byte("argMax(content_hash")) || d.Lookups.Add(-1) < 0
}

func (h *Rig) door() *Door {
	h.TB.Helper()
	behind, err := url.Parse(h.Engines.ClickHouseURL)
	require.NoError(h.TB, err)
	d := &Door{}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.lets(r) {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	h.TB.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// BehindDoor is what a worker needs, with a door before its ledger.
func (h *Rig) BehindDoor() (*Door, Deps) {
	h.TB.Helper()
	d, a := h.door(), h.Address()
	a.ClickHouse = d.url
	deps, _ := Connect(h.TB, a)
	return d, deps
}
