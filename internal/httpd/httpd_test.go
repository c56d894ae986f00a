package httpd

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
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
