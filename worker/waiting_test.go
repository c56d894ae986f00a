package worker

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/worker/metrics"
	"github.com/meterd/meterd/worker/workertest"
)

// gathered are the values of a metric, by its labels.
func gathered(t *testing.T, reg prometheus.Gatherer, name string) map[string]float64 {
	t.Helper()
	all, err := reg.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			out[labels(m)] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

func labels(m *dto.Metric) string {
	text := ""
	for _, l := range m.GetLabel() {
		text += fmt.Sprintf("%s=%s ", l.GetName(), l.GetValue())
	}
	return text
}

// TestCountersBeginAtZero: else the first failure isn't seen, for it makes the series.
func TestCountersBeginAtZero(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	metrics.New(reg)
	assert.Equal(t, map[string]float64{"outcome=delivered ": 0, "outcome=failed ": 0, "outcome=gone ": 0}, gathered(t, reg, "meterd_hook_deliveries_total"))
	assert.Equal(t, map[string]float64{"state=delivered ": 0, "state=failed ": 0, "state=truncated ": 0}, gathered(t, reg, "meterd_report_runs_total"))
	assert.Equal(t, map[string]float64{"outcome=stored ": 0, "outcome=duplicate ": 0, "outcome=quarantined ": 0, "outcome=waiting ": 0}, gathered(t, reg, "meterd_records_total"))
	for _, name := range []string{"meterd_projection_drift_total", "meterd_forced_charges_total", "meterd_requeued_tasks_total"} {
		assert.Equal(t, map[string]float64{"": 0}, gathered(t, reg, name), name)
	}
}

// TestWhatWaitsIsMeasured: by a scheduler, which names its roles and says of when its
// figures are.
func TestWhatWaitsIsMeasured(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	deps, _ := workertest.Connect(t, h.Address())
	reg := prometheus.NewRegistry()
	deps.Metrics = reg
	w, err := New(Deps(deps), Options{Roles: []string{RoleScheduler, RoleReports}})
	require.NoError(t, err)
	require.Len(t, gathered(t, reg, "meterd_measured_timestamp_seconds"), 4)
	require.Equal(t, map[string]float64{"partition=0 ": 0}, gathered(t, reg, "meterd_breaker_open"))
	require.Empty(t, gathered(t, reg, "meterd_role"), "it serves nobody yet")

	h.Batch().Task(workertest.Message(workertest.Shop, "m", 0)) // nobody takes it
	w.metrics.Measured.Reset()
	require.NoError(t, w.countTasks(t.Context()))
	require.Contains(t, gathered(t, reg, "meterd_measured_timestamp_seconds"), "what=tasks ")
	tasks := gathered(t, reg, "meterd_queue_tasks")
	require.Len(t, tasks, 4*4)
	require.InDelta(t, 1, tasks["queue=ingest state=pending "], 0)
	require.Len(t, gathered(t, reg, "meterd_oldest_task_seconds"), 4)
	require.Positive(t, gathered(t, reg, "meterd_oldest_task_seconds")["queue=ingest "])

	deps, _ = workertest.Connect(t, h.Address())
	reg = prometheus.NewRegistry()
	deps.Metrics = reg
	stop := h.workWith(deps, Options{Roles: []string{RoleIngest, RoleSuspensions}})
	defer stop()
	require.Equal(t, map[string]float64{"role=ingest ": 1, "role=suspensions ": 1}, gathered(t, reg, "meterd_role"))
	for _, name := range []string{"meterd_breaker_open", "meterd_queue_tasks", "meterd_oldest_task_seconds", "meterd_measured_timestamp_seconds"} {
		require.Empty(t, gathered(t, reg, name), "%s is a scheduler's", name)
	}
}
