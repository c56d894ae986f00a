package reporting

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLeftFoldersOfReportsGo: a process that was killed left whole statements.
func TestLeftFoldersOfReportsGo(t *testing.T) {
	t.Parallel()
	tmp, now := t.TempDir(), time.Now()
	for name, age := range map[string]time.Duration{reportDir + "old": leftAfter + time.Minute, reportDir + "new": time.Minute, "other": 2 * leftAfter} {
		dir := filepath.Join(tmp, name)
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "statement.csv"), []byte("777.77"), 0o600))
		require.NoError(t, os.Chtimes(dir, now, now.Add(-age)))
	}
	require.NoError(t, removeLeft(tmp, now))
	require.NoError(t, removeLeft(tmp, now), "again is harmless")
	assert.NoDirExists(t, filepath.Join(tmp, reportDir+"old"))
	assert.DirExists(t, filepath.Join(tmp, reportDir+"new"))
	assert.DirExists(t, filepath.Join(tmp, "other"))
}
