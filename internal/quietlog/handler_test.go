package quietlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/quietlog"
)

// written is what comes out, each line with the time at which it did.
type written struct {
	clock clock.Clock

	mu    sync.Mutex
	lines []map[string]any
	at    []time.Time
}

func (w *written) Write(p []byte) (int, error) {
	var line map[string]any
	if err := json.Unmarshal(p, &line); err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines, w.at = append(w.lines, line), append(w.at, w.clock.Now())
	return len(p), nil
}

func (w *written) all() []map[string]any {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]map[string]any(nil), w.lines...)
}

// standsFor is how many lines that came those that were written stand for.
func standsFor(lines []map[string]any) int {
	n := 0
	for _, l := range lines {
		if strings.HasPrefix(fmt.Sprint(l["msg"]), "more lines") {
			n += count(l["lines"])
		} else {
			n += 1 + count(l["again"])
		}
	}
	return n
}

func count(v any) int {
	n, _ := v.(float64)
	return int(n)
}

func begin(t *testing.T) (*clock.Fake, *written, *slog.Logger, *quietlog.Handler) {
	t.Helper()
	clk := clock.NewFake(time.Date(2026, 11, 1, 3, 0, 0, 0, time.UTC))
	out := &written{clock: clk}
	h := quietlog.New(slog.NewJSONHandler(out, nil), quietlog.Options{Clock: clk})
	return clk, out, slog.New(h), h
}

// ended flushes what is held back.
func ended(t *testing.T, h *quietlog.Handler) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Run(ctx)
}

func TestFirstIsWrittenOthersAreSummedUp(t *testing.T) {
	t.Parallel()
	clk, out, log, h := begin(t)
	for i := range 40 {
		log.Warn("task goes back", slog.String("queue", fmt.Sprintf("ingest-%d", i%4)), slog.String("task", fmt.Sprintf("01f%d-ab", i)),
			slog.Any("error", fmt.Errorf("read tcp 127.0.0.1:%d->127.0.0.1:6379: i/o timeout", 40000+i)))
		clk.Advance(time.Second)
	}
	log.Warn("task goes back", slog.String("queue", "refunds"), slog.Any("error", errors.New("another")))
	require.Len(t, out.all(), 2)
	clk.Advance(20 * time.Second)
	log.Info("anything")
	lines := out.all()
	require.Len(t, lines, 4)
	require.Equal(t, "01f39-ab", lines[2]["task"], "the newest")
	require.EqualValues(t, 38, lines[2]["again"])
	require.Equal(t, "2026-11-01T03:00:01Z", lines[2]["since"])
	ended(t, h)
	require.Len(t, out.all(), 4, "nothing is held back")
}

func TestOneLineForOneCause(t *testing.T) {
	t.Parallel()
	clk, out, log, h := begin(t)
	away := quietlog.Cause("redis away")
	log.Warn("chore failed", slog.String("chore", "months"), away)
	log.Error("queue", slog.String("queue", "reports"), away)
	log.Error("redis can't be used", quietlog.Cause("redis"))
	log.Error("clickhouse can't be used", quietlog.Cause("clickhouse"))
	require.Len(t, out.all(), 3)
	clk.Advance(time.Second)
	log.Info("redis can be used again", quietlog.Over("redis"))
	log.Info("redis can be used again", quietlog.Over("redis"))
	log.Error("clickhouse can't be used", quietlog.Cause("clickhouse"))
	require.Len(t, out.all(), 5)
	log.Error("queue", slog.String("queue", "reports"), away)
	log.Error("redis can't be used", quietlog.Cause("redis"))
	require.Len(t, out.all(), 7, "it is gone again, and that is said at once")
	ended(t, h)
	require.Equal(t, 9, standsFor(out.all()))
}

func TestForgottenWhenItDoesntCome(t *testing.T) {
	t.Parallel()
	clk, out, log, _ := begin(t)
	log.Warn("away")
	for range 4 {
		clk.Advance(time.Minute)
		log.Info("something else")
	}
	log.Warn("away")
	lines := out.all()
	require.Equal(t, "away", lines[len(lines)-1]["msg"], "without waiting for the end of the minute")
}

// TestWhateverComes: in no minute are there more lines than 20, every line that came
// is counted once, and a kind's first line isn't held back while there is room.
func TestWhateverComes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		clk, out, log, h := begin(t)
		rng := rand.New(rand.NewPCG(seed, 1))
		sent, kinds := 0, []int{1, 5, 30, 500}[seed%4]
		levels := []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError}
		derived := []*slog.Logger{log, log.With(slog.String("a", "b")), log.WithGroup("g"), log.With(slog.Int("task", 7))}
		for range 1 + rng.IntN(2000) {
			word := strings.Repeat("x", rng.IntN(kinds))
			attrs := []slog.Attr{slog.String("word", word), slog.Int("n", rng.IntN(1000))}
			switch rng.IntN(30) {
			case 0:
				attrs = append(attrs, quietlog.Over("re"))
			case 1, 2, 3:
				attrs = append(attrs, quietlog.Cause("redis "+word[:min(len(word), 3)]))
			}
			derived[rng.IntN(len(derived))].LogAttrs(t.Context(), levels[rng.IntN(3)], "message", attrs...)
			sent++
			if rng.IntN(10) == 0 {
				clk.Advance(time.Duration(rng.IntN(5000)) * time.Millisecond)
			}
			if rng.IntN(500) == 0 {
				clk.Advance(time.Duration(rng.IntN(300)) * time.Second)
			}
		}
		ended(t, h)
		lines := out.all()
		all := make([]map[string]any, len(lines))
		for i, l := range lines {
			all[i] = l
			if g, ok := l["g"].(map[string]any); ok { // of a logger with a group
				g["msg"] = l["msg"]
				all[i] = g
			}
		}
		require.Equal(t, sent, standsFor(all), "seed %d", seed)
		for i := range out.at {
			// What the end writes is beyond the bound: it comes once.
			if i+20 < len(out.at)-6 {
				require.GreaterOrEqual(t, out.at[i+20].Sub(out.at[i]), time.Minute, "seed %d, line %d", seed, i)
			}
		}
	}
}

func TestNewKindsAreWrittenWhileThereIsRoom(t *testing.T) {
	t.Parallel()
	_, out, log, h := begin(t)
	for i := range 300 {
		log.Info("message", slog.String("word", strings.Repeat("x", i)))
	}
	log.Error("redis can't be used", quietlog.Cause("redis"))
	log.Info("redis can be used again", quietlog.Over("redis"))
	lines := out.all()
	require.Len(t, lines, 12, "ten, and what names a cause or its end")
	require.Equal(t, "redis can be used again", lines[11]["msg"])
	ended(t, h)
	require.Equal(t, 302, standsFor(out.all()))
	require.LessOrEqual(t, len(out.all()), 18)
}

// TestWhatIsNewIsWrittenAtOnceInALongOutage: what sums up what fails takes no room from
// what ends it, of which the runbook says that it is seen.
func TestWhatIsNewIsWrittenAtOnceInALongOutage(t *testing.T) {
	t.Parallel()
	clk, out, log, _ := begin(t)
	for range 600 {
		for _, what := range []string{"a", "b", "c", "d", "e", "f", "g"} {
			log.Error("chore failed", slog.String("chore", what))
		}
		clk.Advance(time.Second / 2)
	}
	clk.Advance(time.Second) // the last minute was summed up just now
	for _, what := range []string{"a", "b", "c", "d"} {
		log.Info("chore runs again", slog.String("chore", what))
	}
	log.Info("redis can be used again", quietlog.Over("redis"))
	for p := range 64 {
		log.Info("projection rebuilt", slog.Int("partition", p), slog.String("reason", "no projection"))
	}
	log.Info("projection rebuilt", slog.Int("partition", 3), slog.String("reason", "redis restarted or failed over"))
	lines := out.all()
	last := lines[len(lines)-2:]
	require.Equal(t, []any{"no projection", "redis restarted or failed over"}, []any{last[0]["reason"], last[1]["reason"]}, "%v", lines)
	require.EqualValues(t, 0, last[0]["partition"], "one for all partitions")
}

// TestWhatNobodyHasReadComesFirst: also where what is worse goes on.
func TestWhatNobodyHasReadComesFirst(t *testing.T) {
	t.Parallel()
	clk, out, log, _ := begin(t)
	noise := func() {
		for i := range 12 {
			log.Error("failed", slog.String("word", strings.Repeat("x", i)))
		}
	}
	noise()
	clk.Advance(time.Minute)
	noise()
	clk.Advance(30 * time.Second)
	noise()
	before := len(out.all())
	for i := range 11 { // more than there is room for
		log.Info("message", slog.String("word", strings.Repeat("y", i)))
	}
	held := 11 - (len(out.all()) - before)
	require.Positive(t, held)
	clk.Advance(time.Minute)
	log.Info("new")
	told := map[any]bool{}
	for _, l := range out.all()[before:] {
		told[l["word"]] = true
	}
	for i := range 11 {
		require.True(t, told[strings.Repeat("y", i)], "%d: %v", i, told)
	}
}

func TestRunSumsUpByItself(t *testing.T) {
	t.Parallel()
	out := &written{clock: clock.System()}
	h := quietlog.New(slog.NewJSONHandler(out, nil), quietlog.Options{Every: 5 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var owner sync.WaitGroup
	owner.Go(func() { h.Run(ctx) })
	log := slog.New(h)
	sent := 0
	for len(out.all()) < 4 {
		log.Warn("again and again")
		sent++
	}
	cancel()
	owner.Wait()
	require.Equal(t, sent, standsFor(out.all()))
}

func TestSeveralGoroutines(t *testing.T) {
	t.Parallel()
	out := &written{clock: clock.System()}
	h := quietlog.New(slog.NewJSONHandler(out, nil), quietlog.Options{Every: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var owner, writers sync.WaitGroup
	owner.Go(func() { h.Run(ctx) })
	for i := range 8 {
		writers.Go(func() {
			log := slog.New(h).With(slog.String("writer", strings.Repeat("w", i)))
			for n := range 500 {
				log.Warn("line", slog.Int("n", n), quietlog.Cause([]string{"", "redis away"}[n%2]))
			}
		})
	}
	writers.Wait()
	cancel()
	owner.Wait()
	require.Equal(t, 4000, standsFor(out.all()))
}

func TestIsASlogHandler(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return quietlog.New(slog.NewJSONHandler(&out, nil), quietlog.Options{})
	}, func(t *testing.T) map[string]any {
		t.Helper()
		line := map[string]any{}
		require.NoError(t, json.Unmarshal(out.Bytes(), &line))
		return line
	})
}

func BenchmarkHeldBack(b *testing.B) {
	log := slog.New(quietlog.New(slog.DiscardHandler, quietlog.Options{}))
	err := errors.New("dial tcp 127.0.0.1:6379: connect: connection refused")
	b.ReportAllocs()
	for b.Loop() {
		log.LogAttrs(b.Context(), slog.LevelWarn, "task goes back to its queue", slog.String("type", "usage:ingest"), slog.Any("error", err))
	}
}
