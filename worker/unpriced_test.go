package worker

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/workertest"
)

// inbox is a webhook that keeps what it gets.
type inbox struct {
	mu   sync.Mutex
	got  []map[string]any
	hook metering.Hook
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct {
			Type string         `json:"type"`
			Data map[string]any `json:"data"`
		}
		if assert.NoError(t, json.NewDecoder(r.Body).Decode(&m)) {
			in.mu.Lock()
			defer in.mu.Unlock()
			m.Data["type"] = m.Type
			in.got = append(in.got, m.Data)
		}
	}))
	t.Cleanup(srv.Close)
	in.hook = metering.Hook{URL: srv.URL, SecretEnv: "METERD_TEST_HOOK"}
	return in
}

// of a type.
func (in *inbox) of(typ string) (out []map[string]any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, m := range in.got {
		if m["type"] == typ {
			out = append(out, m)
		}
	}
	return out
}

// TestNoPriceAlerts tells of a channel without a price once a month, however
// many records come, and whoever meters them.
func TestNoPriceAlerts(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	h := newHarness(t)
	stop := h.work(Options{Hooks: []metering.Hook{in.hook}})
	fax := func(id string) string {
		return `{"id":"` + id + `","account_id":"globex","channel":"fax","occurred_at":"` + time.Now().UTC().Format(time.RFC3339Nano) + `"}`
	}
	assert.Equal(t, balance.Counts{Stored: 1, Quarantined: 2}, h.Batch().Task(fax("1"), workertest.Message("globex", "2", time.Second), fax("3")).Wait())
	assert.Equal(t, balance.Counts{Quarantined: 1}, h.Batch().Task(fax("4")).Wait())
	h.Eventually("the operator is told", func() bool { return len(in.of("account.alert")) > 0 })
	stop()
	stop = h.work(Options{Hooks: []metering.Hook{in.hook}})
	assert.Equal(t, balance.Counts{Quarantined: 1}, h.Batch().Task(fax("5")).Wait())
	stop()
	list := in.of("account.alert")
	require.Len(t, list, 1)
	assert.Equal(t, []any{"globex", "no_price", "fax"}, []any{list[0]["account_id"], list[0]["limit"], list[0]["channel"]})
}

// TestBreakerTellsTheOperator, once.
func TestBreakerTellsTheOperator(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	h := newHarness(t)
	h.Apply(crowd(4, "enforce"))
	h.work(Options{Hooks: []metering.Hook{in.hook}, BreakerShare: 1})
	h.breakerAt(1)
	h.Batch().Task(oneEach(0, 4, "a")...).Wait()
	h.Eventually("the operator is told", func() bool { return len(in.of("operator.breaker")) > 0 })
	assert.Equal(t, "crowd", in.of("operator.breaker")[0]["parent_id"])
}
