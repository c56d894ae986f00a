package documents_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/proc"
	"github.com/meterd/meterd/internal/testengine"
)

// binary is the meterd that the tests run, built once for the process.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "meterd-documents-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if binary, err = proc.Build(dir, "documents"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return testengine.Run(m)
}

// TestReadme goes through a newcomer's first system as the README prints it. How
// `make run` ends is examples' test.
func TestReadme(t *testing.T) {
	t.Parallel()
	const path = "../../README.md"
	list := between(t, path, "### A system of your own", "## What is promised", blocks(t, path))
	dir := t.TempDir()
	up := proc.Launch(t, binary, []string{"METERD_DATA=" + filepath.Join(dir, ".meterd")}, "up")
	up.WaitReady(t)
	s := newShell(t, dir, binary)
	ran := s.perform(path, list, func(b *block) bool { return b.text == "bin/meterd up\n" }) // in a terminal of its own
	require.Equal(t, 5, ran)
	up.Stop(t)
}
