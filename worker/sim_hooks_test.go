package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/deliver"
	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
	"github.com/meterd/meterd/worker/pipeline"
	"github.com/meterd/meterd/worker/suspend"
)

// The queue of suspensions. A parent's server stops to answer while many of its
// accounts are to be told something: what another parent is to be told finds a
// place all the same, and no record waits.

// simSilent is the parent whose server hangs.
const simSilent = "acme"

// simPlaces of a process for tasks of this queue: as in a worker, more than one
// parent may take.
const simPlaces = suspend.TenantMax + 8

// simBreaker is how many accounts of a partition may be suspended within a minute.
const simBreaker = 1

// simHang is how long a server is waited for.
const simHang = 15 * time.Second

// simHooks are the tasks of the queue, and what servers were told.
type simHooks struct {
	tasks  map[string]*simTask
	taken  map[string]bool // ids, kept when their task is done
	silent bool
	begun  int // 1: first alerts are out, 2: the flood is
	hung   int // tasks of simSilent in hand
	epochs map[string]int64
	states map[string]string

	released bool // the breaker was closed, and counts from nothing
}

func newSimHooks() *simHooks {
	return &simHooks{tasks: map[string]*simTask{}, taken: map[string]bool{}, epochs: map[string]int64{}, states: map[string]string{}}
}

// enqueue adds a task; the caller holds w.mu.
func (h *simHooks) enqueue(w *world, id, typ string, payload []byte) bool {
	if !w.plan.hooks {
		return true
	}
	if h.taken[id] {
		return false
	}
	h.taken[id] = true
	h.tasks[id] = &simTask{id: id, typ: typ, payload: payload, after: w.now(), holders: map[*process]bool{}}
	return true
}

// parentOfHook is whom a task is of.
func parentOfHook(t *simTask) string {
	var c wire.StateChange
	if json.Unmarshal(t.payload, &c) != nil {
		panic("a hook's task can't be read")
	}
	parent, _, _ := strings.Cut(c.AccountID, "-")
	return parent
}

// alert is one more thing to be told.
func (w *world) alert(id, account, parent string) {
	payload, err := json.Marshal(wire.Alert{AccountID: account, ParentID: parent, Limit: "no_price", Channel: "sms", At: w.now().UnixMilli()})
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hooks.enqueue(w, id, wire.TypeAlert, payload)
}

// flood has much to be told: first a little, which is answered.
func (w *world) flood() {
	h := w.hooks
	switch {
	case h.begun == 0:
		h.begun = 1
		for i := range 2 {
			w.alert(fmt.Sprintf("alert:first:%d", i), "acme-own", simSilent)
		}
	case h.begun == 1 && len(h.due()) == 0 && w.rng.IntN(3) == 0:
		h.begun, h.silent = 2, true
		w.note("%s's server hangs", simSilent)
		for i := range len(w.working()) * (simPlaces + 5) {
			w.alert(fmt.Sprintf("alert:flood:%02d", i), "acme-own", simSilent)
		}
		w.alert("alert:other", "globex-shop", "globex") // after them all, by its id
	}
}

// due tasks, by id: those of the flood come first, then others.
func (h *simHooks) due() []*simTask {
	var out []*simTask
	for _, t := range h.tasks {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *simTask) int { return strings.Compare(a.id, b.id) })
	return out
}

// takeHooks gives every due task to a process that has a place, as asynq does.
func (w *world) takeHooks() bool {
	w.flood()
	took := false
	for _, t := range w.hooks.due() {
		if t.state != pending || t.after.After(w.now()) {
			continue
		}
		procs := slices.DeleteFunc(w.working(), func(p *process) bool { return p.places() == 0 })
		if len(procs) == 0 {
			if parent := parentOfHook(t); len(w.working()) > 0 && parent != simSilent {
				w.bad("%s of %s finds no place: %s's server hangs", t.id, parent, simSilent)
			}
			continue
		}
		took = true
		w.tellHook(one(w, procs), t)
		w.sleep(1) // who comes first is the schedule's to say
	}
	return took
}

// places that are left.
func (p *process) places() int {
	n := simPlaces
	for _, taken := range p.telling {
		n -= taken
	}
	return n
}

// tellHook gives a task to a process.
func (w *world) tellHook(p *process, t *simTask) {
	parent := parentOfHook(t)
	alone := p.telling[parent] == 0
	t.state, t.tries = active, t.tries+1
	p.telling[parent]++
	if parent == simSilent {
		w.mu.Lock()
		w.hooks.hung++
		w.mu.Unlock()
	}
	hooks := p.worker.hooks
	if w.plan.without == withoutTurns { // each has turns of its own
		hooks = suspend.NewHooks(hooks.Deps, suspend.HookOptions{Sender: simSender{w}})
	}
	w.steps++
	w.note("%s takes %s", p.name, t.id)
	p.run(w.attempt(t.id), func(ctx context.Context) error {
		switch t.typ {
		case wire.TypeAlert:
			return hooks.AlertTask(ctx, t.id, t.payload)
		case wire.TypeBreaker:
			return hooks.BreakerTask(ctx, t.id, t.payload)
		}
		return hooks.StateTask(ctx, t.id, t.payload)
	}, func(err error) {
		p.telling[parent]--
		if parent == simSilent {
			w.hooks.hung--
		}
		if err == nil && !p.dead {
			delete(w.hooks.tasks, t.id)
			return
		}
		if parent != simSilent && alone && p.telling[parent] == 0 && (errors.Is(err, suspend.ErrTurn) || errors.Is(err, deliver.ErrBusy)) {
			w.bad("%s waits for others, and none is of %s: %v", t.id, parent, err)
		}
		t.state, t.after = pending, w.now().Add(pipeline.Delay(t.tries-1, err))
	})
}

// told: nothing is left to be told but what hangs.
func (w *world) told() bool {
	for _, t := range w.hooks.tasks {
		if parentOfHook(t) != simSilent {
			return false
		}
	}
	return true
}

// simSender is the way to the parents' servers.
type simSender struct{ w *world }

// Send implements hookSender.
func (s simSender) Send(ctx context.Context, address string, _ notify.Secret, m *notify.Message, _ time.Time) error {
	h := s.w.hooks
	s.w.mu.Lock()
	hangs := h.silent && strings.Contains(address, "silent")
	if d, ok := m.Data.(suspend.StateData); ok && !hangs && d.Epoch > h.epochs[d.AccountID] {
		h.epochs[d.AccountID], h.states[d.AccountID] = d.Epoch, d.State
	}
	s.w.mu.Unlock()
	if !hangs {
		return nil
	}
	select {
	case <-time.After(simHang):
		return errors.New("no answer")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkHooks: the parent whose server answers knows how its accounts are.
func (w *world) checkHooks() {
	if !w.plan.hooks {
		return
	}
	content := w.redis.Dump()
	a, _ := content[w.accountKey("globex")].(map[string]string)
	want := string(metering.StateActive)
	if a["f"] != "" && a["f"] != "0" {
		want = string(metering.StateSuspended)
	}
	for _, id := range []string{"globex", "globex-shop"} {
		have := w.hooks.states[id]
		if have == "" {
			have = string(metering.StateActive)
		}
		if have != want {
			w.bad("%s is %s, and its hook was told %s", id, want, have)
		}
	}
}

// checkBreaker: within a minute of Redis's a limit suspended so many accounts of a
// partition for the first time, no more: whom one had suspended before the breaker
// opened it suspends again. So does a rebuild, and who closes the breaker has it count
// from nothing: after one of them it isn't asked.
func (w *world) checkBreaker() {
	if w.lost || w.hooks.released {
		return
	}
	rows := w.server.Rows("states")
	whole := func(r ledgertest.Row, column string) uint64 { n, _ := r[column].(uint64); return n }
	slices.SortFunc(rows, func(a, b ledgertest.Row) int { return cmp.Compare(whole(a, "epoch"), whole(b, "epoch")) })
	before, within := map[string]bool{}, map[string]int{}
	for _, r := range rows {
		id := text(r, "account_id")
		if metering.Flags(whole(r, "flags")).Automatic() == 0 || before[id] {
			continue
		}
		before[id] = true
		parent, _, _ := strings.Cut(id, "-")
		at, _ := r["occurred_at"].(time.Time)
		minute := fmt.Sprint(balance.PartitionOf(parent, w.partitions), " ", at.Truncate(time.Minute))
		within[minute]++
		if n := within[minute]; n > simBreaker {
			w.bad("%d accounts of a partition were suspended within a minute, %s", n, minute)
		}
	}
}
