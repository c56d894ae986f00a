package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meterd/meterd/internal/embedded"
)

// readyMax is how long a start may take on a busy machine.
const readyMax = 30 * time.Second

// process is a meterd that runs in the foreground: up or worker.
type process struct {
	cmd   *exec.Cmd
	log   *logBuffer
	ready chan string // the line that says ready
	ended chan struct{}
	err   error
}

// logBuffer keeps what a process writes.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// launch starts meterd in a process group of its own and doesn't wait.
func launch(tb testing.TB, env []string, args ...string) *process {
	tb.Helper()
	p := &process{log: &logBuffer{}, ready: make(chan string, 1), ended: make(chan struct{})}
	p.cmd = exec.Command(binary, args...) //nolint:noctx // the binary under test; the test ends it
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	started := make(chan error, 1)
	go p.follow(started, out)
	if err := <-started; err != nil {
		tb.Fatalf("start meterd %s: %v", strings.Join(args, " "), err)
	}
	tb.Cleanup(func() {
		p.kill()
		if tb.Failed() {
			tb.Logf("log of meterd %s:\n%s", args[0], p.log)
		}
	})
	return p
}

// follow starts the process and reads what it says until it ends. Its thread
// stays: the signal that ends an orphan comes when the thread ends.
func (p *process) follow(started chan<- error, out io.Reader) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready") {
			p.ready <- lines.Text()
		}
		_, _ = fmt.Fprintln(p.log, lines.Text())
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

// waitReady returns the line that said so.
func (p *process) waitReady(tb testing.TB) string {
	tb.Helper()
	select {
	case line := <-p.ready:
		return line
	case <-p.ended:
		tb.Fatalf("meterd ended before it was ready: %v\n%s", p.err, p.log)
	case <-time.After(readyMax):
		tb.Fatalf("meterd isn't ready after %s\n%s", readyMax, p.log)
	}
	return ""
}

// kill ends the whole process group at once, as a power cut would.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// stop ends it with SIGTERM and wants a clean exit.
func (p *process) stop(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatalf("stop meterd: %v", err)
	}
	select {
	case <-p.ended:
	case <-time.After(45 * time.Second):
		tb.Fatalf("meterd didn't stop\n%s", p.log)
	}
	if p.err != nil {
		tb.Fatalf("meterd stopped with %v\n%s", p.err, p.log)
	}
}

// system is an embedded system on a data folder.
type system struct {
	*process

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
	s.process = launch(tb, s.env, append(s.args, "--data", s.dir)...)
	s.waitReady(tb)
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
	s.kill()
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
	deadline := time.After(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("not within %s: %s", within, what)
		}
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
