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
func simulate(t *testing.T, all origins, p plan) *world {
	t.Helper()
	o := all[start{p.partitions, p.edge}]
	w := &world{origin: o, plan: p, rng: rand.New(rand.NewPCG(p.seed, 0)), queue: map[string]*simTask{}, vanished: map[string]bool{}, given: map[string]int{}, unpromised: map[string]bool{}, rated: map[string]int{}, hooks: newSimHooks(), digests: map[string]string{}, ctx: t.Context()}
	w.server = o.server.Fork()
	w.server.Refuse = func(table string, r ledgertest.Row) bool {
		id := text(r, "id")
		return table == "records" && (strings.HasPrefix(id, poisoned) || strings.HasPrefix(id, fickle) && micros6(r["billed_units"]) == 1_000_000)
	}
	synctest.Test(t, func(*testing.T) {
		w.start = time.Now()
		w.redis = o.redis.Fork(w.redisNow)
		w.play()
	})
	return w
}

// fail shows a schedule that failed, step by step.
func fail(t *testing.T, o origins, p plan) {
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
	o := newOrigins(t)
	if seed := number(t, "METERD_SIM_SEED", 0); seed > 0 {
		fail(t, o, drawPlan(seed, ""))
		return
	}
	schedules := number(t, "METERD_SIM_SCHEDULES", simSchedules)
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

// TestSeedReplays: the same seed gives the same schedule, step by step.
func TestSeedReplays(t *testing.T) {
	t.Parallel()
	o := newOrigins(t)
	for seed := range uint64(150) {
		p := drawPlan(seed+1, "")
		p.tracing = true
		first, second := simulate(t, o, p), simulate(t, o, p)
		require.Equal(t, first.trace, second.trace, "seed %d", seed+1)
		require.NotEmpty(t, first.trace)
	}
}

// TestSimulationFindsWhatIsMissing takes a rule of the protocol out and wants
// the simulation to notice within so many schedules, and the same schedule to be
// clean with the rule. RuleHolds isn't here: it matters where an id holds a second
// answer while an attempt goes on with the first. charge.lua makes none, for it
// answers a settled task with its marker, forced or not, so it takes one that was
// given up and sent again.
func TestSimulationFindsWhatIsMissing(t *testing.T) {
	t.Parallel()
	o := newOrigins(t)
	from := map[string]uint64{ // what few schedules notice begins near one that does
		string(balancetest.RuleEpoch):  1000,
		string(balancetest.RuleJudged): 850,
		withoutJudgeEpoch:              400,
		overtaking:                     700,
	}
	for rule, schedules := range map[string]uint64{
		string(balancetest.RuleAnswer):  50,
		string(balancetest.RuleDone):    100,
		string(balancetest.RuleColdSet): 200,
		string(balancetest.RuleReverse): 50,
		string(balancetest.RuleForced):  4000,
		string(balancetest.RuleFloor):   4000,
		string(balancetest.RuleSettled): 4000,
		string(balancetest.RuleReplid):  4000,
		string(balancetest.RuleCorr):    4000,
		withoutQuarantine:               200,
		// What the simulation found when it was made.
		string(balancetest.RuleCounts):     4000,
		string(balancetest.RuleGeneration): 4000,
		withoutFactEpoch:                   4000,
		withoutWait:                        200,
		withoutAdopt:                       4000,
		// Of closing.
		string(balancetest.RuleClosed): 200,
		withoutIntent:                  4000,
		withoutAge:                     4000,
		withoutRebook:                  4000,
		withoutOlder:                   4000,
		// Of re-ratings.
		string(balancetest.RuleChanged): 1000,
		overtaking:                      1000,
		// Of hooks.
		withoutTurns:                    200,
		string(balancetest.RuleBreaker): 1000,
		// Of a month's edge.
		withoutRollClock: 200,
		// Of automatic refunds.
		withoutNoted: 4000,
		withoutMade:  4000,
		// Of refunds that were sent.
		withoutWaits: 4000,
		// Of partitions.
		withoutJudgeOf: 1000,
		// Others.
		string(balancetest.RuleEpoch):  4000,
		withoutJudgeEpoch:              4000,
		string(balancetest.RuleInSet):  4000,
		string(balancetest.RuleJudged): 4000,
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			for seed := from[rule]; seed < from[rule]+schedules; seed++ {
				if w := simulate(t, o, drawPlan(seed+1, rule)); len(w.errs) > 0 {
					with := simulate(t, o, drawPlan(seed+1, "="+rule))
					require.Empty(t, with.errs, "the same schedule, seed %d, fails with the rule too", seed+1)
					t.Logf("noticed by seed %d: %s", seed+1, w.errs[0])
					return
				}
			}
			t.Errorf("%d schedules didn't notice that %q is missing", schedules, rule)
		})
	}
}

// simBase is when schedules begin, where nothing particular happens.
var simBase = time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC)
