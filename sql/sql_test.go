package sql

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMigrationsAreInOrder, without a gap: a ledger says by their number how far it is.
func TestMigrationsAreInOrder(t *testing.T) {
	t.Parallel()
	list, err := Migrations()
	require.NoError(t, err)
	require.NotEmpty(t, list)
	for i, m := range list {
		assert.True(t, strings.HasPrefix(m.Name, fmt.Sprintf("%04d_", i+1)), "%s is number %d", m.Name, i+1)
		assert.NotEmpty(t, m.Statements, m.Name)
		for _, s := range m.Statements {
			assert.NotContains(t, s, "\n;", m.Name)
		}
	}
}

// TestQueriesSayWhatTheyAre: each begins with what it is for.
func TestQueriesSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(files, "queries")
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".sql")
		require.True(t, ok, e.Name())
		assert.True(t, strings.HasPrefix(Query(name), "-- "), "%s has no header", e.Name())
	}
	assert.Panics(t, func() { Query("none") })
}

func TestSplit(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"a ';' b", "c\nd"}, split("a ';' b\n;\n\n;\nc\nd\n"))
	assert.Empty(t, split(" \n;\n "))
}
