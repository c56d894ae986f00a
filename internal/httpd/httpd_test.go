package httpd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestProfilesAreForThisMachine: who asks from elsewhere finds nothing there.
func TestProfilesAreForThisMachine(t *testing.T) {
	t.Parallel()
	h := fromHere(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for from, want := range map[string]int{
		"127.0.0.1:5": http.StatusOK, "[::1]:5": http.StatusOK, "[::ffff:127.0.0.1]:5": http.StatusOK,
		"10.0.0.7:5": http.StatusNotFound, "[2001:db8::1]:5": http.StatusNotFound, "172.17.0.1:5": http.StatusNotFound, "": http.StatusNotFound,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/pprof/", nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		h(w, r)
		assert.Equal(t, want, w.Code, from)
	}
}

// TestReadinessIsAMetric: it says what /readyz says, at each scrape.
func TestReadinessIsAMetric(t *testing.T) {
	t.Parallel()
	var bad error
	reg := readiness(t.Context(), func(context.Context) error { return bad })
	value := func() float64 {
		all, err := reg.Gather()
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, "meterd_ready", all[0].GetName())
		return all[0].GetMetric()[0].GetGauge().GetValue()
	}
	assert.InDelta(t, 1, value(), 0)
	bad = errors.New("starting")
	assert.InDelta(t, 0, value(), 0)
}

// TestWhoAsksTogetherIsAnsweredTogether: an engine that hangs is asked once, also when
// the first who asked has left.
func TestWhoAsksTogetherIsAnsweredTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked, answer := 0, make(chan error)
		ready := shared(func(ctx context.Context) error {
			asked++
			select {
			case err := <-answer:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		ctx, leave := context.WithCancel(t.Context())
		answers := make(chan error, 9)
		go func() { answers <- ready(ctx) }()
		synctest.Wait()
		for range cap(answers) - 1 {
			go func() { answers <- ready(t.Context()) }()
		}
		synctest.Wait()
		leave()
		answer <- errors.New("away")
		for range cap(answers) {
			require.EqualError(t, <-answers, "away")
		}
		require.Equal(t, 1, asked)
		require.ErrorIs(t, ready(t.Context()), context.DeadlineExceeded, "it has a bound")
	})
}

// served is a server that runs until the test ends, and what it answers.
func served(t *testing.T, ready func(context.Context) error) (get func(path string) (int, string), s *Server) {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "x_total", Help: "x"}))
	s, err := Listen(t.Context(), "127.0.0.1:0", reg, ready)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	t.Cleanup(func() { require.NoError(t, <-ended) })
	return func(path string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
		require.NoError(t, err)
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, errors.Join(err, answer.Body.Close()))
		return answer.StatusCode, string(body)
	}, s
}

// TestAProcessSaysHowItIs: it lives though its engines don't answer, and says why it
// isn't ready.
func TestAProcessSaysHowItIs(t *testing.T) {
	t.Parallel()
	var bad atomic.Pointer[error]
	get, _ := served(t, func(context.Context) error {
		if err := bad.Load(); err != nil {
			return *err
		}
		return nil
	})
	away := errors.New("clickhouse: connection refused")
	for _, c := range []struct {
		bad   *error
		code  int
		ready string
		gauge string
	}{
		{nil, http.StatusOK, "ready\n", "\nmeterd_ready 1\n"},
		{&away, http.StatusServiceUnavailable, "clickhouse: connection refused\n", "\nmeterd_ready 0\n"},
		{nil, http.StatusOK, "ready\n", "\nmeterd_ready 1\n"},
	} {
		bad.Store(c.bad)
		code, body := get("/readyz")
		assert.Equal(t, c.code, code)
		assert.Equal(t, c.ready, body)
		code, body = get("/metrics")
		assert.Equal(t, http.StatusOK, code)
		assert.Contains(t, body, c.gauge)
		assert.Contains(t, body, "\nx_total 0\n")
		code, body = get("/healthz")
		assert.Equal(t, http.StatusOK, code)
		assert.Equal(t, "ok\n", body)
	}
	code, _ := get("/debug/pprof/")
	assert.Equal(t, http.StatusOK, code, "this machine asks")
	code, _ = get("/debug/pprof/cmdline")
	assert.Equal(t, http.StatusNotFound, code, "a command line may hold a secret")
	code, _ = get("/")
	assert.Equal(t, http.StatusNotFound, code)
}

// TestAnAddressThatIsTaken is told with what to do.
func TestAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	_, s := served(t, func(context.Context) error { return nil })
	taken := strings.TrimPrefix(s.URL(), "http://")
	require.ErrorContains(t, Free(t.Context(), taken), "give another --listen")
	_, err := Listen(t.Context(), taken, prometheus.NewRegistry(), nil)
	require.ErrorContains(t, err, "give another --listen")
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, Free(t.Context(), "127.0.0.1:0"))
}
