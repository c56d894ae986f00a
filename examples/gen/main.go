// Command gen writes the usage records of the demo: the traffic of the accounts
// in accounts.yaml over 19 days, with what real traffic brings along, such as
// copies, late statuses, refunds and broken lines. The same seed gives the same
// bytes. It decides nothing about prices.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run parses the flags, writes the records and says on stderr what is in them.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("gen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	seed := flags.Uint64("seed", 1, "same seed, same bytes")
	messages := flags.Int("n", 20_000, "messages to send, at least 2,000; statuses, refunds and copies come on top")
	out := flags.String("o", "-", "file to write; - is standard output")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *messages < 2_000 {
		_, _ = fmt.Fprintln(stderr, "gen: -n is below 2,000: the demo's mishaps wouldn't fit")
		return 2
	}
	count, err := generate(*seed, *messages, *out, stdout)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "gen:", err)
		return 1
	}
	_, _ = fmt.Fprint(stderr, count)
	return 0
}

// generate writes the traffic to path, or to stdout when path is "-".
func generate(seed uint64, messages int, path string, stdout io.Writer) (count, error) {
	networks, err := readNetworks()
	if err != nil {
		return count{}, err
	}
	lines, n, err := newGenerator(seed, networks).traffic(messages)
	if err != nil {
		return count{}, err
	}
	if path == "-" {
		return n, write(stdout, lines)
	}
	f, err := os.Create(path) //nolint:gosec // the file that the caller named
	if err != nil {
		return count{}, fmt.Errorf("create output: %w", err)
	}
	if err := write(f, lines); err != nil {
		_ = f.Close()
		return count{}, err
	}
	if err := f.Close(); err != nil {
		return count{}, fmt.Errorf("close output: %w", err)
	}
	return n, nil
}

// write puts one line after the other.
func write(w io.Writer, lines []line) error {
	b := bufio.NewWriter(w)
	for _, l := range lines {
		// A bufio.Writer keeps its first error for Flush.
		_, _ = b.Write(l.text)
		_ = b.WriteByte('\n')
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return nil
}
