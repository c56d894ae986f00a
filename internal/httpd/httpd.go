// Package httpd serves a process's health and metrics: /healthz (it lives),
// /readyz (its engines answer), /metrics and, for who asks from this machine, Go's
// profiles under /debug/pprof/. It is bound to loopback unless told otherwise.
package httpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/singleflight"
)

// Server is a running listener.
type Server struct {
	ln  net.Listener
	srv *http.Server
}

// Listen binds the address, "127.0.0.1:0" for any free port of loopback.
func Listen(ctx context.Context, address string, reg prometheus.Gatherer, ready func(context.Context) error) (*Server, error) {
	ln, err := bind(ctx, address)
	if err != nil {
		return nil, err
	}
	ready = shared(ready)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	mux.HandleFunc("GET /debug/pprof/", fromHere(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/profile", fromHere(pprof.Profile))
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{reg, readiness(ctx, ready)}, promhttp.HandlerOpts{}))
	return &Server{ln: ln, srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}, nil
}

// Free tells whether the address could be bound just now, for who makes something
// before it listens.
func Free(ctx context.Context, address string) error {
	ln, err := bind(ctx, address)
	if err != nil {
		return err
	}
	return ln.Close() //nolint:wrapcheck // nobody has it
}

func bind(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for health checks: %w: give another --listen", err)
	}
	return ln, nil
}

// shared asks once for all who ask at the same time: each time both engines are asked
// to store something.
func shared(ready func(context.Context) error) func(context.Context) error {
	var asking singleflight.Group
	return func(ctx context.Context) error {
		_, err, _ := asking.Do("", func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyMax) // the first may leave
			defer cancel()
			return nil, ready(ctx)
		})
		return err //nolint:wrapcheck // ready's own
	}
}

// readyMax is how long the engines have to answer: less than a scrape may take.
const readyMax = 5 * time.Second

// readiness is /readyz as a metric, so that who scrapes needn't ask for both. It is
// asked at each scrape.
func readiness(ctx context.Context, ready func(context.Context) error) prometheus.Gatherer {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "meterd_ready", Help: "1 while the process has started and its engines answer.",
	}, func() float64 {
		if ready(ctx) != nil {
			return 0
		}
		return 1
	}))
	return reg
}

// fromHere serves who asks from this machine. A profile holds what memory does,
// and nobody gives a password here.
func fromHere(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			http.NotFound(w, r)
			return
		}
		h(w, r)
	}
}

// URL of the server.
func (s *Server) URL() string { return "http://" + s.ln.Addr().String() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.srv.Serve(s.ln) }()
	select {
	case err := <-done:
		return fmt.Errorf("health checks: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err := s.srv.Shutdown(stop)
	if e := <-done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
