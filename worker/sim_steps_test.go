package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing/synctest"
	"time"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance/balancetest"
	"github.com/meterd/meterd/metering/reconcile"
)

// plan is what may happen in a schedule, drawn from its seed.
type plan struct {
	seed    uint64
	tracing bool
	without string // a rule that is taken out

	tasks, lines, ids int
	steps             int
	crashes, breaks   int // processes that die; calls that fail
	copies, acksLost  int
	pauses, chores    int
	transfers         int
	skew              time.Duration // between clocks
	clockSteps        int
	loss              string // "", restarted, replaced, emptied, failover, failover with its queue
	durable           bool
	vanish            int
	window            bool // a day and more passes
	cold, restamp     bool
	poison, refunds   bool
	other             bool // copies may have other content
	closing           bool // a month closes
	straggle, long    bool // rows land whose task is lost; long after their time
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
	p.focus()
	p.without = strings.TrimPrefix(p.without, "=")
	if p.without != without {
		p.without = ""
	}
	p.bind()
	return p
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
	case string(balancetest.RuleReplid), withoutAdopt:
		p.ids, p.loss, p.other, p.window = 1, "failover", true, false
	case withoutFactEpoch:
		p.tasks, p.transfers, p.chores, p.pauses, p.loss, p.vanish = 1, 2, 12, 0, "replaced", 0
	case string(balancetest.RuleCounts):
		p.ids, p.lines, p.loss, p.vanish, p.window, p.crashes, p.breaks = 1, 1, "", 0, false, 2, 3
	case string(balancetest.RuleGeneration):
		p.ids, p.lines, p.vanish, p.window, p.loss, p.cold, p.restamp = 1, 1, 0, true, "", false, false
		p.poison, p.other = true, false
	case string(balancetest.RuleClosed):
		p.closing = true
	case withoutIntent:
		p.closing, p.straggle, p.loss, p.steps, p.vanish, p.window = true, false, "emptied", 190, 0, false
	case withoutAge:
		p.closing, p.straggle, p.long, p.loss = true, true, false, "emptied"
	case withoutRebook:
		p.closing, p.straggle, p.long = true, true, true
	case string(balancetest.RuleEpoch):
		p.tasks, p.ids, p.lines, p.loss, p.other, p.cold, p.window = 4, 1, 1, "emptied", true, true, false
		p.crashes, p.poison, p.refunds, p.closing, p.steps = 0, false, false, false, 190
	case withoutJudgeEpoch:
		p.ids, p.loss, p.other = 1, "emptied", true
	}
}

// bind makes the plan one that can be.
func (p *plan) bind() {
	switch p.loss {
	case "restarted":
		p.durable = true
	case "emptied":
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
		if p.loss != "" {
			p.loss, p.durable = "emptied", false
		}
	}
}

// tick lets a little time pass, seldom more.
func (w *world) tick() {
	d := time.Duration(1 + w.rng.IntN(200_000))
	switch n := w.rng.IntN(200); {
	case n < 25:
		d = time.Duration(1 + w.rng.IntN(5_000_000))
	case n < 30:
		d = time.Duration(1 + w.rng.IntN(600_000_000))
	case n < 31:
		d = time.Duration(1 + w.rng.IntN(8_000_000_000))
	}
	w.sleep(d)
}

func (w *world) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	w.settleLate()
	w.reap()
}

// settleLate decides of late inserts whose time is up.
func (w *world) settleLate() {
	w.mu.Lock()
	list := w.late
	w.late = nil
	w.mu.Unlock()
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		return a.until.Before(b.until) || a.until.Equal(b.until) && a.key < b.key
	})
	for _, l := range list {
		if w.now().Before(l.until) {
			w.late = append(w.late, l)
			continue
		}
		w.landLate(l)
	}
}

// landLate lands an insert that nobody waits for, or not.
func (w *world) landLate(l lateInsert) {
	if w.rng.IntN(2) == 0 && !w.stranded {
		w.note("never lands: %s", l.key)
		return
	}
	w.note("lands late: %s", l.key)
	for i := range l.block.Parts() {
		l.block.Land(i)
	}
}

// letThrough lets a parked call go on; perhaps it fails.
func (w *world) letThrough(s *step, faults bool) {
	w.steps++
	w.mu.Lock()
	w.parked = slices.DeleteFunc(w.parked, func(x *step) bool { return x == s })
	w.mu.Unlock()
	broken := faults && w.spend(&w.plan.breaks, 15)
	v := proceeds
	switch {
	case s.kind == toInsert && s.block != nil && broken:
		v = w.breakInsert(s)
	case s.kind == toInsert && s.block != nil:
		if w.plan.without == withoutQuarantine && w.rng.IntN(2) == 0 && s.block.Table() == "quarantine" {
			w.late = append(w.late, lateInsert{s.block, w.now().Add(time.Second), s.key})
			break
		}
		for i := range s.block.Parts() {
			s.block.Land(i)
		}
	case broken && s.kind == toQuery:
		v = fails
	case broken && s.kind != toInsert:
		v = fails + verdict(w.rng.IntN(2))
	}
	w.note("%s: %s", s.key, []string{"", "FAILS", "UNHEARD", "DIES"}[v])
	s.reply <- v
}

// breakInsert: the worker sees an error; the rows may stand, in part, or later.
func (w *world) breakInsert(s *step) verdict {
	switch w.rng.IntN(3) {
	case 0:
		w.hand(s)
		return fails
	case 1:
		for i := range s.block.Parts() {
			s.block.Land(i)
		}
		return unheard
	}
	s.block.Land(w.rng.IntN(s.block.Parts()))
	return unheard
}

// ready calls, in an order of their own.
func (w *world) open() []*step {
	w.mu.Lock()
	defer w.mu.Unlock()
	sort.SliceStable(w.parked, func(i, j int) bool { return w.parked[i].key < w.parked[j].key })
	var out []*step
	for _, s := range w.parked {
		if !s.proc.paused {
			out = append(out, s)
		}
	}
	return out
}

// wrong tells whether something is.
func (w *world) wrong() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.errs) > 0
}

// calls that wait to be let through.
func (w *world) calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.parked)
}

// working processes.
func (w *world) working() []*process {
	var out []*process
	for _, p := range w.procs {
		if !p.dead && p.ready && !p.paused {
			out = append(out, p)
		}
	}
	return out
}

func one[T any](w *world, list []T) T { return list[w.rng.IntN(len(list))] }

// take gives a due task to a process, if there is one.
func (w *world) take() bool {
	procs := slices.DeleteFunc(w.working(), func(p *process) bool { return p.attempts >= 4 })
	var due []*simTask
	for _, t := range w.tasks() {
		early := w.plan.without == string(balancetest.RuleInSet) && t.typ == jobs.TypeJudge && w.plan.window
		if t.state == pending && !t.after.After(w.now()) && !early {
			due = append(due, t)
		}
	}
	if len(due) == 0 || len(procs) == 0 {
		return false
	}
	p, t := one(w, procs), one(w, due)
	if t.holders[p] {
		return false
	}
	w.deliver(p, t)
	return true
}

// step does one thing.
func (w *world) step(faults bool) bool {
	open := w.open()
	n := w.rng.IntN(100)
	if faults && w.plan.without != "" && w.plan.loss == "failover" && n%20 == 0 && w.lose() {
		return true // it takes two: a replica lags, and takes over
	}
	switch {
	case n < 60 && len(open) > 0:
	case n < 80 && w.take():
		return true
	case n < 85 && w.submit():
		return true
	case n < 90 && w.chore():
		return true
	case n < 97 && faults && w.fault():
		return true
	}
	if len(open) == 0 {
		return w.take()
	}
	w.letThrough(one(w, open), faults)
	return true
}

// submit sends the next task, or moves money.
func (w *world) submit() bool {
	if w.plan.tasks > 0 {
		w.plan.tasks--
		w.sendTask()
		return true
	}
	procs := w.working()
	if len(procs) == 0 || w.plan.transfers == 0 {
		return false
	}
	w.plan.transfers--
	t := metering.Transfer{Ref: fmt.Sprintf("ref%d", w.plan.transfers), Kind: metering.TransferTopup, AccountID: "acme", Amount: 40_000, Actor: "operator"}
	if w.rng.IntN(2) == 0 {
		t.Kind, t.AccountID, t.Amount = metering.TransferAllocate, "acme-own", 15_000
	}
	w.transfer(one(w, procs), t)
	return true
}

// transfer moves money, and again until there is an answer.
func (w *world) transfer(p *process, t metering.Transfer) {
	p.run("transfer "+t.Ref, func(ctx context.Context) error {
		_, err := p.service.Transfer(ctx, t)
		return err
	}, func(err error) {
		switch {
		case err == nil:
			w.promised = append(w.promised, t)
		case errors.Is(err, admin.ErrRefused):
		default:
			w.moves = append(w.moves, t)
		}
	})
}

// chore does what the scheduler of a worker does now and then.
func (w *world) chore() bool {
	procs := w.working()
	if len(procs) == 0 || w.plan.chores == 0 {
		return false
	}
	w.plan.chores--
	p := one(w, procs)
	if p.chores > 0 {
		return false
	}
	names := []string{"ensure", "relay", "give up", "reconcile", "waiting refunds", "automatic refunds", "months", "snapshot"}
	if w.plan.without == withoutFactEpoch {
		names = []string{"relay", "ensure"}
	}
	if w.plan.closing && w.rng.IntN(2) == 0 {
		names = []string{"close"}
	}
	w.runChore(p, one(w, names))
	return true
}

func (w *world) runChore(p *process, name string) {
	w.note("%s: %s begins", p.name, name)
	p.chores++
	over := func(error) { p.chores-- }
	if name == "close" {
		over = w.closeChore(p)
	}
	e := p.engine
	f := map[string]func(context.Context) error{
		"ensure":            func(ctx context.Context) error { return p.worker.ensure(ctx, 0) },
		"relay":             func(ctx context.Context) error { _, err := e.relayOnce(ctx, 0, p.name); return err },
		"give up":           func(ctx context.Context) error { return e.giveUp(ctx, p.client, 0) },
		"waiting refunds":   p.worker.dueRefunds,
		"automatic refunds": p.worker.autoRefunds,
		"months":            p.worker.rollMonths,
		"close":             func(ctx context.Context) error { return p.closer.CloseDue(ctx, 0) },
		"snapshot":          func(ctx context.Context) error { _, err := e.snapshots.Refresh(ctx); return err },
		"reconcile": func(ctx context.Context) error {
			res, err := reconcile.NewReconciler(e.store, e.ledger, e.clock, e.log).Run(ctx, e.snapshots.Current())
			w.mu.Lock()
			defer w.mu.Unlock()
			w.drifted += res.Drifted
			if res.Drifted > 0 && w.excused == "" {
				w.errs = append(w.errs, fmt.Sprintf("reconcile finds %d drifts without a loss", res.Drifted))
			}
			return err
		},
	}[name]
	p.run(name, f, over)
}

// fault lets something go wrong.
func (w *world) fault() bool {
	procs := w.working()
	if w.strand() {
		return true
	}
	switch w.rng.IntN(9) {
	case 0:
		if len(procs) > 0 && w.spend(&w.plan.crashes, 1) {
			w.kill(one(w, procs))
			return true
		}
	case 1:
		if len(w.alive()) < 2 {
			w.begin(fmt.Sprintf("w%d", len(w.procs)))
			return true
		}
	case 2:
		return w.copyTask(procs)
	case 3:
		return w.pause(procs)
	case 4, 5:
		return w.lose()
	case 6:
		if w.spend(&w.plan.clockSteps, 1) {
			w.stepClock(procs)
			return true
		}
	case 7:
		if len(w.late) > 0 {
			i := w.rng.IntN(len(w.late))
			l := w.late[i]
			w.late = slices.Delete(w.late, i, i+1)
			w.landLate(l)
			return true
		}
		w.server.Merge("records")
	case 8:
		return w.vanishTask()
	}
	return false
}

func (w *world) alive() []*process {
	return slices.DeleteFunc(slices.Clone(w.procs), func(p *process) bool { return p.dead })
}

// copyTask gives a task to a second process, or one that was acked to any.
func (w *world) copyTask(procs []*process) bool {
	if len(procs) == 0 || w.plan.copies == 0 {
		return false
	}
	w.plan.copies--
	if len(w.acked) > 0 && w.rng.IntN(2) == 0 {
		t := one(w, w.acked)
		if w.queue[t.id] == nil {
			w.note("a late copy of %s", t.id)
			t.state, t.after = pending, w.now()
			w.queue[t.id] = t
			return true
		}
	}
	for _, t := range w.tasks() {
		p := one(w, procs)
		if t.state == active && !t.holders[p] {
			w.note("a copy of %s", t.id)
			w.deliver(p, t)
			return true
		}
	}
	return false
}

// pause stops a process past its leases; its tasks are taken back.
func (w *world) pause(procs []*process) bool {
	for _, p := range w.procs {
		if p.paused && !p.dead {
			w.note("%s goes on", p.name)
			p.paused = false
			return true
		}
	}
	if len(procs) < 2 || !w.spend(&w.plan.pauses, 1) {
		return false
	}
	p := one(w, procs)
	w.note("%s is paused", p.name)
	p.paused = true
	for _, t := range w.tasks() {
		if t.holders[p] {
			delete(t.holders, p)
			t.state, t.after = pending, w.now().Add(2*time.Second)
		}
	}
	return true
}

// lose is what happens to Redis.
func (w *world) lose() bool {
	if w.plan.tasks > 0 || w.plan.loss == "" {
		return false
	}
	switch w.plan.without {
	case withoutFactEpoch:
		if !w.freeze("/relay set", "/relay states") {
			return false
		}
	case string(balancetest.RuleEpoch):
		if !w.freeze("{p00}:t:run.") {
			return false
		}
	}
	lost := func(why string) {
		w.note("REDIS %s", why)
		w.excused, w.lost = why, true
		w.plan.loss = ""
	}
	switch w.plan.loss {
	case "restarted":
		w.note("REDIS restarted")
		w.plan.loss = ""
		w.redis.Restart()
	case "replaced":
		w.redis.Restart()
		lost(w.plan.loss)
	case "emptied":
		w.redis.Empty()
		lost(w.plan.loss)
	default:
		if w.backup == nil {
			w.note("a replica lags from here")
			w.backup, w.backupQueue = w.redis.Copy(), w.copyQueue()
			return true
		}
		w.redis.Fall(w.backup)
		if w.plan.loss != "failover" {
			w.restoreQueue()
		}
		lost(w.plan.loss)
	}
	return true
}

// freeze pauses a process that is about to make one of some calls: to write what
// it read of the outbox, to charge by the epoch that it knows.
func (w *world) freeze(calls ...string) bool {
	for _, s := range w.open() {
		if slices.ContainsFunc(calls, func(c string) bool { return strings.Contains(s.key, c) }) && len(w.working()) > 1 {
			w.note("%s is paused", s.proc.name)
			s.proc.paused = true
			return true
		}
	}
	return false
}

func (w *world) copyQueue() map[string]simTask {
	out := map[string]simTask{}
	for id, t := range w.queue {
		out[id] = *t
	}
	return out
}

// restoreQueue: tasks that were acked since come back, follow-ups go.
func (w *world) restoreQueue() {
	for id := range w.queue {
		if _, ok := w.backupQueue[id]; !ok {
			// The attempt that made it may live on: the queue is as durable as
			// its Redis, and no more is promised of its task's lines.
			parent, _, _ := strings.Cut(id, "~")
			w.unpromised[parent] = true
			delete(w.queue, id)
		}
	}
	for id, t := range w.backupQueue {
		if w.queue[id] == nil {
			t.state, t.after, t.holders = pending, w.now().Add(time.Second), map[*process]bool{}
			w.queue[id] = &t
		}
	}
}

func (w *world) stepClock(procs []*process) {
	d := time.Duration(w.rng.Int64N(int64(5*time.Minute))) - 150*time.Second
	if len(procs) > 0 && w.rng.IntN(2) == 0 {
		p := one(w, procs)
		p.skew.Add(int64(d))
		w.note("%s's clock steps by %s", p.name, d)
		return
	}
	w.skew.Add(int64(d))
	w.note("Redis's clock steps by %s", d)
}

// vanishTask removes a task that holds an answer.
func (w *world) vanishTask() bool {
	if w.plan.tasks > 0 {
		return false
	}
	for _, t := range w.tasks() {
		if t.typ == jobs.TypeIngest && t.tries > 0 && w.spend(&w.plan.vanish, 1) {
			w.note("%s vanishes", t.id)
			delete(w.queue, t.id)
			w.vanished[t.id] = true
			w.excused = "a task vanished"
			return true
		}
	}
	return false
}

// calm lets everything come to its end, without new faults.
func (w *world) calm() {
	w.plan.chores, w.plan.acksLost, w.plan.window = 0, 0, false
	for _, p := range w.procs {
		p.paused = false
	}
	idle, next := time.Millisecond, 0
	until, orphans := w.now().Add(time.Hour), w.now().Add(10*time.Second)
	for w.now().Before(until) && !w.wrong() {
		w.sleep(time.Duration(1 + w.rng.IntN(100_000)))
		if len(w.alive()) == 0 {
			w.begin(fmt.Sprintf("w%d", len(w.procs)))
			continue
		}
		if len(w.moves) > 0 && len(w.working()) > 0 {
			t := w.moves[0]
			w.moves = w.moves[1:]
			w.transfer(w.working()[0], t)
			continue
		}
		if (w.lost || len(w.vanished) > 0) && w.now().After(orphans) && w.calls() == 0 {
			w.sleep(2 * giveUpAfter) // for answers that no task will settle
			orphans = until
		}
		if w.step(false) {
			idle = time.Millisecond
			continue
		}
		if w.plan.tasks == 0 && len(w.queue) == 0 && !w.busy() {
			return
		}
		// What a worker's scheduler asks again and again.
		if procs := w.working(); len(procs) > 0 && procs[0].chores == 0 && w.rng.IntN(8) == 0 {
			names := []string{"ensure", "relay", "give up"}
			if w.plan.closing {
				names = append(names, "close")
			}
			w.runChore(procs[0], names[next%len(names)])
			next++
			continue
		}
		w.sleep(idle + time.Duration(w.rng.IntN(1000)))
		idle = min(2*idle, 5*time.Second)
	}
	var left []string
	for _, t := range w.tasks() {
		left = append(left, fmt.Sprintf("%s (%d tries)", t.id, t.tries))
	}
	w.bad("it doesn't come to an end: queue %v, %d calls", left, w.calls())
}

// busy: something that was begun hasn't ended.
func (w *world) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, p := range w.procs {
		if !p.dead {
			n++ // its writer
		}
	}
	return w.live > n || len(w.parked) > 0 || len(w.ended) > 0
}

// play runs the schedule.
func (w *world) play() {
	w.start = time.Now()
	if w.plan.without == withoutAdopt {
		w.plan.durable = true
	}
	w.redis.Without = balancetest.Rule(w.plan.without)
	for i := range 2 {
		w.begin(fmt.Sprintf("w%d", i))
	}
	for range w.plan.steps {
		w.tick()
		if w.wrong() {
			break
		}
		if w.plan.window && w.plan.tasks == 0 && w.calls() == 0 && w.rng.IntN(20) == 0 {
			// ... until shortly before a new generation of the dedup sets.
			w.plan.window, w.aged = false, true
			const generation = 25 * time.Hour
			now := w.redisNow()
			next := now.Truncate(0).Add(25 * time.Hour)
			if w.plan.without == string(balancetest.RuleInSet) {
				next = now.Add(2 * generation) // what was known is forgotten
			} else if w.rng.IntN(2) == 0 {
				past := time.Duration(next.UnixMilli()) * time.Millisecond % generation
				next = next.Add(generation - past - time.Duration(w.rng.IntN(400))*time.Millisecond)
			}
			w.note("a day passes")
			w.sleep(next.Sub(now))
		}
		w.step(true) // what it lets through runs beside us until the next tick
	}
	if !w.wrong() {
		w.note("calm")
		w.calm()
	}
	if !w.wrong() {
		w.finale()
	}
	w.end()
}

// end stops every process and waits for its goroutines.
func (w *world) end() {
	for _, p := range w.procs {
		if !p.dead {
			w.kill(p)
		}
		_ = p.client.Close()
	}
	for range 1000 {
		synctest.Wait()
		if w.live == 0 {
			return
		}
		time.Sleep(time.Second)
	}
	panic("goroutines outlive their process")
}
