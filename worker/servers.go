package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/panics"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// panicsMax: a task that panics this often is quarantined whole.
const panicsMax = 3

// unreadable quarantines a payload whole and finishes its task.
func (e *engine) unreadable(ctx context.Context, id, typ string, payload []byte, cause error) error {
	now := e.clock.Now().UTC()
	kind, lines := e.linesOf(typ, payload)
	raw := bytes.Join(lines, []byte{'\n'}) // as a replay sends them again
	detail := "the task's payload can't be processed; see `meterd quarantine show`, correct it and enqueue it again"
	switch {
	case errors.Is(cause, wire.ErrLines):
		detail = fmt.Sprintf("the task has more than %d lines; take it apart and enqueue what is in it again", wire.LinesMax)
	case kind == metering.KindAdjustment:
		detail = "a re-rating's corrections can't be processed; run `meterd rerate` again with its reference, which books what is left, then discard this entry"
	}
	en := ledger.Entry{
		ID: ledger.EntryID("", kind, raw), Reason: metering.ReasonMalformed, Kind: kind, Raw: raw, Detail: detail, QuarantinedAt: now,
		State: ledger.QuarantineOpen, Version: uint64(now.UnixMicro()),
	}
	e.log.ErrorContext(ctx, "task quarantined whole", slog.String("task", id), slog.Any("error", cause))
	if _, err := e.write(ctx, id+":unreadable", &ledger.Batch{Quarantine: []ledger.Entry{en}}); err != nil {
		return err
	}
	return e.abandon(ctx, &task{id: id, run: wire.RunOf(id)}, balance.Counts{Quarantined: int64(len(lines))})
}

// linesOf a task that is quarantined whole, without their head, and of what kind
// they are: "" for records, for each names its own. What isn't of records has its
// task's type: a replay must not take it for one.
func (e *engine) linesOf(typ string, payload []byte) (metering.Kind, [][]byte) {
	whole := [][]byte{payload}
	lines, err := e.codec.Decode(payload)
	if err != nil || len(lines) == 0 {
		lines = whole
	}
	var refund wire.RefundHeader
	var judge wire.JudgeHeader
	var correct wire.CorrectionHeader
	heads := map[string]any{wire.TypeRefund: &refund, wire.TypeJudge: &judge, wire.TypeCorrect: &correct}
	if head := heads[typ]; head != nil {
		if rest, err := e.codec.DecodeHead(payload, head); err == nil && len(rest) > 0 {
			lines = rest
		}
	}
	switch {
	case typ == wire.TypeCorrect, judge.Corrections:
		return metering.KindAdjustment, lines
	case typ == wire.TypeRefund:
		return metering.KindRefund, lines
	case typ == wire.TypeIngest, typ == wire.TypeJudge:
		return "", lines
	}
	return metering.Kind(typ), whole
}

// abandon ends a task that is quarantined whole. An answer that it holds is
// given up: what it charged is healed by reconcile, and is charged again when
// the entry is replayed. Rows that are in the ledger stay there.
func (e *engine) abandon(ctx context.Context, t *task, counts balance.Counts) error {
	for p := range e.store.Partitions() {
		meta, err := e.meta(ctx, p)
		if err != nil {
			return err
		}
		reply, _, err := e.store.FindAnswer(ctx, p, t.id)
		if err != nil {
			return err
		}
		if reply == nil && p > 0 {
			continue
		}
		seq := int64(0)
		if reply != nil {
			seq = reply.Seq
			if reply.State == balance.AnswerOpen {
				if err := e.giveUpOne(ctx, p, meta, balance.OpenAnswer{Task: t.id, Seq: seq}, 0); err != nil {
					return err
				}
			}
		}
		f := &balance.Finished{Seq: seq, Counts: counts, Reasons: map[metering.Reason]int64{metering.ReasonMalformed: counts.Quarantined}}
		if err := e.finish(ctx, t, p, meta, f); err != nil {
			return err
		}
		counts = balance.Counts{}
	}
	return nil
}

// guarded runs a handler and turns a panic into an error; the third of one task
// quarantines it whole, so that it never holds back others.
func (e *engine) guarded(h func(ctx context.Context, id string, payload []byte) error) asynq.HandlerFunc {
	return func(ctx context.Context, t *asynq.Task) (err error) {
		id, _ := asynq.GetTaskID(ctx)
		defer func() {
			if v := recover(); v != nil {
				err = &panics.Error{Value: v}
				e.log.ErrorContext(ctx, "a handler panicked", slog.String("task", id), slog.Any("error", err))
				n, bad := e.store.Panicked(ctx, id)
				if bad != nil {
					err = errors.Join(err, bad)
				} else if n >= panicsMax {
					err = e.unreadable(ctx, id, t.Type(), t.Payload(), err)
				}
			}
			if err != nil {
				err = errors.Join(err, e.restore(ctx, id, t))
			}
		}()
		return h(ctx, id, t.Payload())
	}
}

// restore puts a task back that goes to its queue again, but that Redis has
// lost meanwhile: asynq would drop it, and an answer that it holds would stay
// open until it is given up. Where the task is still there nothing changes.
func (e *engine) restore(ctx context.Context, id string, t *asynq.Task) error {
	queue, ok := asynq.GetQueueName(ctx)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreMax) // a lost lease has ended ctx
	defer cancel()
	_, err := e.queue.EnqueueContext(ctx, asynq.NewTask(t.Type(), t.Payload()), append(wire.TaskOptions(id, queue), asynq.ProcessIn(time.Second))...)
	switch {
	case errors.Is(err, asynq.ErrTaskIDConflict):
		return nil
	case err != nil:
		return fmt.Errorf("look whether the task is still there: %w", err)
	}
	e.log.WarnContext(ctx, "a task that redis has lost was put back", slogTask(id))
	return nil
}

// restoreMax bounds it while Redis is away.
const restoreMax = 5 * time.Second

// ingestTask is the handler of usage:ingest.
func (e *engine) ingestTask(ctx context.Context, id string, payload []byte) error {
	defer e.taken.Add(1)
	lines, release, err := e.unpack(ctx, payload, nil)
	if errors.Is(err, wire.ErrPayload) {
		return e.unreadable(ctx, id, wire.TypeIngest, payload, err)
	}
	if err != nil {
		return err
	}
	defer release()
	if len(lines) == 0 {
		return e.unreadable(ctx, id, wire.TypeIngest, payload, wire.ErrPayload)
	}
	t := newTask(id, lines, false)
	e.metrics.CountUnknown(t.recs)
	return e.process(ctx, t)
}

// delayedCheck is how often a server asks for tasks whose time has come.
const delayedCheck = time.Second

// server is one asynq server with what it serves.
type server struct {
	name string
	srv  *asynq.Server
	mux  *asynq.ServeMux
}

// severalCheck is how often several queues in turn are asked while they are empty.
const severalCheck = time.Second

// newServer serves queues: one is waited for in Redis, several are asked in turn.
func (e *engine) newServer(rdb, waits redis.UniversalClient, queues []string, concurrency int, mux *asynq.ServeMux) *server {
	name, weights, check := strings.Join(queues, ", "), map[string]int{}, severalCheck
	for _, q := range queues {
		weights[q] = 1
	}
	if len(queues) == 1 {
		rdb, check = patient{rdb, waits}, time.Millisecond // after patient has waited
	}
	return &server{name: name, mux: mux, srv: asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency:              concurrency,
		Queues:                   weights,
		TaskCheckInterval:        check,
		DelayedTaskCheckInterval: delayedCheck,
		RetryDelayFunc:           func(n int, err error, _ *asynq.Task) time.Duration { return e.outage.delay(n, err) },
		IsFailure:                e.outage.counts, // a failure is a try that counts: see wire.TaskOptions
		ShutdownTimeout:          handlersMax,
		Logger:                   &asynqLog{log: e.log, queue: name},
		LogLevel:                 asynq.WarnLevel,
		ErrorHandler: asynq.ErrorHandlerFunc(func(ctx context.Context, t *asynq.Task, err error) {
			e.outage.failed(err)
			if quiet(err) {
				return
			}
			why := becauseOf(err)
			if charges(t.Type()) {
				why = because(err)
			}
			e.log.WarnContext(ctx, "task goes back to its queue", slog.String("type", t.Type()), why, slogError(err))
		}),
	})}
}

// charges tells whether tasks of a type work with Redis and ClickHouse alone.
func charges(typ string) bool {
	return slices.Contains([]string{wire.TypeIngest, wire.TypeJudge, wire.TypeRefund, wire.TypeCorrect}, typ)
}

// run serves until ctx ends, then finishes what is in hand.
func (s *server) run(ctx context.Context) error {
	if err := s.srv.Start(s.mux); err != nil {
		return fmt.Errorf("start the server of queue %s: %w", s.name, err)
	}
	<-ctx.Done()
	s.srv.Shutdown()
	return nil
}

// asynqLog passes asynq's lines to slog.
type asynqLog struct {
	log   *slog.Logger
	queue string
}

func (l *asynqLog) line(level slog.Level, args []any) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	text := fmt.Sprint(args...)
	l.log.LogAttrs(ctx, level, "queue", slog.String("queue", l.queue), because(errors.New(text)), slog.String("message", text))
}

// Debug implements asynq.Logger, as do the others.
func (l *asynqLog) Debug(args ...any) { l.line(slog.LevelDebug, args) }

// Info implements asynq.Logger.
func (l *asynqLog) Info(args ...any) { l.line(slog.LevelDebug, args) }

// Warn implements asynq.Logger.
func (l *asynqLog) Warn(args ...any) { l.line(slog.LevelWarn, args) }

// Error implements asynq.Logger.
func (l *asynqLog) Error(args ...any) { l.line(slog.LevelError, args) }

// Fatal implements asynq.Logger; it doesn't end the process: its owner does.
func (l *asynqLog) Fatal(args ...any) { l.line(slog.LevelError, args) }

func slogTask(id string) slog.Attr { return slog.String("task", id) }

func slogError(err error) slog.Attr { return slog.Any("error", err) }
