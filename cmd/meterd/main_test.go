package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/meterd/meterd/internal/embedded"
)

// systemCommand is `meterd up` that ends with its standard input, so that it
// doesn't outlive the tests.
const systemCommand = "meterd-system"

// TestMain makes the test binary the meterd that serves, so that a race detector
// in it watches the system.
func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){
		"meterd": main,
		systemCommand: func() {
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
			}()
			main()
		},
	})
}

type suite struct{ m *testing.M }

// Run implements testscript.TestingM.
func (s suite) Run() int {
	code := s.m.Run()
	if commandDir != "" {
		_ = os.RemoveAll(commandDir)
	}
	if err := theSystem.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the system:", err)
		code = max(code, 1)
	}
	return code
}

// commandDir is where the meterd that scripts run is: built as it is shipped. A
// command under the race detector takes three times its CPU time, and the scripts
// run over 500.
var commandDir string

func buildCommand() error {
	var err error
	if commandDir, err = os.MkdirTemp("", "meterd-bin-"); err != nil {
		return err
	}
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", commandDir, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build meterd: %w\n%s", err, out)
	}
	return nil
}

// theSystem is that of all tests that don't need their own.
var theSystem system

type system struct {
	once  sync.Once
	err   error
	dir   string
	info  embedded.RunInfo
	cmd   *exec.Cmd
	stdin io.Closer
}

// start the system, once.
func (s *system) start(tb testing.TB) {
	tb.Helper()
	s.once.Do(func() { s.err = s.launch() })
	if s.err != nil {
		tb.Fatal("start the system:", s.err)
	}
}

func (s *system) launch() error {
	var err error
	if s.dir, err = os.MkdirTemp("", "meterd-cmd-"); err != nil {
		return err
	}
	log, err := os.Create(s.logFile())
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	s.cmd = exec.CommandContext(context.Background(), systemCommand, "up", "--data", s.data(), "--log-level", "warn")
	s.cmd.Stderr = log
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	line, err := firstLine(s.cmd, out)
	if line != "ready\n" {
		return fmt.Errorf("up said %q (%w)\n%s", line, err, s.log())
	}
	s.info, err = embedded.ReadRunFile(s.data())
	return err
}

// readyMax is how long a start may take on a busy machine.
const readyMax = time.Minute

// firstLine is what a process says first. One that says nothing is killed.
func firstLine(cmd *exec.Cmd, out io.Reader) (string, error) {
	timer := time.AfterFunc(readyMax, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if !timer.Stop() {
		err = fmt.Errorf("it said nothing for %s and was killed", readyMax)
	}
	return line, err
}

func (s *system) data() string { return filepath.Join(s.dir, "data") }

func (s *system) logFile() string { return filepath.Join(s.dir, "log") }

func (s *system) log() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (s *system) stop() error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	err := s.cmd.Process.Signal(syscall.SIGTERM)
	if e := waitEnd(s.cmd); e != nil {
		err = fmt.Errorf("SIGTERM: %w", e)
	}
	if text := s.log(); strings.Contains(text, "goroutine ") {
		err = errors.Join(err, fmt.Errorf("a stack trace in the log:\n%s", text))
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// endMax is how long a stop may take: what up allows its parts, and some more.
const endMax = 100 * time.Second

// waitEnd waits for a process's end. One that lives on is killed.
func waitEnd(cmd *exec.Cmd) error {
	timer := time.AfterFunc(endMax, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		err = fmt.Errorf("it didn't end within %s and was killed: %w", endMax, err)
	}
	return err
}

// redisURL and clickhouseURL are the addresses with their passwords.
func (s *system) redisURL() string { return "redis://:" + s.info.RedisPassword + "@" + s.info.Redis }

func (s *system) clickhouseURL() string {
	return strings.Replace(s.info.ClickHouse, "http://", "http://default:"+s.info.ClickHousePassword+"@", 1)
}

// answer is what a command said.
type answer struct {
	code        int
	out, stderr string
}

// ask runs a command in this process against theSystem.
func ask(tb testing.TB, args ...string) answer {
	tb.Helper()
	var out, stderr strings.Builder
	code := run(tb.Context(), append([]string{"--data", theSystem.data()}, args...), strings.NewReader(""), &out, &stderr)
	return answer{code, out.String(), stderr.String()}
}

// do is ask for a command that must succeed.
func do(tb testing.TB, args ...string) string {
	tb.Helper()
	got := ask(tb, args...)
	if got.code != 0 {
		tb.Fatalf("meterd %s: exit %d\n%s%s", strings.Join(args, " "), got.code, got.out, got.stderr)
	}
	return got.out
}
