package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAccountMapKeepsIDsAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	read := func(text string) (map[string]string, error) {
		name := filepath.Join(t.TempDir(), "map.yaml")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return accountMap(name)
	}
	got, err := read("\ufeff# theirs: ours\n00450012: 0017\n0x2b: 1e5\n45_00: 12_3\n6e4: no\nnull: \"007\"\ntrue: x\n1.50: 2.50\n'0450': ~\n")
	require.ErrorContains(t, err, "line 9: want lines such as", "~ is no id")
	require.Nil(t, got)
	got, err = read("\ufeff# theirs: ours\n00450012: 0017\n0x2b: 1e5\n45_00: 12_3\n6e4: no\nnull: \"007\"\ntrue: x\n1.50: 2.50\n")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"00450012": "0017", "0x2b": "1e5", "45_00": "12_3", "6e4": "no", "null": "007", "true": "x", "1.50": "2.50"}, got)
	got, err = read("# none yet\n")
	require.NoError(t, err)
	require.Empty(t, got)
	for text, want := range map[string]string{
		"a: b\n'a': c\n":    `"a" already defined`,
		"a: b\n---\na: c\n": `"a" is there twice`,
		"a: [b]\n":          "line 1: want lines such as",
		"- a\n":             "want lines such as",
		"a: b: c\n":         "want lines such as",
		"a:\n":              "line 1: want lines such as",
	} {
		_, err := read(text)
		require.ErrorContains(t, err, want, text)
		require.Equal(t, exitInput, exitCode(err))
	}
}
