package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSetUpFetchesTheLibrary(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.removeLibrary()
	require.Contains(t, m.ok(), "fetching the ClickHouse library")
	asked := m.asked()
	require.Len(t, asked, 2, "%s", asked)
	require.Regexp(t, `^npm install .*@chdb/lib-linux-x64-gnu@26\.`, asked[0])
	require.Equal(t, "sha256sum", asked[1])
	require.NotEmpty(t, m.libraryPath())
	require.NoDirExists(t, filepath.Join(filepath.Dir(m.libraryPath()), "../../../fetching"))
	require.Empty(t, m.ok())
	require.Empty(t, m.asked())
}

// The lock is nobody's but set-up's: a service that apt-get starts would keep it.
func TestSetUpKeepsItsLockToItself(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.removeLibrary()
	m.uninstall("redis-server", "redis-server")
	m.ok()
	text := strings.Join(m.asked(), "\n")
	require.Contains(t, text, "npm install")
	require.Contains(t, text, "apt-get install redis-server")
	require.NotContains(t, text, "inherits")
}

func TestTwoSetUpsFetchOnce(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.removeLibrary()
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			out, err := m.setUp(nil)
			assert.NoError(t, err, out)
		})
	}
	both.Wait()
	require.Equal(t, 1, strings.Count(strings.Join(m.asked(), "\n"), "npm install"))
}

func TestSetUpRefusesAWrongLibrary(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.removeLibrary()
	for answer, words := range map[string]string{
		"wrong":   "has SHA-256 0badc0de, but should have " + m.sum,
		"half":    "npm could not install @chdb/lib-linux-x64-gnu@",
		"nothing": "is not there: set METERD_CHDB_LIB",
	} {
		m.write("npm-answers", answer)
		m.refused(words)
		require.Empty(t, m.libraryPath(), "%s: meterd would take it", answer)
		m.refused("the ClickHouse library is missing", "--check")
	}
	m.write("npm-answers", "whole")
	m.ok()
	require.NotEmpty(t, m.libraryPath())
}

// One that was right is read again when it has changed.
func TestSetUpMendsALibraryThatWentWrong(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.ok()
	require.NoError(t, os.WriteFile(m.libraryPath(), []byte("went wrong"), 0o600))
	m.refused("was never verified", "--check")
	out := m.ok()
	require.Contains(t, out, "has SHA-256 0badc0de, but should have "+m.sum+": it is removed and fetched again")
	text, err := os.ReadFile(m.libraryPath())
	require.NoError(t, err)
	require.Equal(t, "whole\n", string(text))
}

// Without a command to sum with, nothing is taken for wrong and removed.
func TestSetUpNeedsAChecksum(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.remove("sha256sum")
	m.refused("neither sha256sum nor shasum is in PATH")
	require.NotEmpty(t, m.libraryPath())
	m.stub("shasum", `[ "$*" = "-a 256" ] && echo "$SUM  -"`)
	m.ok()
}
