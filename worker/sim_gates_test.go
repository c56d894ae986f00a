package worker

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
)

// kinds of steps.
type stepKind int

const (
	toRedis stepKind = iota
	toQueue
	toQuery
	toInsert
)

// step is a call that waits to be let through.
type step struct {
	proc  *process
	kind  stepKind
	key   string // owner and call: the same in every run of a seed
	at    time.Time
	block *ledgertest.Block
	reply chan verdict
}

// verdict on a step.
type verdict int

const (
	proceeds verdict = iota
	fails            // it never arrived
	unheard          // done, but the answer was lost
	dies             // with its process
)

// lateInsert is one whose worker saw an error, or is gone.
type lateInsert struct {
	block *ledgertest.Block
	until time.Time
	key   string
}

// park waits until the scheduler decides.
func (p *process) park(ctx context.Context, kind stepKind, what string, block *ledgertest.Block) verdict {
	w := p.w
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return dies
	}
	s := &step{proc: p, kind: kind, key: p.name + "/" + owner(ctx) + " " + what, at: w.now(), block: block, reply: make(chan verdict, 1)}
	w.parked = append(w.parked, s)
	w.mu.Unlock()
	select {
	case v := <-s.reply:
		return v
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		w.parked = slices.DeleteFunc(w.parked, func(x *step) bool { return x == s })
		if block != nil {
			w.late = append(w.late, lateInsert{block, w.now().Add(time.Minute), s.key})
		}
		return fails
	}
}

func (v verdict) err() error {
	switch v {
	case fails, unheard:
		return errBroke
	case dies:
		return errDead
	case proceeds:
	}
	return nil
}

// redisGate stands before the Redis of memory.
type redisGate struct{ p *process }

func (redisGate) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
}

func (redisGate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (g redisGate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args := cmd.Args()
		if name := cmd.Name(); name == "zrange" {
			// A look at the oldest open answer changes nothing; what follows parks.
			if g.p.dead {
				cmd.SetErr(errDead)
				return errDead
			}
			if c, ok := cmd.(*redis.ZSliceCmd); ok && g.p.w.plan.without == withoutWait {
				c.SetVal(nil)
				return nil
			}
			return next(ctx, cmd)
		}
		if key, _ := args[min(len(args)-1, 1)].(string); strings.Contains(key, ":run:"+rerateRun) {
			// Whoever waits for a run looks many times a second, and changes nothing.
			if g.p.dead {
				cmd.SetErr(errDead)
				return errDead
			}
			return next(ctx, cmd)
		}
		v := g.p.park(ctx, toRedis, call(args), nil)
		if v != fails && v != dies {
			if err := g.run(ctx, cmd, next); err != nil || v == proceeds {
				return err
			}
		}
		cmd.SetErr(v.err())
		return v.err()
	}
}

// call names a command by what is the same in every run of a seed: tokens and
// the order of maps aren't.
func call(args []any) string {
	var b strings.Builder
	for i, a := range args[:min(len(args), 5)] {
		s, _ := a.(string)
		script := i > 0 && strings.HasPrefix(fmt.Sprint(args[0]), "eval")
		switch {
		case script && i == 1:
			b.WriteString(" " + s[:min(len(s), 8)])
		case i < 2, script && i > 2:
			b.WriteString(" " + s)
		}
	}
	return b.String()[1:]
}

// run runs a command: the queue's keys are the world's own.
func (g redisGate) run(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
	args := cmd.Args()
	key, _ := args[min(len(args)-1, 1)].(string)
	if cmd.Name() == "evalsha" && len(args) > 3 {
		if k, _ := args[3].(string); strings.HasPrefix(k, "asynq:") {
			if fmt.Sprint(args[2]) == "5" { // backlog.lua: refunds are decided whatever waits
				if c, ok := cmd.(*redis.Cmd); ok {
					c.SetVal([]any{int64(0), []any{}})
				}
				return nil
			}
			n := int64(0)
			for _, task := range args[6:] { // after the keys and their tasks' prefix
				id, _ := task.(string)
				n += g.p.w.promote(id, k)
			}
			if c, ok := cmd.(*redis.Cmd); ok {
				c.SetVal(n)
			}
			return nil
		}
	}
	c, ok := cmd.(*redis.IntCmd)
	if !ok || !strings.HasPrefix(key, "asynq:") {
		err := next(ctx, cmd)
		if g.p.w.plan.without == withoutWaits {
			forgetWaits(cmd)
		}
		return err
	}
	switch cmd.Name() {
	case "llen":
		c.SetVal(g.p.w.waiting(key))
	case "exists":
		c.SetVal(g.p.w.exists(key))
	}
	return nil
}

// forgetWaits has an answer that is held say of refunds that waited that nothing is to be done.
func forgetWaits(cmd redis.Cmder) {
	c, ok := cmd.(*redis.Cmd)
	if !ok {
		return
	}
	v, _ := c.Val().([]any)
	if len(v) != 5 || v[0] != "open" && v[0] != "o" {
		return
	}
	outcome, _ := v[2].(string)
	v[2] = strings.ReplaceAll(outcome, string(balance.OutcomeWaiting), string(balance.OutcomeSame))
}

// serverGate stands before the ClickHouse of memory.
type serverGate struct{ p *process }

// Ping and Close: nothing that a schedule runs asks for them.
func (g serverGate) Ping(context.Context) error { return nil }

func (g serverGate) Close() error { return nil }

func (g serverGate) Query(ctx context.Context, name, text string, params map[string]string, scan func(driver.Rows) error) error {
	if v := g.p.park(ctx, toQuery, name+params["parent"]+params["ref"], nil); v != proceeds {
		return fmt.Errorf("query %s: %w: %w", name, ledger.ErrAway, v.err())
	}
	switch {
	case g.p.w.plan.without == withoutRebook && name == "closed_counts",
		g.p.w.plan.without == withoutOlder && name == "months_open" && owner(ctx) == "close" && g.p.w.begun(params["parent"]):
		return nil
	}
	return g.p.w.server.Query(ctx, name, text, params, scan)
}

// Insert lands, or not, by the scheduler's hand.
func (g serverGate) Insert(ctx context.Context, table, columns string, data []any) error {
	if g.p.w.plan.without == withoutFactEpoch && table == "transfers" && owner(ctx) == "relay" {
		g.p.w.presentEpoch(data)
	}
	if g.p.w.plan.without == withoutIntent && table == "closings" {
		return nil
	}
	if g.p.w.plan.without == withoutMade && table == "refund_looks" {
		forgetMade(data)
	}
	b, err := g.p.w.server.Block(table, columns, data)
	if g.p.w.plan.without == withoutNoted {
		return g.insertNotedAfter(ctx, table, data, b, err)
	}
	v := g.p.park(ctx, toInsert, table+" "+fmt.Sprint(first(data)), b)
	if v != proceeds {
		return fmt.Errorf("insert into %s: %w: %w", table, ledger.ErrAway, v.err())
	}
	return err
}

// insertNotedAfter is Insert where statuses, and reasons to look, come after their
// rows, and only if all went well.
func (g serverGate) insertNotedAfter(ctx context.Context, table string, data []any, b *ledgertest.Block, err error) error {
	w := g.p.w
	if table == "statuses" || table == "refund_looks" && !decided(data) {
		w.mu.Lock()
		g.p.noted = append(g.p.noted, b)
		w.mu.Unlock()
		return err
	}
	v := g.p.park(ctx, toInsert, table+" "+fmt.Sprint(first(data)), b)
	w.mu.Lock()
	var noted []*ledgertest.Block
	if table == "records" {
		noted, g.p.noted = g.p.noted, nil
	}
	w.mu.Unlock()
	if v != proceeds {
		return fmt.Errorf("insert into %s: %w: %w", table, ledger.ErrAway, v.err())
	}
	for _, n := range noted {
		n.Land(0)
	}
	return err
}

// decided tells what automatic refunds write of what they looked at from what is
// written beside rows.
func decided(data []any) bool {
	_, ok := data[0].([]uint8)
	return ok
}

// forgetMade has no refund that was handed over looked at again: a row that takes away
// what isn't there changes nothing.
func forgetMade(data []any) {
	signs, _ := data[len(data)-1].([]int8)
	if looks, ok := data[0].([]uint8); ok {
		for i, l := range looks {
			if ledger.Look(l) == ledger.LookMade {
				signs[i] = -1
			}
		}
	}
}

// Exec runs a statement that writes, when its rows land.
func (g serverGate) Exec(ctx context.Context, name, _ string, params map[string]string) error {
	b, err := g.p.w.server.Statement(name, params)
	if err != nil {
		return err
	}
	if v := g.p.park(ctx, toInsert, name+" "+params["parent"], b); v != proceeds {
		return fmt.Errorf("statement %s: %w: %w", name, ledger.ErrAway, v.err())
	}
	return nil
}

// presentEpoch puts Redis's present epoch into rows of transfers.
func (w *world) presentEpoch(data []any) {
	meta, _ := w.redis.Dump()["{p00}:meta"].(map[string]string)
	epochs, ok := data[len(data)-3].([]uint32)
	if !ok {
		panic("the epochs of transfers aren't where they were")
	}
	for i := range epochs {
		if n := numberIn(meta["epoch"]); n > 0 {
			epochs[i] = uint32(n)
		}
	}
}

// first column of text, in an order of its own: tasks that go on at one instant
// come to the writer in any.
func first(data []any) any {
	for _, c := range data {
		if s, ok := c.([]string); ok && len(s) > 0 {
			return slices.Sorted(slices.Values(s))
		}
	}
	return ""
}

// simQueue is asynq's client.
type simQueue struct{ p *process }

func (q simQueue) EnqueueContext(ctx context.Context, t *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error) {
	id, after := "", time.Duration(0)
	for _, o := range opts {
		switch v := o.Value().(type) {
		case string:
			if o.Type() == asynq.TaskIDOpt {
				id = v
			}
		case time.Duration:
			if o.Type() == asynq.ProcessInOpt {
				after = v
			}
		}
	}
	if t.Type() == wire.TypeJudge && q.p.w.plan.without == withoutJudgeOf {
		id, _ = wire.JudgedBy(id)
		id = wire.JudgeID(id, 0)
	}
	v := q.p.park(ctx, toQueue, "enqueue "+id, nil)
	if v == fails || v == dies {
		return nil, v.err()
	}
	if !q.p.w.enqueue(id, t.Type(), t.Payload(), after) && v == proceeds {
		return nil, asynq.ErrTaskIDConflict
	}
	return nil, v.err()
}

// numberIn is what Redis holds; 0 if it is none.
func numberIn(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
