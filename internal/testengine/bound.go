package testengine

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// testMax is how long a test may take that doesn't say so itself (see Bound): some
// five times what the longest of them takes under the race detector with a slow
// machine of two cores to itself (50 s). Beside it run seven others and their engines,
// which have made one of 20 s take two minutes.
const testMax = 4 * time.Minute

// logLines of each log are shown of a test that hangs.
const logLines = 30

// Bound says how long a test may take, instead of testMax. Past it the
// process ends, with the stacks of all goroutines and the last lines of the
// engines' logs: a test that hangs says where, and costs no more than that.
// Tests that start an engine are bounded by it; others may call Bound.
func Bound(tb testing.TB, most time.Duration) {
	tb.Helper()
	bounds.set(tb, most)
}

// Log names a log whose last lines are shown if the test hangs: of what text
// returns then.
func Log(tb testing.TB, name string, text func() string) {
	tb.Helper()
	bounds.log(tb, name, text)
}

// bounds are those of the tests that run.
var bounds = watch{out: os.Stderr, exit: os.Exit} //nolint:gochecknoglobals // of the process that it ends

type watch struct {
	mu    sync.Mutex
	tests map[string]*bounded
	out   io.Writer
	exit  func(code int)
}

type bounded struct {
	timer *time.Timer
	most  time.Duration
	logs  []namedLog
}

type namedLog struct {
	name string
	text func() string
}

// set bounds a test. The first call holds: who starts an engine needn't know
// whether the test has said more.
func (w *watch) set(tb testing.TB, most time.Duration) {
	tb.Helper()
	if _, ok := tb.(*testing.B); ok {
		return // what a benchmark takes, its caller says
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	name := tb.Name()
	if w.tests[name] != nil {
		return
	}
	if w.tests == nil {
		w.tests = map[string]*bounded{}
	}
	w.tests[name] = &bounded{most: most, timer: time.AfterFunc(most, func() { w.hung(name) })}
	tb.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.tests[name].timer.Stop()
		delete(w.tests, name)
	})
}

func (w *watch) log(tb testing.TB, name string, text func() string) {
	tb.Helper()
	w.set(tb, testMax)
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.tests[tb.Name()]; t != nil {
		t.logs = append(t.logs, namedLog{name, text})
	}
}

// hung tells where the process is, and ends it.
func (w *watch) hung(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tests[name]
	if t == nil {
		return // it has just ended
	}
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	_, _ = fmt.Fprintf(w.out, "\n--- FAIL: %s: still running after %s (testengine.Bound)\n\n%s\n", name, t.most, stacks)
	for _, l := range t.logs {
		_, _ = fmt.Fprintf(w.out, "\n%s, its last lines:\n%s\n", l.name, tail(l.text()))
	}
	w.exit(2)
}

// tail is the end of a log.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-logLines):], "\n")
}

// fileLog is a log in a folder, as it is when asked for.
func fileLog(dir, name string) func() string {
	return func() string {
		text, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // a log of the test
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
}

// statements that ClickHouse runs, or why it doesn't say.
func (e *Engines) statements() string {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	const query = "SELECT round(elapsed, 1), left(query, 200) FROM system.processes WHERE query NOT LIKE '%system.processes%' FORMAT TSV"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.ClickHouseURL, strings.NewReader(query))
	if err != nil {
		return err.Error()
	}
	req.SetBasicAuth(e.ClickHouseUser, e.ClickHousePassword)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
