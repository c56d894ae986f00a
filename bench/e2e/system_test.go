package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meterd/meterd/bench/internal/proc"
	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/internal/testengine"
)

// launch starts the binary under test.
func launch(tb testing.TB, env []string, args ...string) *proc.Process {
	tb.Helper()
	return proc.Launch(tb, binary, env, args...)
}

// system is an embedded system on a data folder.
type system struct {
	*proc.Process

	dir  string
	env  []string
	args []string
}

// up starts an embedded system on a fresh folder and waits until it serves.
func up(tb testing.TB, env []string, args ...string) *system {
	tb.Helper()
	s := &system{dir: tb.TempDir(), env: env, args: append([]string{"up"}, args...)}
	s.start(tb)
	return s
}

func (s *system) start(tb testing.TB) {
	tb.Helper()
	s.Process = launch(tb, s.env, append(s.args, "--data", s.dir)...)
	s.WaitReady(tb)
}

// killAll ends meterd and its redis-server, which has a process group of its
// own, at once; redisFirst says which goes first.
func (s *system) killAll(redisFirst bool) {
	redis := 0
	if text, err := os.ReadFile(filepath.Join(s.dir, "redis", "redis.pid")); err == nil {
		redis, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if redis > 1 && redisFirst {
		_ = syscall.Kill(redis, syscall.SIGKILL)
	}
	s.Kill()
	if redis > 1 && !redisFirst {
		_ = syscall.Kill(redis, syscall.SIGKILL)
	}
}

// info is what the system's run file says.
func (s *system) info(tb testing.TB) embedded.RunInfo {
	tb.Helper()
	info, err := embedded.ReadRunFile(s.dir)
	if err != nil {
		tb.Fatal(err)
	}
	return info
}

// cli runs commands against some system.
type cli []string

func (s *system) cli() cli { return cli{"--data", s.dir} }

// result of a command.
type result struct {
	out, err string
	code     int
}

// try runs a command to its end.
func (c cli) try(ctx context.Context, tb testing.TB, args ...string) result {
	tb.Helper()
	cmd := exec.CommandContext(ctx, binary, append(args, c...)...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	r := result{out: out.String(), err: stderr.String()}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		r.code = -1 // killed, as asked
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	default:
		tb.Fatalf("meterd %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// run wants a command to succeed and returns what it printed.
func (c cli) run(tb testing.TB, args ...string) string {
	tb.Helper()
	r := c.try(tb.Context(), tb, args...)
	if r.code != 0 {
		tb.Fatalf("meterd %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

// one decodes the one document that a command prints.
func one[T any](tb testing.TB, c cli, args ...string) T {
	tb.Helper()
	return decode[T](tb, c.run(tb, append(args, "--json")...))
}

// list decodes one object a line.
func list[T any](tb testing.TB, c cli, args ...string) []T {
	tb.Helper()
	var out []T
	for line := range strings.Lines(c.run(tb, append(args, "--json")...)) {
		out = append(out, decode[T](tb, line))
	}
	return out
}

func decode[T any](tb testing.TB, text string) T {
	tb.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		tb.Fatalf("%v in %q", err, text)
	}
	return v
}

// eventually polls until ok says so.
func eventually(tb testing.TB, what string, within time.Duration, ok func() bool) {
	tb.Helper()
	if !testengine.Until(within, ok) {
		tb.Fatalf("not within %s: %s", within, what)
	}
}

// metric reads a figure of /metrics; all its series are added.
func metric(tb testing.TB, base, name string) int64 {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, base+"/metrics", nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	found, sum := false, int64(0)
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if series == name || strings.HasPrefix(series, name+"{") {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				tb.Fatal(err)
			}
			found = true
			sum += int64(f)
		}
	}
	if err := lines.Err(); err != nil || !found {
		tb.Fatalf("metric %s: found %v, %v", name, found, err)
	}
	return sum
}

// write makes a file of lines.
func write(tb testing.TB, lines []string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "file")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// counts is what enqueue --wait says.
type counts struct {
	Read        int64 `json:"read"`
	Enqueued    int64 `json:"enqueued"`
	Stored      int64 `json:"stored"`
	Duplicates  int64 `json:"duplicates"`
	Quarantined int64 `json:"quarantined"`
	Waiting     int64 `json:"waiting"`
}

// enqueue sends lines and waits for their outcomes.
func enqueue(tb testing.TB, c cli, lines []string, flags ...string) counts {
	tb.Helper()
	return one[counts](tb, c, append([]string{"enqueue", write(tb, lines), "--wait"}, flags...)...)
}
