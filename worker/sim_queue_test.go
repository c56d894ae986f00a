package worker

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/worker/pipeline"
)

// states of a task in the queue.
type taskState int

const (
	pending taskState = iota
	active
)

// simTask is one in the queue. Its key goes when it is acked.
type simTask struct {
	id, typ string
	payload []byte
	state   taskState
	after   time.Time // not before
	tries   int
	holders map[*process]bool // whose attempt may still ack it
	order   int

	promoted bool // to the head of its queue
}

// refunds tells whether it is of the queue of refunds.
func (t *simTask) refunds() bool { return t.typ == wire.TypeRefund || t.typ == wire.TypeCorrect }

// enqueue adds a task; false: its id is taken.
func (w *world) enqueue(id, typ string, payload []byte, delay time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch typ {
	case wire.TypeSuspend, wire.TypeResume, wire.TypeAlert, wire.TypeBreaker:
		return w.hooks.enqueue(w, id, typ, payload)
	}
	if w.queue[id] != nil {
		return false
	}
	w.queue[id] = &simTask{id: id, typ: typ, payload: payload, after: w.now().Add(delay), holders: map[*process]bool{}, order: len(w.queue)}
	return true
}

// tasks of the queue, by id.
func (w *world) tasks() []*simTask {
	out := make([]*simTask, 0, len(w.queue))
	for _, t := range w.queue {
		out = append(out, t)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].id < out[j].id })
	return out
}

// waiting is the length of a list of asynq's.
func (w *world) waiting(key string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	for _, t := range w.queue {
		refunds := strings.Contains(key, wire.QueueRefunds)
		if t.refunds() == refunds && (t.state == active) == strings.HasSuffix(key, ":active") {
			n++
		}
	}
	return n
}

func (w *world) exists(key string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, id, _ := strings.Cut(key, ":t:")
	t := w.queue[id]
	if t == nil || t.refunds() != strings.Contains(key, wire.QueueRefunds) {
		return 0
	}
	return 1
}

// promote brings a waiting task forward.
func (w *world) promote(id, key string) int64 {
	if w.exists(strings.TrimSuffix(key, "pending")+"t:"+id) == 0 {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.queue[id]
	if t.state == active {
		return 0
	}
	t.after, t.promoted = w.now(), true
	return 1
}

// attempt names the next attempt of a task: also of one that was lost with its
// queue and is sent again while an attempt of before goes on.
func (w *world) attempt(id string) string {
	w.given[id]++
	return fmt.Sprintf("%s#%d", id, w.given[id])
}

// deliver gives a task to a process.
func (w *world) deliver(p *process, t *simTask) {
	p.attempts++
	t.tries++
	t.state = active
	t.holders[p] = true
	w.steps++
	name := w.attempt(t.id)
	w.note("%s takes %s", p.name, name)
	p.run(name, func(ctx context.Context) error {
		switch t.typ {
		case wire.TypeJudge:
			return p.worker.pipeline.JudgeTask(ctx, t.id, w.judgePayload(p, t))
		case wire.TypeRefund:
			return p.worker.pipeline.RefundTask(ctx, t.id, t.payload)
		case wire.TypeCorrect:
			return p.worker.pipeline.CorrectTask(ctx, t.id, t.payload)
		}
		return p.worker.pipeline.IngestTask(ctx, t.id, t.payload)
	}, func(err error) {
		p.attempts--
		if !t.holders[p] {
			return // it was given to another meanwhile, or the process died
		}
		w.over(p, t, err)
	})
}

// over is what asynq does with a handler's result.
func (w *world) over(p *process, t *simTask, err error) {
	delete(t.holders, p)
	if w.queue[t.id] != t {
		return
	}
	if err != nil {
		t.state, t.after = pending, w.now().Add(pipeline.Delay(t.tries-1, err))
		return
	}
	if w.spend(&w.plan.acksLost, 4) {
		w.note("the ack of %s is lost", t.id)
		t.state, t.after = pending, w.now().Add(time.Duration(w.rng.IntN(40_000))*time.Millisecond)
		return
	}
	delete(w.queue, t.id)
	w.acked = append(w.acked, t)
}

// spend uses one of a budget, one time in n.
func (w *world) spend(budget *int, n int) bool {
	if *budget <= 0 || w.rng.IntN(n) != 0 {
		return false
	}
	*budget--
	return true
}

// judgePayload is the task's; without the rule, its epoch is always the present.
func (w *world) judgePayload(p *process, t *simTask) []byte {
	if w.plan.without != withoutJudgeEpoch || p.worker.projections.NewestEpoch() == 0 {
		return t.payload
	}
	var j wire.JudgeHeader
	lines, err := w.codec.DecodeHead(t.payload, &j)
	if err != nil {
		return t.payload
	}
	j.Epoch = p.worker.projections.NewestEpoch()
	payload, err := w.codec.EncodeHead(j, lines)
	if err != nil {
		return t.payload
	}
	return payload
}
