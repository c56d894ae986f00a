// Package sql holds the migrations and the named queries as .sql files. A
// query's header names its parameters and its result.
//
// It is a part of meterd, and no stable interface.
package sql

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

//go:embed migrations queries
var files embed.FS

// Migration is one numbered step of the schema.
type Migration struct {
	Name       string // "0001_core"
	Statements []string
}

// Migrations in their order.
func Migrations() ([]Migration, error) {
	entries, err := fs.ReadDir(files, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read embedded migrations: %w", err)
	}
	var out []Migration
	for _, e := range entries {
		up, err := files.ReadFile("migrations/" + e.Name() + "/up.sql")
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", e.Name(), err)
		}
		out = append(out, Migration{Name: e.Name(), Statements: split(string(up))})
	}
	slices.SortFunc(out, func(a, b Migration) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Query is the text of queries/<name>.sql. It panics on a name that doesn't
// exist: names are constants of this module.
func Query(name string) string {
	b, err := files.ReadFile("queries/" + name + ".sql")
	if err != nil {
		panic(fmt.Sprintf("sql: no query %q", name))
	}
	return string(b)
}

func split(text string) []string {
	var out []string
	for s := range strings.SplitSeq(text, "\n;\n") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
