package balance

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLegend: the legend has each field that a script names, and no other.
func TestLegend(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("legend.go")
	require.NoError(t, err)
	legend := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^//\t  ([a-z_][a-z_<>:, ]*?)(?:  |$)`).FindAllStringSubmatch(string(text)+"\n", -1) {
		for name := range strings.SplitSeq(line[1], ", ") {
			legend[name] = true
		}
	}
	used := map[string]bool{"u:<month>": true, "stored": true, "waiting": true, "quarantined:<reason>": true} // by names that are put together
	call := regexp.MustCompile(`redis\.call\('H(?:SET|GET|MGET|INCRBY)',[^\n]*(?:\n {2,}'[^\n]*)*`)
	field := regexp.MustCompile(`[,(] *'([a-z_]+)'`)
	table := regexp.MustCompile(`local META = \{([^}]*)\}`)
	set := regexp.MustCompile(`(?:set|incr)\([a-z.]+, '([a-z]+)'`)
	files, err := fs.Glob(sources, "lua/*.lua")
	require.NoError(t, err)
	for _, path := range files {
		b, err := sources.ReadFile(path)
		require.NoError(t, err)
		source := string(b)
		for _, c := range append(call.FindAllString(source, -1), table.FindString(source)) {
			for _, m := range field.FindAllStringSubmatch(strings.Replace(c, "{", ", ", 1), -1) {
				used[m[1]] = m[1] != "m" && m[1] != "replication" // a value of k, a part of INFO
			}
		}
		for _, m := range set.FindAllStringSubmatch(source, -1) {
			used[m[1]] = true
		}
	}
	// Those that Go alone names.
	for _, name := range []string{"key", "window", "buckets", "pushed", "parts", "tries"} {
		used[name] = true
	}
	require.Greater(t, len(used), 50)
	for name, named := range used {
		assert.True(t, legend[name] || !named, "legend.go doesn't say what the field %s is", name)
	}
	for name := range legend {
		assert.True(t, used[name], "legend.go explains the field %s, which nothing names", name)
	}
}
