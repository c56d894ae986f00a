package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/worker/pipeline"
)

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
func (w *Worker) newServer(queues []string, concurrency int, mux *asynq.ServeMux) *server {
	rdb, name, weights, check := w.redis, strings.Join(queues, ", "), map[string]int{}, severalCheck
	for _, q := range queues {
		weights[q] = 1
	}
	if len(queues) == 1 {
		rdb, check = patient{rdb, w.waits}, time.Millisecond // after patient has waited
	}
	return &server{name: name, mux: mux, srv: asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency:              concurrency,
		Queues:                   weights,
		TaskCheckInterval:        check,
		DelayedTaskCheckInterval: delayedCheck,
		RetryDelayFunc:           func(n int, err error, _ *asynq.Task) time.Duration { return w.pipeline.RetryDelay(n, err) },
		IsFailure:                w.pipeline.Counts, // a failure is a try that counts: see wire.TaskOptions
		ShutdownTimeout:          handlersMax,
		Logger:                   &asynqLog{log: w.deps.Log, queue: name},
		LogLevel:                 asynq.WarnLevel,
		ErrorHandler: asynq.ErrorHandlerFunc(func(ctx context.Context, t *asynq.Task, err error) {
			w.pipeline.Failed(err)
			if quiet(err) {
				return
			}
			why := pipeline.BecauseOf(err)
			if charges(t.Type()) {
				why = pipeline.Because(err)
			}
			w.deps.Log.WarnContext(ctx, "task goes back to its queue", slog.String("type", t.Type()), why, slog.Any("error", err))
		}),
	})}
}

// beyondEvery is how often they are looked for.
const beyondEvery = 5 * time.Second

// serveBeyond looks for queues beyond the worker's number until ctx ends, and has
// those that are new served.
func (w *Worker) serveBeyond(ctx context.Context, serve func(*server)) {
	w.runChore(ctx, chore{"queues beyond the shards", beyondEvery, func(ctx context.Context) error {
		added, err := w.pipeline.LookBeyond(ctx)
		if len(added) > 0 && w.has(RoleIngest) {
			serve(w.ingestServer(added...))
		}
		return err
	}})
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
	l.log.LogAttrs(ctx, level, "queue", slog.String("queue", l.queue), pipeline.Because(errors.New(text)), slog.String("message", text))
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
