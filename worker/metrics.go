package worker

import (
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
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
	queueTasks    *prometheus.GaugeVec
	oldestTask    *prometheus.GaugeVec
	oldestAnswer  prometheus.Gauge
	hooks         *prometheus.CounterVec
	reports       *prometheus.CounterVec
	unknown       *prometheus.CounterVec
	unknownNames  names
	requeued      prometheus.Counter
	breaker       *prometheus.GaugeVec
	measured      *prometheus.GaugeVec
	role          *prometheus.GaugeVec
}

// What a scheduler measures, as meterd_measured_timestamp_seconds names it.
const (
	measuredTasks     = "tasks"
	measuredAnswers   = "answers"
	measuredSuspended = "suspended"
	measuredBreakers  = "breakers"
)

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
		queueTasks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_queue_tasks", Help: "Tasks that aren't done, by queue and state; ingest's queues are one.",
		}, []string{"queue", "state"}),
		oldestTask: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_oldest_task_seconds", Help: "Age of the oldest task that isn't done.",
		}, []string{"queue"}),
		oldestAnswer: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meterd_oldest_answer_seconds", Help: "How long a charge whose rows aren't in the ledger has been left alone.",
		}),
		hooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_hook_deliveries_total", Help: "Webhook deliveries by outcome.",
		}, []string{"outcome"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_report_runs_total", Help: "Report runs by state.",
		}, []string{"state"}),
		unknown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_unknown_fields_total", Help: "Records that came with a field that isn't defined, by its name; of each try of a task.",
		}, []string{"field"}),
		requeued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meterd_requeued_tasks_total", Help: "Tasks taken back from a worker that died.",
		}),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_breaker_open", Help: "1 while suspensions of a partition are held back.",
		}, []string{"partition"}),
		measured: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_measured_timestamp_seconds", Help: "When a scheduler last measured what only schedulers do.",
		}, []string{"what"}),
		role: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_role", Help: "1 for each role that this worker has and serves.",
		}, []string{"role"}),
	}
	reg.MustRegister(m.records, m.chargeSeconds, m.storeSeconds, m.forced, m.drift, m.openAnswers, m.suspended, m.queueTasks, m.oldestTask, m.oldestAnswer, m.hooks, m.reports, m.unknown, m.requeued, m.breaker, m.measured, m.role)
	m.begin()
	return m
}

// begin has every labelled counter stand at 0: an increase isn't seen in the first
// sample of a series, so the first failure would go unseen where it made the series.
func (m *metrics) begin() {
	m.count(balance.Counts{})
	for _, outcome := range []string{outcomeDelivered, outcomeFailed, outcomeGone} {
		m.hooks.WithLabelValues(outcome)
	}
	for _, state := range []string{ledger.RunDelivered, ledger.RunTruncated, ledger.RunFailed} {
		m.reports.WithLabelValues(state)
	}
}

// Bounds of the names of fields that are told apart, and of each.
const (
	unknownNamesMax = 50
	unknownNameMax  = 64
	otherFields     = "(others)"
)

// names are those of fields that were seen, up to unknownNamesMax: who sends
// chooses them.
type names struct {
	mu   sync.Mutex
	seen map[string]bool
}

// of is what a field is counted as.
func (n *names) of(field string) string {
	if len(field) > unknownNameMax || !utf8.ValidString(field) {
		return otherFields
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.seen[field] {
		if len(n.seen) >= unknownNamesMax {
			return otherFields
		}
		if n.seen == nil {
			n.seen = map[string]bool{}
		}
		n.seen[strings.Clone(field)] = true // it shares memory with its line
	}
	return field
}

// countUnknown counts fields that aren't defined: what a channel service believes
// that it tells, and nobody keeps.
func (m *metrics) countUnknown(recs []metering.Record) {
	for i := range recs {
		for _, field := range recs[i].Unknown {
			m.unknown.WithLabelValues(m.unknownNames.of(field)).Inc()
		}
	}
}

// schedules has the gauges stand that a scheduler alone sets. What it never comes to
// measure is of its start, and so gets old where somebody sees it.
func (m *metrics) schedules(partitions int) {
	for p := range partitions {
		m.breaker.WithLabelValues(strconv.Itoa(p))
	}
	for _, what := range []string{measuredTasks, measuredAnswers, measuredSuspended, measuredBreakers} {
		m.measuredNow(what)
	}
}

// measuredNow notes that what stands in the gauges is of now.
func (m *metrics) measuredNow(what string) {
	m.measured.WithLabelValues(what).Set(double(clock.System().Now().Unix()))
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
