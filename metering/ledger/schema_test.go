package ledger

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/sql"
)

func TestSchemaOfOneServerIsWhatMigrateRuns(t *testing.T) {
	t.Parallel()
	list, err := Schema("here", "")
	require.NoError(t, err)
	all, err := sql.Migrations()
	require.NoError(t, err)
	want := first()
	for _, m := range all {
		want = append(want, m.Statements...)
	}
	require.Len(t, list, len(want))
	l := &Ledger{database: "here"}
	for i, s := range want {
		assert.Equal(t, l.text(qualify(s)), list[i])
	}
	text := strings.Join(list, "\n")
	assert.NotContains(t, text, "ON CLUSTER")
	assert.NotContains(t, text, "Replicated")
}

// The embedded engine has no Keeper, so the statements are parsed, not run.
func TestSchemaOfAClusterParses(t *testing.T) {
	t.Parallel()
	l := openEmpty(t)
	for _, cluster := range []string{"{cluster}", "meter-1.eu"} {
		list, err := Schema(l.database, cluster)
		require.NoError(t, err)
		plain, err := Schema(l.database, "")
		require.NoError(t, err)
		require.Len(t, list, len(plain))
		for i, s := range list {
			require.NoError(t, l.conn.Exec(t.Context(), "EXPLAIN AST "+s), s)
			if !strings.Contains(s, "INSERT INTO ") { // rows are replicated by themselves
				assert.Equal(t, 1, strings.Count(s, " ON CLUSTER '"+cluster+"'"), s)
			}
			assert.Equal(t, strings.Count(plain[i], "MergeTree"), strings.Count(s, "MergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"), s)
			assert.Equal(t, strings.Count(s, "MergeTree"), strings.Count(s, "Replicated"), s)
			assert.NotContains(t, s, "{db}")
		}
	}
}

// That EXPLAIN AST does find what is wrong.
func TestABrokenStatementDoesNotParse(t *testing.T) {
	t.Parallel()
	l := openEmpty(t)
	require.Error(t, l.conn.Exec(t.Context(), "EXPLAIN AST CREATE TABLE a ON CLUSTER (x UInt8) ENGINE = MergeTree ORDER BY x"))
}

func TestClusteredKeepsTheEnginesArguments(t *testing.T) {
	t.Parallel()
	f := func(in, want string) {
		t.Helper()
		assert.Equal(t, want, clustered(in, "c"))
	}
	f("CREATE DATABASE IF NOT EXISTS {db} ENGINE = Atomic", "CREATE DATABASE IF NOT EXISTS {db} ON CLUSTER 'c' ENGINE = Atomic")
	f("CREATE TABLE IF NOT EXISTS t (x UInt8)\nENGINE = ReplacingMergeTree(x) ORDER BY x",
		"CREATE TABLE IF NOT EXISTS {db}.t ON CLUSTER 'c' (x UInt8)\nENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', x) ORDER BY x")
	f("ALTER TABLE t ADD COLUMN y UInt8", "ALTER TABLE {db}.t ON CLUSTER 'c' ADD COLUMN y UInt8")
	f("CREATE MATERIALIZED VIEW IF NOT EXISTS v TO {db}.t AS SELECT 1", "CREATE MATERIALIZED VIEW IF NOT EXISTS {db}.v ON CLUSTER 'c' TO {db}.t AS SELECT 1")
	f("CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE OR REPLACE VIEW {db}.v ON CLUSTER 'c' AS SELECT 1")
}

func TestSchemaRefusesWhatIsNoName(t *testing.T) {
	t.Parallel()
	for _, names := range [][2]string{{"a-b", ""}, {"a", "c'"}, {"a", "{c"}, {"a", "c d"}} {
		_, err := Schema(names[0], names[1])
		require.Error(t, err, "%q", names)
	}
}

// TestOneListOfStatuses: package metering has it. No query has another, and the
// views that choose the statuses by which refunds are decided agree with it.
func TestOneListOfStatuses(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../sql/queries/*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		known := 0
		for _, s := range metering.RankedStatuses() {
			known += strings.Count(string(text), "'"+s+"'")
		}
		assert.Less(t, known, 5, "%s lists statuses: write {ranks}", name)
	}
	l := &Ledger{database: "here"}
	require.Equal(t, "SELECT indexOf(['accepted', 'queued', 'sent', 'undelivered', 'failed', 'delivered', 'read'], status) FROM here.records",
		l.text("SELECT indexOf({ranks}, status) FROM {db}.records"))
	all, err := sql.Migrations()
	require.NoError(t, err)
	views := 0
	for _, m := range all {
		for _, list := range regexp.MustCompile(`status NOT IN \(([^)]*)\)`).FindAllStringSubmatch(strings.Join(m.Statements, "\n"), -1) {
			views++
			assert.ElementsMatch(t, metering.FineStatuses(), strings.Split(strings.ReplaceAll(list[1], "'", ""), ", "), m.Name)
		}
	}
	assert.Equal(t, 4, views)
}
