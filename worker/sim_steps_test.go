package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"testing/synctest"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance/balancetest"
	"github.com/meterd/meterd/metering/reconcile"
)

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
	for i, s := range w.parked {
		if i > 0 && s.key == w.parked[i-1].key && s.at.Equal(w.parked[i-1].at) {
			w.bad("two calls of one name at one instant, a replay may take either first: %s", s.key)
		}
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
		early := t.typ == wire.TypeJudge && (w.forgets() && w.plan.window || w.plan.bias == withoutJudgeEpoch && (!w.judging || slices.ContainsFunc(procs, func(p *process) bool { return p.chores > 0 })))
		if t.state == pending && !t.after.After(w.now()) && !early && !w.overtaken(t) {
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

// forgets: tasks are to run when what they judge was forgotten.
func (w *world) forgets() bool {
	return slices.Contains([]string{string(balancetest.RuleInSet), string(balancetest.RuleJudged), string(balancetest.RuleSettled)}, w.plan.bias)
}

// step does one thing.
func (w *world) step(faults bool) bool {
	open := w.open()
	n := w.rng.IntN(100)
	if faults && w.plan.bias != "" && w.plan.loss == "failover" && n%20 == 0 && w.lose() {
		return true // it takes two: a replica lags, and takes over
	}
	if faults && w.plan.bias == string(balancetest.RuleJudged) && w.aged && n%10 == 0 && w.copyTask(w.working()) {
		return true
	}
	if w.plan.bias == withoutJudgeEpoch && faults && w.outdateJudge(n) {
		return true
	}
	if w.plan.bias == overtaking && faults && w.overtakeCorrection() {
		return true
	}
	if w.plan.refunding && faults && w.cutRefunds() {
		return true
	}
	if w.plan.bias == string(balancetest.RuleChanged) && w.plan.rerates > 0 && len(w.acked) > 0 && w.submit() {
		return true
	}
	if w.plan.hooks && n%8 == 0 && w.takeHooks() {
		return true
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
	if w.plan.bias == withoutJudgeEpoch && w.plan.loss != "" && w.plan.tasks <= 5 {
		return false // they come in the next epoch
	}
	held := w.plan.bias == overtaking && w.plan.loss != "" && w.plan.tasks == 1 // the refund comes in the next epoch
	if w.plan.tasks > 0 && !held && !w.awaitsCut() {
		w.plan.tasks--
		w.sendTask()
		return true
	}
	procs := w.working()
	if len(procs) > 0 && w.plan.rerates > 0 && w.rng.IntN(2) == 0 && (w.plan.bias == "" || len(w.acked) > 0) {
		for both := w.plan.bias != "" || w.rng.IntN(2) == 0; w.plan.rerates > 0; {
			w.plan.rerates--
			w.rerate(one(w, procs), w.drawRerate())
			if !both {
				break
			}
		}
		return true
	}
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
		_, err := p.worker.admin.Transfer(ctx, t)
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
	if w.plan.bias == withoutFactEpoch {
		names = []string{"relay", "ensure"}
	}
	if w.plan.breaker {
		names = append(names, "breaker", "release")
	}
	if w.plan.edge == edgeMonth && w.rng.IntN(2) == 0 {
		names = []string{"months"}
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
	if name == "release" {
		w.hooks.released = true
	}
	d := p.worker.deps
	f := map[string]func(context.Context) error{
		"ensure": func(ctx context.Context) error {
			return w.eachPartition(func(n int) error { return p.worker.projections.Current(ctx, n) })
		},
		"relay": func(ctx context.Context) error {
			return w.eachPartition(func(n int) error { _, err := p.worker.relay.Once(ctx, n, p.name); return err })
		},
		"give up":           p.worker.pipeline.GiveUpAll,
		"waiting refunds":   func(ctx context.Context) error { return p.worker.pipeline.DueRefunds(ctx, p.worker.opts.WaitMax) },
		"automatic refunds": p.worker.autoRefunds,
		"months":            func(ctx context.Context) error { return w.rollMonths(ctx, p) },
		"close":             func(ctx context.Context) error { return p.worker.closer.CloseDue(ctx, w.plan.edge.grace()) },
		"close older":       func(ctx context.Context) error { return w.closeOlder(ctx, p) },
		"breaker":           p.worker.breakers.Watch,
		"release":           func(ctx context.Context) error { return p.worker.admin.ReleaseBreaker(ctx, "operator", "") },
		"snapshot":          func(ctx context.Context) error { _, err := d.Snapshots.Refresh(ctx); return err },
		"reconcile": func(ctx context.Context) error {
			res, err := reconcile.NewReconciler(d.Projector, d.Log).Run(ctx, d.Snapshots.Current())
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

// eachPartition does the same in one after the other.
func (w *world) eachPartition(f func(n int) error) error {
	for n := range w.partitions {
		if err := f(n); err != nil {
			return err
		}
	}
	return nil
}

// calm lets everything come to its end, without new faults.
func (w *world) calm() {
	w.judging = true
	w.plan.chores, w.plan.acksLost, w.plan.crashes, w.plan.window, w.plan.loss = 0, 0, 0, false, ""
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
		if len(w.rerates) > 0 && len(w.working()) > 0 {
			q := w.rerates[0]
			w.rerates = w.rerates[1:]
			w.rerate(w.working()[0], q)
			continue
		}
		if (w.lost || len(w.vanished) > 0) && w.now().After(orphans) && w.calls() == 0 {
			w.sleep(2 * metering.GiveUpAfter) // for answers that no task will settle
			orphans = until
		}
		if w.step(false) {
			idle = time.Millisecond
			continue
		}
		if w.plan.tasks == 0 && len(w.queue)+len(w.moves)+len(w.rerates) == 0 && !w.busy() && w.told() {
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
	return w.live > n+w.hooks.hung || len(w.parked) > 0 || len(w.ended) > 0
}

// play runs the schedule.
func (w *world) play() {
	w.start = time.Now()
	if w.plan.without == withoutAdopt {
		w.plan.durable = true
	}
	w.redis.Without = balancetest.Rule(w.plan.without)
	if w.plan.without == withoutAge {
		w.redis.Without = balancetest.RuleLanding
	}
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
			if w.forgets() {
				next = now.Add(2 * generation) // what was known is forgotten
			} else if w.rng.IntN(2) == 0 {
				past := time.Duration(next.UnixMilli()) * time.Millisecond % generation
				next = next.Add(generation - past - time.Duration(w.rng.IntN(400))*time.Millisecond)
			}
			w.note("a day passes")
			w.sleep(next.Sub(now))
		}
		if w.plan.crossings > 0 && w.plan.tasks <= 2 && w.rng.IntN(12) == 0 {
			w.cross()
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
