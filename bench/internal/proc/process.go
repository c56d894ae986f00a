package proc

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meterd/meterd/internal/testengine"
)

// Build builds meterd, of a version, into a folder and returns its path: with
// the flags of the Makefile, whose compiled packages it shares.
func Build(dir, version string) (string, error) {
	binary := filepath.Join(dir, "meterd-"+version)
	ctx, cancel := context.WithTimeout(context.Background(), buildMax)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath",
		"-ldflags", "-X main.version="+version, "-o", binary, "github.com/meterd/meterd/cmd/meterd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build meterd: %w: %s", err, out)
	}
	return binary, nil
}

// How long each may take on a busy machine.
const (
	buildMax = 10 * time.Minute  // with nothing built before
	readyMax = time.Minute       // 64 partitions take 4 s, and six times that while test binaries are being linked beside it
	stopMax  = 100 * time.Second // what up allows its parts, and some more
	killMax  = 10 * time.Second
)

// Process is a meterd that runs in the foreground: up or worker.
type Process struct {
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

// Launch starts meterd in a process group of its own and doesn't wait.
func Launch(tb testing.TB, binary string, env []string, args ...string) *Process {
	tb.Helper()
	p := &Process{log: &logBuffer{}, ready: make(chan string, 1), ended: make(chan struct{})}
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
	testengine.Log(tb, "log of meterd "+args[0], p.log.String)
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("log of meterd %s:\n%s", args[0], p.log)
		}
	})
	return p
}

// follow starts the process and reads what it says until it ends. Its thread
// stays: the signal that ends an orphan comes when the thread ends.
func (p *Process) follow(started chan<- error, out io.Reader) {
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

// WaitReady returns the line that said so.
func (p *Process) WaitReady(tb testing.TB) string {
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

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// WaitKilled waits until it has ended by itself, by a signal.
func (p *Process) WaitKilled(tb testing.TB) {
	tb.Helper()
	select {
	case <-p.ended:
	case <-time.After(readyMax):
		tb.Fatalf("meterd lives on\n%s", p.log)
	}
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		tb.Fatalf("meterd ended otherwise: %v\n%s", p.err, p.log)
	}
}

// Kill ends the whole process group at once, as a power cut would.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-p.ended:
	case <-time.After(killMax):
		_, _ = fmt.Fprintf(p.log, "process %d is still there %s after it was killed\n", p.PID(), killMax)
	}
}

// Stop ends it with SIGTERM and wants a clean exit.
func (p *Process) Stop(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatalf("stop meterd: %v", err)
	}
	select {
	case <-p.ended:
	case <-time.After(stopMax):
		tb.Fatalf("meterd didn't stop within %s\n%s", stopMax, p.log)
	}
	if p.err != nil {
		tb.Fatalf("meterd stopped with %v\n%s", p.err, p.log)
	}
}
