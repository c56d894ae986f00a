package ledger

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/meterd/meterd/sql"
)

// first are the statements before all migrations.
func first() []string {
	return []string{
		"CREATE DATABASE IF NOT EXISTS {db} ENGINE = Atomic",
		"CREATE TABLE IF NOT EXISTS migrations (name String, applied_at DateTime64(3, 'UTC')) ENGINE = ReplacingMergeTree ORDER BY name" +
			" SETTINGS fsync_after_insert = 1, fsync_part_directory = 1",
	}
}

var (
	databaseDDL = regexp.MustCompile(`(CREATE DATABASE IF NOT EXISTS \{db\})`)
	tableDDL    = regexp.MustCompile(`(?i)((?:CREATE|ALTER|DROP|TRUNCATE) (?:TABLE|VIEW|MATERIALIZED VIEW|OR REPLACE VIEW)(?: IF (?:NOT )?EXISTS)? )([a-z_]+)`)
	engineDDL   = regexp.MustCompile(`(ENGINE = )((?:Replacing|Collapsing)?MergeTree)\b(?:\(([^)]*)\))?`)
	clusterName = regexp.MustCompile(`^(\{[A-Za-z0-9_]+\}|[A-Za-z0-9_.-]+)$`)
)

// qualify puts {db} in front of the table that a statement of the schema names.
func qualify(s string) string { return tableDDL.ReplaceAllString(s, "${1}{db}.${2}") }

// clustered is qualify for a cluster: the statement runs on every node, and a
// table is replicated, under the path that ClickHouse's manual proposes.
func clustered(s, cluster string) string {
	on := " ON CLUSTER '" + cluster + "'"
	s = databaseDDL.ReplaceAllString(s, "${1}"+on)
	s = tableDDL.ReplaceAllString(s, "${1}{db}.${2}"+on)
	return engineDDL.ReplaceAllStringFunc(s, func(engine string) string {
		m := engineDDL.FindStringSubmatch(engine)
		args := "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
		if m[3] != "" {
			args += ", " + m[3]
		}
		return m[1] + "Replicated" + m[2] + "(" + args + ")"
	})
}

// Schema is every statement that makes the schema of a database, in order: as
// Migrate runs them, or, for a cluster (its name, or a macro such as
// "{cluster}"), as they make replicated tables on all its nodes. Whoever runs
// those first finds that Migrate changes nothing: every statement may run again.
func Schema(database, cluster string) ([]string, error) {
	if !databaseName.MatchString(database) {
		return nil, fmt.Errorf("database %q: a name has letters, digits and _ only", database)
	}
	if cluster != "" && !clusterName.MatchString(cluster) {
		return nil, fmt.Errorf("cluster %q: a name has letters, digits, _, - and . only, or is a macro in braces", cluster)
	}
	all, err := sql.Migrations()
	if err != nil {
		return nil, err
	}
	list := first()
	for _, m := range all {
		list = append(list, m.Statements...)
	}
	for i, s := range list {
		if cluster == "" {
			s = qualify(s)
		} else {
			s = clustered(s, cluster)
		}
		list[i] = strings.ReplaceAll(s, "{db}", database)
	}
	return list, nil
}
