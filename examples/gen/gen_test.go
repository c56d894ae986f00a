package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/phone"
)

// usageFile is the committed file, made with the defaults.
const usageFile = "../usage.jsonl"

func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "usage.jsonl")
	require.Zero(t, run([]string{"-o", path}, nil, &bytes.Buffer{}))
	made, err := os.ReadFile(path)
	require.NoError(t, err)
	committed, err := os.ReadFile(usageFile)
	require.NoError(t, err)
	require.True(t, bytes.Equal(made, committed), "usage.jsonl is out of date: go run ./examples/gen -o examples/usage.jsonl")
	require.Less(t, len(committed), 8<<20)
	require.Greater(t, bytes.Count(committed, []byte("\n")), 20_000)
}

func TestOtherSeedOtherBytes(t *testing.T) {
	t.Parallel()
	var one, two, summary bytes.Buffer
	require.Zero(t, run([]string{"-n", "2000", "-seed", "1"}, &one, &summary))
	require.Zero(t, run([]string{"-n", "2000", "-seed", "2"}, &two, &summary))
	require.NotEqual(t, one.String(), two.String())
	require.Contains(t, summary.String(), "malformed 13")
}

func TestRefusesBadFlags(t *testing.T) {
	t.Parallel()
	require.Equal(t, 2, run([]string{"-n", "10"}, nil, &bytes.Buffer{}))
	require.Equal(t, 2, run([]string{"-x"}, nil, &bytes.Buffer{}))
	require.Equal(t, 1, run([]string{"-o", filepath.Join(t.TempDir(), "no", "folder")}, nil, &bytes.Buffer{}))
}

func TestSharesAddUp(t *testing.T) {
	t.Parallel()
	total := 0
	for _, p := range profiles() {
		total += p.perMille
	}
	require.Equal(t, 1000, total)
}

func TestNumbersAndNetworksAreReal(t *testing.T) {
	t.Parallel()
	networks, err := readNetworks()
	require.NoError(t, err)
	g := newGenerator(7, networks)
	for country := range strings.FieldsSeq(countries) {
		require.NotEmpty(t, networks[country], country)
		for range 200 {
			n := number(g.rng, country)
			require.Equal(t, country, phone.Country(n), n)
			parsed, err := phonenumbers.Parse(n, "ZZ")
			require.NoError(t, err, n)
			require.True(t, phonenumbers.IsValidNumber(parsed), "%s %s", country, n)
		}
	}
}
