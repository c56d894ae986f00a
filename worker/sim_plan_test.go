package worker

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/meterd/meterd/metering/balance/balancetest"
)

// plan is what may happen in a schedule, drawn from its seed.
type plan struct {
	seed    uint64
	tracing bool
	without string // a rule that is taken out
	bias    string // the rule that the schedule is to need, taken out or not

	tasks, lines, ids int
	steps             int
	crashes, breaks   int // processes that die; calls that fail
	copies, acksLost  int
	pauses, chores    int
	transfers         int
	skew              time.Duration // between clocks
	clockSteps        int
	loss              string // "", restarted, replaced, emptied, account lost, failover, failover with its queue
	durable           bool
	vanish            int
	refunding         bool // tasks are of several refunds, some of which wait
	dropRefunds       bool // the queue loses the automatic refunds that are handed over first
	window            bool // a day and more passes
	cold, restamp     bool
	poison, refunds   bool
	other             bool // copies may have other content
	closing           bool // a month closes
	straggle, long    bool // rows land whose task is lost; long after their time
	partitions        int  // of Redis: a task may span them
	rerates           int  // re-ratings, which overlap
	hooks             bool // are told, and one parent's hang
	large             bool // messages reach limits
	breaker           bool // one account of a partition may be suspended within a minute
	edge              edge // that the clocks pass, each at its time
	crossings         int
	older             bool // identities of the month before the one that closes, too
}

// Rules that the simulation itself can take out, beside balancetest's.
const (
	withoutJudgeEpoch = "judge epoch"      // a judge task of another epoch starts over
	withoutQuarantine = "quarantine first" // quarantined before the charge is reversed
	withoutAdopt      = "adopt"            // only what can't have lost a write is adopted
	withoutFactEpoch  = "fact epoch"       // a fact of the outbox carries its own epoch
	withoutWait       = "wait"             // whoever looks into the ledger waits for older answers
	withoutIntent     = "intent"           // a closing begins with a row
	withoutAge        = "age"              // a projection is ten minutes old before a month is digested
	withoutRebook     = "rebook"           // what lands in a closed month is booked elsewhere
	withoutOlder      = "older"            // older months are looked for once more when all has settled
	withoutRollClock  = "roll clock"       // a month has begun when it has by Redis's clock too
	withoutTurns      = "turns"            // of a parent a few hooks' tasks are in hand at a time
	withoutNoted      = "noted"            // statuses, and reasons to look, are written before their rows
	withoutMade       = "made"             // an automatic refund is handed over until it stands
	withoutJudgeOf    = "judge of"         // each partition's duplicates have a judge task of their own
	withoutWaits      = "waits"            // a refund that waited when its answer was made waits
)

func drawPlan(seed uint64, without string) plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	some := func(n, of int) bool { return rng.IntN(of) < n }
	upTo := func(n int) int { return rng.IntN(n + 1) }
	p := plan{
		seed: seed, without: without, tasks: 2 + upTo(3), lines: 1 + upTo(2), ids: 1 + upTo(3), steps: 50 + upTo(140), durable: some(1, 2),
		cold: some(1, 2), restamp: some(1, 4), poison: some(1, 5), refunds: some(1, 3), other: some(1, 2), window: some(1, 6),
	}
	if some(3, 4) {
		p.crashes, p.breaks, p.copies, p.acksLost = upTo(2), upTo(3), upTo(2), upTo(1)
	}
	if some(1, 3) {
		p.pauses, p.chores, p.transfers = upTo(1), upTo(4), upTo(2)
	}
	if some(1, 4) {
		p.skew, p.clockSteps = 2*time.Minute, upTo(2)
	}
	if some(1, 3) {
		p.loss = []string{"restarted", "replaced", "emptied", "failover", "failover with its queue"}[rng.IntN(5)]
	}
	if some(1, 8) {
		p.vanish = 1
	}
	if some(1, 4) {
		p.ids, p.lines = 1, 1 // all meet
	}
	if some(1, 4) {
		p.closing, p.straggle, p.long = true, some(1, 3), some(1, 2)
	}
	p.older = p.closing && some(1, 3)
	p.focus()
	p.without = strings.TrimPrefix(p.without, "=")
	p.bias = p.without
	if p.without != without {
		p.without = ""
	}
	p.partitions = max(p.partitions, 1)
	if p.bias == "" {
		p.widen()
	}
	p.bind()
	return p
}

// widen adds what no missing rule needs, by numbers of its own: so the schedules
// of a rule stay what they are.
func (p *plan) widen() {
	rng := rand.New(rand.NewPCG(p.seed, 2))
	some := func(n, of int) bool { return rng.IntN(of) < n }
	if some(1, 6) {
		p.partitions = 2 + rng.IntN(partitionsMax-1)
		p.ids, p.lines = max(p.ids, 2), max(p.lines, 2)
	}
	if some(1, 12) {
		p.hooks, p.large = true, true
	}
	if some(1, 8) {
		p.toEdge([]edge{edgeMonth, edgeGrace}[rng.IntN(2)])
	}
	if some(1, 8) && !p.straggle {
		p.rerates, p.refunds = 2, p.refunds || some(1, 2)
	}
	if p.loss == "emptied" && !p.closing && some(1, 2) {
		p.loss = "account lost"
	}
	p.dropRefunds = p.refunds && some(1, 4)
	p.breaker = p.large && some(2, 3)
	if p.refunds && some(1, 3) {
		p.toRefunds()
	}
}

// toRefunds makes the plan one of tasks with refunds of which some wait.
func (p *plan) toRefunds() {
	p.refunds, p.refunding, p.poison = true, true, false
	p.tasks, p.ids, p.lines, p.crashes = max(p.tasks, 4), 3, 3, max(p.crashes, 1)
}

// focus makes likely what a missing rule needs to be noticed.
func (p *plan) focus() {
	if p.without == "" {
		return
	}
	p.tasks, p.crashes, p.breaks, p.copies = 4, max(p.crashes, 1), max(p.breaks, 1), max(p.copies, 1)
	switch strings.TrimPrefix(p.without, "=") {
	case string(balancetest.RuleForced), string(balancetest.RuleHolds):
		p.ids, p.lines, p.vanish, p.loss, p.chores, p.window = 1, 1, 1, "", 4, false
	case string(balancetest.RuleInSet):
		p.ids, p.lines, p.vanish, p.loss, p.window, p.copies, p.closing = 1, 1, 0, "", true, 3, false
		p.poison, p.other, p.cold, p.restamp, p.refunds = true, true, false, false, false
	case string(balancetest.RuleJudged):
		p.ids, p.lines, p.vanish, p.loss, p.window, p.copies, p.closing = 2, 1, 0, "", true, 6, false
		p.poison, p.other, p.cold, p.restamp, p.refunds, p.steps = true, true, false, false, false, 190
	case string(balancetest.RuleReplid), withoutAdopt:
		p.ids, p.loss, p.other, p.window = 1, "failover", true, false
	case withoutFactEpoch:
		p.tasks, p.transfers, p.chores, p.pauses, p.loss, p.vanish = 1, 2, 12, 0, "replaced", 0
	case string(balancetest.RuleCounts):
		p.ids, p.lines, p.loss, p.vanish, p.window, p.crashes, p.breaks = 1, 1, "", 0, false, 2, 3
	case string(balancetest.RuleSettled):
		p.tasks, p.ids, p.lines, p.vanish, p.window, p.loss, p.crashes, p.steps = 4, 1, 1, 0, true, "", 2, 190
		p.closing, p.straggle, p.poison, p.refunds = false, false, false, false
	case string(balancetest.RuleGeneration):
		p.ids, p.lines, p.vanish, p.window, p.loss, p.cold, p.restamp = 1, 1, 0, true, "", false, false
		p.poison, p.other = true, false
	case string(balancetest.RuleClosed):
		p.closing = true
	case withoutIntent:
		p.closing, p.straggle, p.loss, p.steps, p.vanish, p.window = true, false, "emptied", 190, 0, false
		p.pauses, p.other, p.crashes, p.breaks = 0, true, 0, 0
	case withoutAge:
		p.closing, p.straggle, p.long, p.loss = true, true, false, "emptied"
	case withoutRebook:
		p.closing, p.straggle, p.long = true, true, true
	case withoutOlder:
		p.closing, p.older, p.straggle, p.long, p.loss, p.window = true, true, false, false, "", false
	case string(balancetest.RuleEpoch):
		p.tasks, p.ids, p.lines, p.loss, p.other, p.cold, p.window = 4, 1, 1, "emptied", true, true, false
		p.crashes, p.poison, p.refunds, p.closing, p.steps = 0, false, false, false, 190
	case string(balancetest.RuleChanged):
		p.rerates, p.ids, p.lines, p.loss, p.closing, p.poison, p.window = 2, 1, 1, "", false, false, false
		p.tasks, p.steps = 2, 190
	case string(balancetest.RuleLanding):
		p.rerates, p.ids, p.lines, p.loss, p.closing, p.poison, p.window = 1, 1, 1, "emptied", false, false, false
		p.tasks, p.steps, p.pauses, p.crashes = 2, 190, 0, 0
	case withoutRollClock:
		p.loss, p.chores, p.vanish = "", 8, 0
		p.toEdge(edgeMonth)
	case withoutTurns:
		p.hooks, p.large, p.loss = true, true, ""
	case string(balancetest.RuleBreaker):
		p.hooks, p.large, p.breaker, p.loss, p.vanish, p.closing = true, true, true, "", 0, false
	case withoutNoted:
		p.refunds, p.loss, p.breaks, p.closing, p.window = true, "emptied", 3, false, false
	case withoutMade:
		p.refunds, p.dropRefunds = true, true
	case withoutWaits:
		p.toRefunds()
		p.loss, p.vanish, p.window, p.closing, p.breaks, p.steps = "", 0, false, false, 3, 190
	case withoutJudgeOf:
		p.partitions, p.ids, p.lines, p.loss, p.other, p.refunds, p.window, p.closing = 2, 2, 4, "", true, false, false, false
	case withoutJudgeEpoch:
		p.tasks, p.ids, p.lines, p.loss, p.other, p.window, p.closing = 8, 2, 1, "emptied", true, false, false
		p.cold, p.restamp, p.poison, p.refunds, p.crashes, p.breaks, p.steps = false, false, false, false, 0, 0, 240
		p.straggle, p.older, p.pauses = false, false, 0
	}
}

// bind makes the plan one that can be.
func (p *plan) bind() {
	switch p.loss {
	case "restarted":
		p.durable = true
	case "emptied", "account lost":
	case "":
	default:
		p.durable = p.without == withoutAdopt
	}
	if p.loss != "" {
		p.vanish = 0
	}
	if p.closing {
		p.restamp, p.chores = false, max(p.chores, 8) // an identity is of one month
	}
	if p.straggle {
		p.vanish, p.copies, p.pauses = 0, 0, 0
		// A row that lands long after its time may hide one of the same epoch, which
		// was charged by force because it was missing: no more than its like.
		p.other = p.other && !p.long
		if p.loss != "" {
			p.loss, p.durable = "emptied", false
		}
	}
}
