package e2e_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/meterd/meterd/bench/internal/proc"
)

// binary is the meterd that the tests run, built once for the process.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "meterd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if binary, err = proc.Build(dir, "e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
