package prometheus

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const (
	rulesFile = "meterd.rules.yml"
	testsFile = "meterd.rules_test.yml"
)

// testFile is what promtool's tests have of ours; more is refused.
type testFile struct {
	RuleFiles []string       `yaml:"rule_files"`
	Every     model.Duration `yaml:"evaluation_interval"`
	Tests     []testCase     `yaml:"tests"`
}

type testCase struct {
	Name   string         `yaml:"name"`
	Every  model.Duration `yaml:"interval"`
	Series []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Asks []question `yaml:"promql_expr_test"`
}

type question struct {
	Expr string         `yaml:"expr"`
	At   model.Duration `yaml:"eval_time"`
	Want []struct {
		Labels string  `yaml:"labels"`
		Value  float64 `yaml:"value"`
	} `yaml:"exp_samples"`
}

// TestRules: the rules are what Prometheus takes, and fire when meterd.rules_test.yml
// says.
func TestRules(t *testing.T) {
	t.Parallel()
	parse := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parse, slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	require.Len(t, groups.Groups, 1)
	f, err := os.Open(testsFile)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	var tests testFile
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	require.NoError(t, dec.Decode(&tests))
	require.Equal(t, []string{rulesFile}, tests.RuleFiles)
	require.NotEmpty(t, tests.Tests)
	for _, c := range tests.Tests {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			w := &watcher{
				t: t, parse: parse, rules: groups.Groups[0].Rules, since: map[string]map[string]pending{},
				engine: promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: parse}),
			}
			w.run(c, time.Duration(tests.Every))
		})
	}
}

// watcher is a Prometheus that has no more than the series of one case.
type watcher struct {
	t      *testing.T
	parse  parser.Parser
	engine *promql.Engine
	rules  []rulefmt.Rule
	series memory
	since  map[string]map[string]pending // alert → labels → since when it is so
}

type pending struct {
	labels labels.Labels
	since  time.Time
}

func (w *watcher) run(c testCase, every time.Duration) {
	w.t.Helper()
	for _, s := range c.Series {
		lset, values, err := w.parse.ParseSeriesDesc(s.Series + " " + s.Values)
		require.NoError(w.t, err, s.Series)
		for i, v := range values {
			if !v.Omitted {
				w.series.add(lset, time.Duration(i)*time.Duration(c.Every), v.Value)
			}
		}
	}
	slices.SortStableFunc(c.Asks, func(a, b question) int { return int(a.At - b.At) })
	require.NotEmpty(w.t, c.Asks)
	now := time.Duration(0)
	for _, q := range c.Asks {
		for ; now <= time.Duration(q.At); now += every {
			for i := range w.rules {
				w.evaluate(&w.rules[i], at(now))
			}
		}
		want := map[string]float64{}
		for _, s := range q.Want {
			lset, err := w.parse.ParseMetric(s.Labels)
			require.NoError(w.t, err)
			want[lset.String()] = s.Value
		}
		got := map[string]float64{}
		for _, s := range w.ask(q.Expr, at(time.Duration(q.At))) {
			got[s.Metric.String()] = s.F
		}
		assert.Equal(w.t, want, got, "%s at %s", q.Expr, q.At)
	}
}

func at(d time.Duration) time.Time { return time.UnixMilli(d.Milliseconds()) }

func (w *watcher) ask(expr string, now time.Time) promql.Vector {
	w.t.Helper()
	q, err := w.engine.NewInstantQuery(w.t.Context(), &w.series, nil, expr, now)
	require.NoError(w.t, err, expr)
	defer q.Close()
	v, err := q.Exec(w.t.Context()).Vector()
	require.NoError(w.t, err, expr)
	return v
}

// evaluate an alert, as Prometheus does: what its expression holds is pending, and
// fires once that has been so for its time. Both are samples of the series ALERTS.
func (w *watcher) evaluate(r *rulefmt.Rule, now time.Time) {
	w.t.Helper()
	was, is := w.since[r.Alert], map[string]pending{}
	for _, s := range w.ask(r.Expr, now) {
		b := labels.NewBuilder(s.Metric).Del(model.MetricNameLabel)
		for name, v := range r.Labels {
			b.Set(name, v)
		}
		p := pending{labels: b.Labels(), since: now}
		key := p.labels.String()
		require.NotContains(w.t, is, key, "%s fires twice for one thing", r.Alert)
		if before, ok := was[key]; ok {
			p.since = before.since
		}
		is[key] = p
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		for _, state := range []string{"pending", "firing"} {
			w.series.end(alertSeries(r, was[key], state), now)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(is)) {
		state := "pending"
		if now.Sub(is[key].since) >= time.Duration(r.For) {
			state = "firing"
		}
		w.series.add(alertSeries(r, is[key], state), now.Sub(at(0)), 1)
	}
	w.since[r.Alert] = is
}

func alertSeries(r *rulefmt.Rule, p pending, state string) labels.Labels {
	return labels.NewBuilder(p.labels).Set(model.MetricNameLabel, "ALERTS").Set("alertname", r.Alert).Set("alertstate", state).Labels()
}

// memory is a storage of few samples.
type memory struct{ list []*stored }

type stored struct {
	labels  labels.Labels
	samples []chunks.Sample // of rising times
}

type sample struct {
	at    int64
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

func (m *memory) find(lset labels.Labels) *stored {
	for _, s := range m.list {
		if labels.Equal(s.labels, lset) {
			return s
		}
	}
	return nil
}

// add a sample; a later one of the same time stands.
func (m *memory) add(lset labels.Labels, at time.Duration, v float64) {
	s := m.find(lset)
	if s == nil {
		s = &stored{labels: lset}
		m.list = append(m.list, s)
	}
	if last := len(s.samples) - 1; last >= 0 && s.samples[last].T() == at.Milliseconds() {
		s.samples = s.samples[:last]
	}
	s.samples = append(s.samples, sample{at.Milliseconds(), v})
}

// end has a series that there is be stale.
func (m *memory) end(lset labels.Labels, now time.Time) {
	if m.find(lset) != nil {
		m.add(lset, now.Sub(at(0)), math.Float64frombits(value.StaleNaN))
	}
}

// Querier implements storage.Queryable.
func (m *memory) Querier(from, to int64) (storage.Querier, error) {
	return &querier{m: m, from: from, to: to}, nil
}

type querier struct {
	m        *memory
	from, to int64
}

// Select implements storage.Querier.
func (q *querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{at: -1}
	for _, s := range q.m.list {
		if slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
			continue
		}
		first := func(at int64) int {
			i, _ := slices.BinarySearchFunc(s.samples, at, func(x chunks.Sample, at int64) int { return cmp.Compare(x.T(), at) })
			return i
		}
		if within := s.samples[first(q.from):first(q.to+1)]; len(within) > 0 {
			set.list = append(set.list, storage.NewListSeries(s.labels, within))
		}
	}
	slices.SortFunc(set.list, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return set
}

// LabelValues implements storage.Querier; no expression asks.
func (q *querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// LabelNames implements storage.Querier; no expression asks.
func (q *querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// Close implements storage.Querier.
func (q *querier) Close() error { return nil }

type seriesSet struct {
	list []storage.Series
	at   int
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at < len(s.list) }
func (s *seriesSet) At() storage.Series                { return s.list[s.at] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
