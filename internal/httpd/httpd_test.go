package httpd

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

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
