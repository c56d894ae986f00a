package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meterd/meterd/metering/balance"
)

// metrics of a worker. Every figure that the documents name as a goal is here.
type metrics struct {
	records       *prometheus.CounterVec
	chargeSeconds prometheus.Histogram
	storeSeconds  prometheus.Histogram
	forced        prometheus.Counter
	drift         prometheus.Counter
	openAnswers   prometheus.Gauge
	suspended     prometheus.Gauge
	queueLag      prometheus.Gauge
	hooks         *prometheus.CounterVec
	reports       *prometheus.CounterVec
	requeued      prometheus.Counter
	breaker       *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_records_total", Help: "Records by outcome.",
		}, []string{"outcome"}),
		chargeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "meterd_charge_seconds", Help: "Time of a slice's charge, with its lookups.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		storeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "meterd_store_seconds", Help: "Time until a task's rows are on disk.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 16),
		}),
		forced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meterd_forced_charges_total", Help: "Identities that stood in a dedup set without a row.",
		}),
		drift: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meterd_projection_drift_total", Help: "Fields of the projection that differed from the ledger. Zero is the only normal figure.",
		}),
		openAnswers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meterd_open_answers", Help: "Charges whose rows aren't in the ledger yet.",
		}),
		suspended: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meterd_suspended_accounts", Help: "Accounts that are suspended.",
		}),
		queueLag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meterd_queue_tasks", Help: "Ingest tasks that wait.",
		}),
		hooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_hook_deliveries_total", Help: "Webhook deliveries by outcome.",
		}, []string{"outcome"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_report_runs_total", Help: "Report runs by state.",
		}, []string{"state"}),
		requeued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meterd_requeued_tasks_total", Help: "Tasks taken back from a worker that died.",
		}),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_breaker_open", Help: "1 while suspensions of a partition are held back.",
		}, []string{"partition"}),
	}
	reg.MustRegister(m.records, m.chargeSeconds, m.storeSeconds, m.forced, m.drift, m.openAnswers, m.suspended, m.queueLag, m.hooks, m.reports, m.requeued, m.breaker)
	m.count(balance.Counts{}) // an outcome that hasn't come yet is 0, not missing
	return m
}

func (m *metrics) count(c balance.Counts) {
	m.records.WithLabelValues("stored").Add(double(c.Stored))
	m.records.WithLabelValues("duplicate").Add(double(c.Duplicates))
	m.records.WithLabelValues("quarantined").Add(double(c.Quarantined))
	m.records.WithLabelValues("waiting").Add(double(c.Waiting))
}

// Prometheus takes floats; no amount of money gets here.

func seconds(d time.Duration) float64 { return d.Seconds() } //nolint:forbidigo // a metric

func double[N int | int64](n N) float64 { return float64(n) } //nolint:forbidigo // a metric
