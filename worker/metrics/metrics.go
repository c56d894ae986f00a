// Package metrics has the series that a worker keeps of itself, for Prometheus.
//
// It is a part of meterd, and no stable interface.
package metrics

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

// Set is a worker's series. Every figure that the documents name as a goal is here. What
// each is and its labels are in New.
type Set struct {
	records       *prometheus.CounterVec
	ChargeSeconds prometheus.Histogram
	StoreSeconds  prometheus.Histogram
	Forced        prometheus.Counter
	Drift         prometheus.Counter
	OpenAnswers   prometheus.Gauge
	Suspended     prometheus.Gauge
	QueueTasks    *prometheus.GaugeVec
	OldestTask    *prometheus.GaugeVec
	OldestAnswer  prometheus.Gauge
	Hooks         *prometheus.CounterVec
	Reports       *prometheus.CounterVec
	unknown       *prometheus.CounterVec
	unknownNames  names
	Requeued      prometheus.Counter
	Breaker       *prometheus.GaugeVec
	Measured      *prometheus.GaugeVec
	Role          *prometheus.GaugeVec
}

// What a scheduler measures, as meterd_measured_timestamp_seconds names it.
const (
	MeasuredTasks     = "tasks"
	MeasuredAnswers   = "answers"
	MeasuredSuspended = "suspended"
	MeasuredBreakers  = "breakers"
)

// New registers a worker's series.
func New(reg prometheus.Registerer) *Set {
	m := &Set{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_records_total", Help: "Records by outcome.",
		}, []string{"outcome"}),
		ChargeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "meterd_charge_seconds", Help: "Time of a slice's charge, with its lookups.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		StoreSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "meterd_store_seconds", Help: "Time until a task's rows are on disk.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 16),
		}),
		Forced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meterd_forced_charges_total", Help: "Identities that stood in a dedup set without a row.",
		}),
		Drift: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meterd_projection_drift_total", Help: "Fields of the projection that differed from the ledger. Zero is the only normal figure.",
		}),
		OpenAnswers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meterd_open_answers", Help: "Charges whose rows aren't in the ledger yet.",
		}),
		Suspended: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meterd_suspended_accounts", Help: "Accounts that are suspended.",
		}),
		QueueTasks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_queue_tasks", Help: "Tasks that aren't done, by queue and state; ingest's queues are one.",
		}, []string{"queue", "state"}),
		OldestTask: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_oldest_task_seconds", Help: "Age of the oldest task that isn't done.",
		}, []string{"queue"}),
		OldestAnswer: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meterd_oldest_answer_seconds", Help: "How long a charge whose rows aren't in the ledger has been left alone.",
		}),
		Hooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_hook_deliveries_total", Help: "Webhook deliveries by outcome.",
		}, []string{"outcome"}),
		Reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_report_runs_total", Help: "Report runs by state.",
		}, []string{"state"}),
		unknown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meterd_unknown_fields_total", Help: "Records that came with a field that isn't defined, by its name; of each try of a task.",
		}, []string{"field"}),
		Requeued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meterd_requeued_tasks_total", Help: "Tasks taken back from a worker that died.",
		}),
		Breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_breaker_open", Help: "1 while suspensions of a partition are held back.",
		}, []string{"partition"}),
		Measured: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_measured_timestamp_seconds", Help: "When a scheduler last measured what only schedulers do.",
		}, []string{"what"}),
		Role: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meterd_role", Help: "1 for each role that this worker has and serves.",
		}, []string{"role"}),
	}
	reg.MustRegister(m.records, m.ChargeSeconds, m.StoreSeconds, m.Forced, m.Drift, m.OpenAnswers, m.Suspended, m.QueueTasks, m.OldestTask, m.OldestAnswer, m.Hooks, m.Reports, m.unknown, m.Requeued, m.Breaker, m.Measured, m.Role)
	m.begin()
	return m
}

// begin has every labelled counter stand at 0: an increase isn't seen in the first
// sample of a series, so the first failure would go unseen where it made the series.
func (m *Set) begin() {
	m.Count(balance.Counts{})
	for _, outcome := range []string{ledger.OutcomeDelivered, ledger.OutcomeFailed, ledger.OutcomeGone} {
		m.Hooks.WithLabelValues(outcome)
	}
	for _, state := range []string{ledger.RunDelivered, ledger.RunTruncated, ledger.RunFailed} {
		m.Reports.WithLabelValues(state)
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

// CountUnknown counts fields that aren't defined: what a channel service believes
// that it tells, and nobody keeps.
func (m *Set) CountUnknown(recs []metering.Record) {
	for i := range recs {
		for _, field := range recs[i].Unknown {
			m.unknown.WithLabelValues(m.unknownNames.of(field)).Inc()
		}
	}
}

// Schedules has the gauges stand that a scheduler alone sets. What it never comes to
// measure is of its start, and so gets old where somebody sees it.
func (m *Set) Schedules(partitions int) {
	for p := range partitions {
		m.Breaker.WithLabelValues(strconv.Itoa(p))
	}
	for _, what := range []string{MeasuredTasks, MeasuredAnswers, MeasuredSuspended, MeasuredBreakers} {
		m.MeasuredNow(what)
	}
}

// MeasuredNow notes that what stands in the gauges is of now.
func (m *Set) MeasuredNow(what string) {
	m.Measured.WithLabelValues(what).Set(Float(clock.System().Now().Unix()))
}

// Count notes what became of a task's records.
func (m *Set) Count(c balance.Counts) {
	m.records.WithLabelValues("stored").Add(Float(c.Stored))
	m.records.WithLabelValues("duplicate").Add(Float(c.Duplicates))
	m.records.WithLabelValues("quarantined").Add(Float(c.Quarantined))
	m.records.WithLabelValues("waiting").Add(Float(c.Waiting))
}

// Seconds is a time as Prometheus takes it.
func Seconds(d time.Duration) float64 { return d.Seconds() } //nolint:forbidigo // a metric

// Float is a number as Prometheus takes it; no amount of money gets here.
func Float[N int | int64](n N) float64 { return float64(n) } //nolint:forbidigo // a metric
