package worker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/quietlog"
	"github.com/meterd/meterd/worker/pipeline"
)

// sightEvery is how often an engine is asked whether it answers while nothing is wrong;
// then it is asked every WatchEvery. One that takes connections and says nothing is in
// the log after sightEvery and WatchAnswer: who works with ClickHouse waits for minutes.
const sightEvery = 5 * time.Second

// sayEvery is how often it is said that an engine is still away.
const sayEvery = 30 * time.Second

// sight is the look at one engine.
type sight struct {
	name, address string
	ask           func(ctx context.Context) error
	log           *slog.Logger
	every, again  time.Duration // between two questions: sightEvery, and while it is away WatchEvery
}

// sights are those at both engines. Each worker looks by itself: the way to an engine
// may be broken for one alone.
func (w *Worker) sights() []sight {
	return []sight{
		{"redis", redisAddress(w.deps.Redis), func(ctx context.Context) error { return takesWrites(ctx, w.deps.Redis) }, w.deps.Log, sightEvery, pipeline.WatchEvery},
		{"clickhouse", w.deps.Ledger.Address(), w.deps.Ledger.Ping, w.deps.Log, sightEvery, pipeline.WatchEvery},
	}
}

// takesWrites asks what is refused as a write is: without memory or a disk, and by a
// replica. It changes nothing.
func takesWrites(ctx context.Context, rdb redis.UniversalClient) error {
	return rdb.Eval(ctx, "#!lua\nreturn 1", nil).Err()
}

func redisAddress(rdb redis.UniversalClient) string {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().Addr
	case *redis.ClusterClient:
		return strings.Join(c.Options().Addrs, ",")
	}
	return ""
}

// run looks until ctx ends, and says when the engine goes and when it is back.
func (s *sight) run(ctx context.Context) {
	var gone, said time.Time // since when it doesn't answer, and when that was said
	c := clock.System()      // this is about answers, not about what is due
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		began := c.Now()
		err := s.look(ctx)
		if ctx.Err() != nil {
			return
		}
		now, next := c.Now(), s.again
		switch {
		case err == nil:
			if next = s.every; !gone.IsZero() {
				s.log.InfoContext(ctx, "an engine can be used again", quietlog.Over(s.name), slog.String("address", s.address),
					slog.Duration("after", now.Sub(gone).Round(time.Second)))
			}
			gone, said = time.Time{}, time.Time{}
		case gone.IsZero():
			gone = began
			fallthrough
		case now.Sub(said) >= sayEvery:
			said = now
			runbook := s.name + "-away"
			if pipeline.OutOfMemory(err.Error()) {
				runbook = s.name + "-out-of-memory"
			}
			s.log.ErrorContext(ctx, "an engine can't be used", quietlog.Cause(s.name), slog.String("address", s.address),
				slog.Duration("for", now.Sub(gone).Round(time.Second)), slog.Any("error", err), slog.String("runbook", "docs/operators.md#"+runbook))
		}
		timer.Reset(next)
	}
}

// errSilent: it takes connections, perhaps, and doesn't answer.
var errSilent = errors.New("no answer within " + pipeline.WatchAnswer.String())

func (s *sight) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pipeline.WatchAnswer)
	defer cancel()
	err := s.ask(ctx)
	if err != nil && ctx.Err() != nil {
		return errSilent
	}
	return err
}
