package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// panicsMax: a task that panics this often is quarantined whole.
const panicsMax = 3

// unreadable quarantines a payload whole and finishes its task.
func (e *engine) unreadable(ctx context.Context, id string, payload []byte, cause error) error {
	now := e.clock.Now().UTC()
	en := ledger.Entry{
		ID: ledger.EntryID("", "", payload), Reason: metering.ReasonMalformed, Raw: payload,
		Detail: "the task's payload can't be processed; see `meterd quarantine show`, correct it and enqueue it again", QuarantinedAt: now,
		State: ledger.QuarantineOpen, Version: uint64(now.UnixMicro()),
	}
	e.log.ErrorContext(ctx, "task quarantined whole", slog.String("task", id), slog.Any("error", cause))
	if _, err := e.write(ctx, id+":unreadable", &ledger.Batch{Quarantine: []ledger.Entry{en}}); err != nil {
		return err
	}
	meta, err := e.meta(ctx, 0)
	if err != nil {
		return err
	}
	n := int64(1)
	if lines, err := e.codec.Decode(payload); err == nil && len(lines) > 0 {
		n = int64(len(lines))
	}
	t := &task{id: id, run: jobs.RunOf(id)}
	return e.finish(ctx, t, 0, meta, &balance.Finished{Counts: balance.Counts{Quarantined: n}})
}

// guarded runs a handler and turns a panic into an error; the third of one task
// quarantines it whole, so that it never holds back others.
func (e *engine) guarded(h func(ctx context.Context, id string, payload []byte) error) asynq.HandlerFunc {
	return func(ctx context.Context, t *asynq.Task) (err error) {
		id, _ := asynq.GetTaskID(ctx)
		defer func() {
			if v := recover(); v != nil {
				err = &panicError{value: v}
				e.log.ErrorContext(ctx, "a handler panicked", slog.String("task", id), slog.Any("error", err))
				if n, _ := asynq.GetRetryCount(ctx); n+1 >= panicsMax {
					err = e.unreadable(ctx, id, t.Payload(), err)
				}
			}
		}()
		return h(ctx, id, t.Payload())
	}
}

// ingestTask is the handler of usage:ingest.
func (e *engine) ingestTask(ctx context.Context, id string, payload []byte) error {
	lines, err := e.codec.Decode(payload)
	if err != nil {
		return e.unreadable(ctx, id, payload, err)
	}
	if len(lines) == 0 {
		return e.unreadable(ctx, id, payload, jobs.ErrPayload)
	}
	return e.process(ctx, newTask(id, lines, false))
}

// retryDelay: waiting for others is short, an engine that is away doubles up to
// 30 s.
func retryDelay(n int, err error, _ *asynq.Task) time.Duration {
	if errors.Is(err, errLater) || errors.Is(err, balance.ErrEpoch) || errors.Is(err, balance.ErrGone) || errors.Is(err, balance.ErrOpen) {
		return 250 * time.Millisecond
	}
	if _, ok := err.(*panicError); ok { //nolint:errorlint // ours, never wrapped
		return time.Duration(n+1) * time.Second
	}
	return min(time.Second<<min(n, 5), 30*time.Second)
}

// isFailure: only a panic counts against a task; everything else is retried
// without end.
func isFailure(err error) bool {
	var p *panicError
	return errors.As(err, &p)
}

// server is one asynq server with what it serves.
type server struct {
	name string
	srv  *asynq.Server
	mux  *asynq.ServeMux
}

func (e *engine) newServer(rdb redis.UniversalClient, queue string, concurrency int, delayed time.Duration, mux *asynq.ServeMux) *server {
	return &server{name: queue, mux: mux, srv: asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency:              concurrency,
		Queues:                   map[string]int{queue: 1},
		TaskCheckInterval:        10 * time.Millisecond,
		DelayedTaskCheckInterval: delayed,
		RetryDelayFunc:           retryDelay,
		IsFailure:                isFailure,
		ShutdownTimeout:          20 * time.Second,
		Logger:                   &asynqLog{log: e.log, queue: queue},
		LogLevel:                 asynq.WarnLevel,
		ErrorHandler: asynq.ErrorHandlerFunc(func(ctx context.Context, t *asynq.Task, err error) {
			if !errors.Is(err, errLater) {
				e.log.WarnContext(ctx, "task goes back to its queue", slog.String("type", t.Type()), slog.Any("error", err))
			}
		}),
	})}
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
	l.log.Log(context.Background(), level, "queue", slog.String("queue", l.queue), slog.String("message", fmt.Sprint(args...)))
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
