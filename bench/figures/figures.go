package figures

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"time"
)

// Options of a run.
type Options struct {
	Binary string    // meterd itself
	Runs   int       // of each measurement that doesn't take minutes
	Only   []string  // measurements or figures; empty: all but the soak
	Short  bool      // small workloads: the ratios roughly hold, the rates don't
	Log    io.Writer // told what is being measured
}

// Figure is one line of the table.
type Figure struct {
	Name string  `json:"name"`
	Unit string  `json:"unit"`
	Goal float64 `json:"goal"`
	// Compared: the figure has no goal, others are measured against it.
	Compared bool `json:"compared,omitempty"`
	// AtMost: smaller is better.
	AtMost bool `json:"at_most,omitempty"`
	// Values, one a run.
	Values []float64 `json:"values"`
}

// Median of the values.
func (f *Figure) Median() float64 {
	v := slices.Sorted(slices.Values(f.Values))
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// Spread is the smallest and the largest value.
func (f *Figure) Spread() (low, high float64) { return slices.Min(f.Values), slices.Max(f.Values) }

// Met tells whether the median reaches the goal.
func (f *Figure) Met() bool {
	if f.AtMost {
		return f.Median() <= f.Goal
	}
	return f.Median() >= f.Goal
}

// measurement yields the values of some figures, by their names.
type measurement struct {
	name    string
	once    bool // takes minutes: one run
	asked   bool // only if it is named
	figures []Figure
	run     func(ctx context.Context, b *bench) (map[string]float64, error)
}

// bench is a run.
type bench struct {
	Options

	half int // records a second, half of the client's last figure
}

// n is the size of a workload.
func (b *bench) n(full, short int) int {
	if b.Short {
		return short
	}
	return full
}

// measurements in the order in which they are made.
func measurements() []measurement {
	return slices.Concat(ingest(), inRedis(), latency(), rest())
}

// Names of all measurements and figures.
func Names() []string {
	var out []string
	for _, m := range measurements() {
		out = append(out, m.name)
		for i := range m.figures {
			out = append(out, m.figures[i].Name)
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// ErrUnknown says that a name isn't one of Names.
var ErrUnknown = errors.New("unknown figure")

// Run measures. What fails is told with the rest's figures.
func Run(ctx context.Context, o Options) ([]Figure, error) {
	for _, name := range o.Only {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("%w %q: one of %s", ErrUnknown, name, strings.Join(Names(), ", "))
		}
	}
	b := &bench{Options: o}
	var out []Figure
	var errs []error
	for _, m := range measurements() {
		if !m.wanted(o.Only) {
			continue
		}
		list, err := b.measure(ctx, &m)
		out = append(out, list...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return out, errors.Join(errs...)
}

func (m *measurement) wanted(only []string) bool {
	if len(only) == 0 {
		return !m.asked
	}
	return slices.Contains(only, m.name) || slices.ContainsFunc(m.figures, func(f Figure) bool { return slices.Contains(only, f.Name) })
}

// runMax bounds a run: the longest, the soak, takes less than an hour.
const runMax = 2 * time.Hour

// bounded is run, which fails where meterd doesn't get on.
func (m *measurement) bounded(ctx context.Context, b *bench) (map[string]float64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runMax, fmt.Errorf("the run isn't done after %s: look whether a worker's log tells why", runMax))
	defer cancel()
	values, err := m.run(ctx, b)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return values, err
}

func (b *bench) measure(ctx context.Context, m *measurement) ([]Figure, error) {
	runs := max(b.Runs, 1)
	if m.once {
		runs = 1
	}
	list := slices.Clone(m.figures)
	for n := range runs {
		_, _ = fmt.Fprintf(b.Log, "%s, run %d of %d\n", m.name, n+1, runs)
		values, err := m.bounded(ctx, b)
		if err != nil {
			return measured(list), err
		}
		for i := range list {
			v, ok := values[list[i].Name]
			if !ok {
				return measured(list), fmt.Errorf("no value of %s", list[i].Name)
			}
			list[i].Values = append(list[i].Values, v)
			_, _ = fmt.Fprintf(b.Log, "  %s: %.4g %s\n", list[i].Name, v, list[i].Unit)
		}
	}
	return list, nil
}

// measured leaves out what has no value.
func measured(list []Figure) []Figure {
	return slices.DeleteFunc(list, func(f Figure) bool { return len(f.Values) == 0 })
}
