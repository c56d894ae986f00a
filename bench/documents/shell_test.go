package documents_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// blockMax is how long a block may take on a busy machine.
const blockMax = 2 * time.Minute

// shell is a person's terminal: what a block sets holds in those after it.
type shell struct {
	tb    testing.TB
	dir   string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

// newShell starts one in a folder, with meterd on its PATH and as bin/meterd.
func newShell(tb testing.TB, dir, binary string) *shell {
	tb.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(bin, "meterd")); err != nil {
		tb.Fatal(err)
	}
	s := &shell{tb: tb, dir: dir, lines: make(chan string)}
	s.cmd = exec.CommandContext(tb.Context(), "bash", "--norc")
	s.cmd.Dir = dir
	s.cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	s.cmd.Stderr = s.cmd.Stdout
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(s.lines)
		sc := bufio.NewScanner(out)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			s.lines <- sc.Text()
		}
	}()
	tb.Cleanup(func() {
		_ = s.in.Close()
		for range s.lines {
		}
		<-read
		_ = s.cmd.Wait()
	})
	s.run("helper", `ids() { grep -o '"id":"[0-9a-f]*"' | cut -d'"' -f4; } # of what a command's --json lists`)
	return s
}

// The marks between blocks' outputs.
const (
	endMark  = "__end_of_block__"
	failMark = "__failed__"
)

// run gives the shell a block and returns what it says. A command in it that fails
// fails the test.
func (s *shell) run(where, script string) string {
	s.tb.Helper()
	_, err := fmt.Fprintf(s.in, "trap 'echo \"%s $? of $BASH_COMMAND\"' ERR\n%s\ntrap - ERR\necho %s\n", failMark, script, endMark)
	if err != nil {
		s.tb.Fatalf("%s: %v", where, err)
	}
	var out strings.Builder
	limit := time.NewTimer(blockMax)
	defer limit.Stop()
	for {
		select {
		case line, ok := <-s.lines:
			switch {
			case !ok:
				s.tb.Fatalf("%s: the shell ended\n%s", where, out.String())
			case line == endMark:
				return out.String()
			case strings.HasPrefix(line, failMark):
				s.tb.Fatalf("%s: exit code%s\n%s", where, strings.TrimPrefix(line, failMark), out.String())
			}
			out.WriteString(line + "\n")
		case <-limit.C:
			s.tb.Fatalf("%s: it takes longer than %s\n%s", where, blockMax, out.String())
		}
	}
}

// write makes a file of a block.
func (s *shell) write(name, text string) {
	s.tb.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.tb.Fatal(err)
	}
}

// perform runs blocks in order; skip tells which aren't for this machine.
func (s *shell) perform(path string, list []block, skip func(b *block) bool) (ran int) {
	s.tb.Helper()
	said, before := "", "" // by the shell block before, and its language
	for i := range list {
		b := &list[i]
		where := b.where(path)
		switch {
		case skip(b):
		case b.lang == "sh":
			said = s.run(where, b.text)
			ran++
		case b.lang == "" && before == "sh":
			if err := says(said, b.text); err != nil {
				s.tb.Errorf("%s: %v", where, err)
			}
		case b.lang != "" && b.file() != "":
			s.write(b.file(), b.text)
		}
		before = b.lang
	}
	return ran
}
