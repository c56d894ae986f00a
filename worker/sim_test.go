package worker

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering/balance/balancetest"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
)

// simulate runs one schedule and returns what was wrong, and its trace.
func simulate(t *testing.T, o *origin, p plan) *world {
	t.Helper()
	w := &world{origin: o, plan: p, rng: rand.New(rand.NewPCG(p.seed, 0)), queue: map[string]*simTask{}, vanished: map[string]bool{}}
	w.server = o.server.Fork()
	w.server.Refuse = func(table string, r ledgertest.Row) bool {
		return table == "records" && strings.HasPrefix(text(r, "id"), poisoned)
	}
	synctest.Test(t, func(*testing.T) {
		w.start = time.Now()
		w.redis = o.redis.Fork(func() time.Time { return w.now().Add(w.skew) })
		w.play()
	})
	return w
}

// fail shows a schedule that failed, step by step.
func fail(t *testing.T, o *origin, p plan) {
	t.Helper()
	p.tracing = true
	w := simulate(t, o, p)
	t.Errorf("seed %d: %s\n%s\nreplay it: METERD_SIM_SEED=%d go test ./worker -run 'TestSimulation$'",
		p.seed, strings.Join(w.errs, "; "), strings.Join(w.trace, "\n"), p.seed)
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, name)
	return n
}

// TestSimulation runs random schedules of the record protocol. A failure names
// its seed: METERD_SIM_SEED=n runs that one alone, with its trace;
// METERD_SIM_SCHEDULES=n runs so many (make soak).
func TestSimulation(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC))
	if seed := number(t, "METERD_SIM_SEED", 0); seed > 0 {
		fail(t, o, drawPlan(seed, os.Getenv("WITHOUT")))
		return
	}
	schedules := number(t, "METERD_SIM_SCHEDULES", 10_000)
	var next, steps atomic.Uint64
	started := time.Now()
	for shard := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			for seed := next.Add(1); seed <= schedules; seed = next.Add(1) {
				p := drawPlan(seed, "")
				w := simulate(t, o, p)
				if len(w.errs) > 0 {
					fail(t, o, p)
					return
				}
				steps.Add(uint64(w.steps))
				if seed%100_000 == 0 {
					t.Logf("%d schedules, %d steps, %s", seed, steps.Load(), time.Since(started).Round(time.Second))
				}
			}
		})
	}
}

var _ = balancetest.RuleAnswer
