package figures_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/figures"
	"github.com/meterd/meterd/bench/internal/proc"
)

// timesPlain is how many times plain asynq's records a second the whole path
// takes in at the least, whatever the machine: measured are 40 and more.
const timesPlain = 10

// A change that makes a record cost several times what it did is noticed. The
// comparison is made in the same run, by the command that users have.
func TestManyTimesPlainAsynq(t *testing.T) { //nolint:paralleltest // it measures
	binary, err := proc.Build(t.TempDir(), "bench")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), binary, "bench", "--short", "--runs", "1", "--only", "ingest,gate", "--json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	var list []figures.Figure
	require.NoError(t, json.Unmarshal(out, &list), "%s", out)
	got := map[string]float64{}
	for _, f := range list {
		require.Len(t, f.Values, 1, f.Name)
		got[f.Name] = f.Values[0]
	}
	require.GreaterOrEqual(t, got["client / asynq"], float64(timesPlain), "%v", got)
	require.Zero(t, got["gate allocations"], "a cached answer of the gate allocates nothing")
	require.Less(t, got["wire"], 80.0, "bytes of a record on their way to Redis: %v", got)
	require.Contains(t, stderr.String(), "ingest, run 1 of 1")
}

func TestFigures(t *testing.T) {
	t.Parallel()
	f := figures.Figure{Goal: 3, Values: []float64{9, 1, 2}}
	require.InDelta(t, 2, f.Median(), 0)
	require.False(t, f.Met())
	f.AtMost = true
	require.True(t, f.Met())
	low, high := f.Spread()
	require.InDelta(t, 1, low, 0)
	require.InDelta(t, 9, high, 0)
	f.Values = append(f.Values, 4)
	require.InDelta(t, 3, f.Median(), 0)
	_, err := figures.Run(t.Context(), figures.Options{Only: []string{"nope"}, Log: &strings.Builder{}})
	require.ErrorIs(t, err, figures.ErrUnknown)
}
