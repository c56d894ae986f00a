// Command faults runs the fault suite beside it, in its long form, against the
// real engines, and writes what it found as a table: docs/reliability.md. The
// tests decide whether an invariant holds; this only runs and prints them.
//
//	go run ./bench/faults -out docs/reliability.md
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/meterd/meterd/internal/clock"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	out := flags.String("out", "docs/reliability.md", "the page to write")
	short := flags.Bool("short", false, "the short form of each fault, as in make test")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := suite(ctx, *out, *short, stderr); err != nil {
		_, _ = fmt.Fprintln(stderr, "faults:", err)
		return 1
	}
	return 0
}

// row of the table, as a test writes it.
type row struct {
	Order   int    `json:"order"`
	Fault   string `json:"fault"`
	Tried   int    `json:"tried"`
	Records int    `json:"records"`
	Lost    int    `json:"lost"`
	Twice   int    `json:"twice"`
	Seconds string `json:"seconds"`
}

// suite runs the tests and writes the page, if every one of them holds.
func suite(ctx context.Context, out string, short bool, stderr io.Writer) error {
	dir, err := os.MkdirTemp("", "meterd-faults-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	results := filepath.Join(dir, "results.jsonl")
	began := clock.System().Now()
	tests := exec.CommandContext(ctx, "go", "test", "./bench/faults", "-count=1", "-v", "-timeout", "60m")
	tests.Env = append(os.Environ(), "METERD_FAULTS_RESULTS="+results)
	if !short {
		tests.Env = append(tests.Env, "METERD_FAULTS_LONG=1")
	}
	tests.Stdout, tests.Stderr = stderr, stderr
	if err := tests.Run(); err != nil {
		return fmt.Errorf("an invariant doesn't hold, or the suite couldn't run; %s stays as it is: %w", out, err)
	}
	rows, err := read(results)
	if err != nil {
		return err
	}
	h := header{machine: machine(), date: began.UTC(), took: clock.System().Now().Sub(began), short: short}
	kept, err := simulation(out)
	if err != nil {
		return err
	}
	return os.WriteFile(out, []byte(page(&h, rows)+kept), 0o644) //nolint:gosec // a document of the repository
}

// simulation is the page's part on the soak of the simulation (make soak), which is
// written by hand and kept.
func simulation(out string) (string, error) {
	const heading = "\n## The simulation\n"
	text, err := os.ReadFile(out) //nolint:gosec // a document of the repository
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if _, part, ok := strings.Cut(string(text), heading); ok {
		return heading + part, nil
	}
	return "", nil
}

// errNone: tests ran, and none wrote a row.
var errNone = errors.New("the suite wrote no results")

func read(path string) ([]row, error) {
	f, err := os.Open(path) //nolint:gosec // of our own temporary folder
	if err != nil {
		return nil, errors.Join(errNone, err)
	}
	defer func() { _ = f.Close() }()
	var rows []row
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("read results: %w", err)
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.Order, b.Order) })
	return rows, lines.Err()
}

// header says of what run the table is.
type header struct {
	machine string
	date    time.Time
	took    time.Duration
	short   bool
}

// page is the document.
func page(h *header, rows []row) string {
	var b strings.Builder
	command := "make faults"
	if h.short {
		command = "go run ./bench/faults -short"
	}
	fmt.Fprintf(&b, `# Reliability

What was broken on purpose, and what came of it. The table is made by

`+"```sh\n%s\n```"+`

from a real run: %s UTC, %s, %s. Engines: redis-server and the
embedded ClickHouse; workers of this repository, in the process of the test and
in processes of their own; network faults through Toxiproxy.

While records come in (messages hot and cold, copies, restamped copies,
conflicts, statuses, refunds, malformed and refused lines, of four parents in
four zones) each fault is tried the given number of times. When it is over, and
the queue has drained, the suite compares with an independent computation:
every accepted record stands exactly once in the ledger or in quarantine, with
its amount, fee, plan version and rule; every balance, month and state; the
transfers' sum; projection against ledger (no difference; where Redis lost data
or a handler never gets past its charge, one heal, and none after it); usage and statements, from rows and from rollups. It fails on any
other figure, so a table with anything but zeros in the two middle columns is
not written.

| Fault | Times tried | Records | Lost | Counted twice | Seconds to recover |
| --- | ---: | ---: | ---: | ---: | ---: |
`, command, h.date.Format("2006-01-02 15:04"), h.machine, h.took.Round(time.Second))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %s |\n", r.Fault, r.Tried, r.Records, r.Lost, r.Twice, r.Seconds)
	}
	b.WriteString(`
Seconds to recover: from the end of the fault until no task is left, no answer is
open and every fact has been told, with the work that had piled up. Where
records are sent during the whole test that includes what came after the fault.
Several faults are tried side by side on one machine, so these are upper bounds.
A worker that holds tasks and dies or sleeps keeps them until their leases end,
some 30 seconds; a lost word that a task is done costs the same.

Where Redis itself loses what it had acknowledged (emptied, or the last second
of its file cut away), the sender sends again what it sent since, as the
[runbook](operators.md#redis-emptied) says: what is there already is a duplicate.
`)
	return b.String()
}

// machine is the processor, the cores and the memory.
func machine() string {
	model := "unknown processor"
	if v := field("/proc/cpuinfo", "model name"); v != "" {
		model = v
	}
	return fmt.Sprintf("%s, %d cores, %s of memory, %s/%s, %s", model, runtime.NumCPU(), gigabytes(field("/proc/meminfo", "MemTotal")),
		runtime.GOOS, runtime.GOARCH, runtime.Version())
}

func gigabytes(kilobytes string) string {
	var n int64
	_, _ = fmt.Sscan(kilobytes, &n)
	return fmt.Sprintf("%d GB", (n+1<<19)>>20)
}

// field is the value of the first line "name: value" of a file.
func field(path, name string) string {
	text, err := os.ReadFile(path) //nolint:gosec // the kernel's own files
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
