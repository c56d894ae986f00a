package worker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/balance/balancetest"
)

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
	if w.plan.bias == withoutJudgeEpoch {
		return false // see outdateJudge
	}
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

// outdateJudge makes a judge task one of another epoch, in which its seq says
// nothing: a row of the old epoch is on its way when Redis is lost, and lands
// while another task of the new one has charged the same identity.
func (w *world) outdateJudge(n int) bool {
	judges := slices.ContainsFunc(w.tasks(), func(t *simTask) bool { return t.typ == wire.TypeJudge })
	held := slices.IndexFunc(w.procs, func(p *process) bool { return p.paused && !p.dead })
	switch {
	case w.plan.loss != "" && held < 0:
		return w.freeze("/writer records")
	case w.plan.loss != "" && judges:
		w.note("REDIS emptied")
		w.redis.Empty()
		w.plan.loss, w.excused, w.lost = "", "emptied", true
		return true
	case w.plan.loss != "" && n%10 == 0:
		w.sleep(600 * time.Millisecond) // past the patience of whoever waits for the row
		return true
	case w.judging || w.plan.loss != "" || held < 0:
		return false
	case n%3 == 0 && w.plan.tasks > 0:
		return w.submit()
	}
	meta, _ := w.redis.Dump()["{p00}:meta"].(map[string]string)
	for _, s := range w.open() {
		if old := w.procs[held]; s.proc != old && strings.Contains(s.key, "/writer records") && numberIn(meta["seq"]) > 4 {
			w.note("%s is paused, and %s goes on", s.proc.name, old.name)
			s.proc.paused, old.paused, w.judging = true, false, true
			w.runChore(old, "ensure") // it knows the new epoch
			for _, s := range w.open() {
				if s.proc == old && strings.Contains(s.key, "/writer records") {
					w.letThrough(s, false)
					break
				}
			}
			return true
		}
	}
	return false
}

// outdatedLine: one content of an identity, then always another, in the new epoch
// after others have taken seqs.
func (w *world) outdatedLine() string {
	at := w.base.Add(-10 * time.Minute).Format(time.RFC3339)
	switch {
	case len(w.sent) == 1:
		return fmt.Sprintf(`{"id":"m1","account_id":"globex-shop","channel":"sms","occurred_at":%q,"units":2}`, at)
	case w.plan.loss == "" && w.plan.tasks > 0:
		return fmt.Sprintf(`{"id":"m%d","account_id":"acme-own","channel":"sms","occurred_at":%q}`, w.plan.tasks, at)
	}
	return fmt.Sprintf(`{"id":"m1","account_id":"globex-shop","channel":"sms","occurred_at":%q}`, at)
}

// overtaking is the rule that it needs.
const overtaking = string(balancetest.RuleLanding)

// overtakeCorrection lets a refund come in a new epoch while a correction of its
// message that the old one has charged is on its way.
func (w *world) overtakeCorrection() bool {
	held := slices.ContainsFunc(w.procs, func(p *process) bool { return p.paused && !p.dead })
	switch {
	case w.plan.loss == "":
		return w.plan.tasks > 0 && w.submit()
	case held:
		w.note("REDIS emptied")
		w.redis.Empty()
		w.plan.loss, w.excused, w.lost = "", "emptied", true
		return true
	}
	correcting := slices.ContainsFunc(w.tasks(), func(t *simTask) bool { return t.typ == wire.TypeCorrect && t.state == active })
	return correcting && w.freeze("/writer records")
}

// overtakingLine: a message, then its refund.
func (w *world) overtakingLine() string {
	at := w.base.Add(-10 * time.Minute).Format(time.RFC3339)
	if w.plan.loss == "" {
		return fmt.Sprintf(`{"id":"r0","account_id":"acme-own","kind":"refund","refers_to":"m0","occurred_at":%q}`, at)
	}
	return fmt.Sprintf(`{"id":"m0","account_id":"acme-own","channel":"sms","occurred_at":%q}`, at)
}

// cutRefunds ends a worker between the charge of a task's refunds and the insert of those that
// wait, and has messages sent.
func (w *world) cutRefunds() bool {
	if w.plan.crashes == 0 || !slices.ContainsFunc(w.tasks(), func(t *simTask) bool { return t.typ == wire.TypeRefund && t.state == active }) {
		return false
	}
	inserts := map[*process][]string{}
	for _, s := range w.open() {
		inserts[s.proc] = append(inserts[s.proc], s.key)
		if keys := strings.Join(inserts[s.proc], " "); strings.Contains(keys, "/writer refund_waits") && strings.Contains(keys, "/writer dirty_hours") {
			w.plan.crashes--
			w.kill(s.proc)
			for ; w.plan.tasks > 0; w.plan.tasks-- {
				w.sendTask()
			}
			return true
		}
	}
	return false
}

// awaitsCut: messages are stored before refunds are sent, and those that a refund lacks are
// sent behind cutRefunds.
func (w *world) awaitsCut() bool {
	if !w.plan.refunding || w.plan.crashes == 0 {
		return false
	}
	return len(w.sent) == 1 && len(w.acked) == 0 || len(w.sent) == 2
}

// overtaken: refunds that were tried before come again behind messages, unless these wait for them.
func (w *world) overtaken(t *simTask) bool {
	return w.plan.refunding && t.typ == wire.TypeRefund && t.tries > 0 && !t.promoted &&
		slices.ContainsFunc(w.tasks(), func(t *simTask) bool { return t.typ == wire.TypeIngest })
}

// lose is what happens to Redis.
func (w *world) lose() bool {
	if w.plan.tasks > 0 || w.plan.loss == "" {
		return false
	}
	switch w.plan.bias {
	case withoutFactEpoch:
		if !w.freeze(":lease:relay", "/relay states") {
			return false
		}
	case string(balancetest.RuleEpoch):
		if !w.freeze("{p00}:t:run.") {
			return false
		}
	case withoutIntent:
		if !w.freeze("/close closing_finish") {
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
	case "account lost":
		keys := slices.DeleteFunc(slices.Sorted(maps.Keys(w.redis.Dump())), func(k string) bool { return !strings.Contains(k, "}:a:") })
		if len(keys) == 0 {
			return false
		}
		key := one(w, keys)
		w.redis.Remove(key)
		lost(key + " removed")
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
// it read of the outbox, to charge by the epoch that it knows, to write that a
// month is closed.
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

// sender is the task whose lines another has, that were set aside.
func sender(id string) string {
	of, _, _ := strings.Cut(id, "~a")
	return of
}

// dropRefunds removes automatic refunds that no worker has seen.
func (w *world) dropRefunds() {
	for _, id := range slices.Sorted(maps.Keys(w.queue)) {
		if strings.HasPrefix(id, "auto-") && w.queue[id].tries == 0 {
			w.note("%s is lost with the queue", id)
			delete(w.queue, id)
		}
	}
}

// vanishTask removes a task that holds an answer.
func (w *world) vanishTask() bool {
	if w.plan.tasks > 0 {
		return false
	}
	for _, t := range w.tasks() {
		if t.typ == wire.TypeIngest && t.tries > 0 && w.spend(&w.plan.vanish, 1) {
			w.note("%s vanishes", t.id)
			delete(w.queue, t.id)
			w.vanished[sender(t.id)] = true
			w.excused = "a task vanished"
			return true
		}
	}
	return false
}
