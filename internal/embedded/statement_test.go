package embedded

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseStatementFindsTheDataOfAnInsert(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]statement{
		"INSERT INTO t FORMAT Native":                       {verb: "INSERT", sql: "INSERT INTO t ", format: "Native"},
		"insert into t (a) format CSV\n1\n2\n":              {verb: "INSERT", sql: "insert into t (a) ", format: "CSV", data: []byte("1\n2\n")},
		"INSERT INTO t (a, format) VALUES (1, 'FORMAT X')":  {verb: "INSERT", sql: "INSERT INTO t (a, format) VALUES (1, 'FORMAT X')"},
		"INSERT INTO t SELECT 1 FORMAT CSV":                 {verb: "INSERT", sql: "INSERT INTO t SELECT 1 FORMAT CSV"},
		"INSERT INTO `format` SETTINGS x = 'FORMAT y'":      {verb: "INSERT", sql: "INSERT INTO `format` SETTINGS x = 'FORMAT y'", bare: true},
		"/* FORMAT */ INSERT INTO t -- FORMAT A\nFORMAT B;": {verb: "INSERT", sql: "/* FORMAT */ INSERT INTO t -- FORMAT A\n", format: "B"},
		"INSERT INTO t (a, format)":                         {verb: "INSERT", sql: "INSERT INTO t (a, format)", bare: true},
		"INSERT INTO FUNCTION f('a', 'b') FORMAT TSV 1":     {verb: "INSERT", sql: "INSERT INTO FUNCTION f('a', 'b') ", format: "TSV", data: []byte("1")},
		"SELECT 1 FORMAT JSON":                              {verb: "SELECT", sql: "SELECT 1 FORMAT JSON"},
		"":                                                  {},
		"'unclosed":                                         {verb: "'UNCLOSED", sql: "'unclosed"},
	} {
		require.Equal(t, want, parseStatement(sql), sql)
	}
}

func TestMarksSession(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"SET a = 1":                         true,
		"use x":                             true,
		"CREATE TEMPORARY TABLE t (a Int8)": true,
		"CREATE OR REPLACE TEMPORARY TABLE": true,
		"CREATE TABLE temporary (a Int8)":   true, // harmless: one connection is opened anew
		"CREATE TABLE t (a Int8)":           false,
		"SELECT 1":                          false,
	} {
		require.Equal(t, want, parseStatement(sql).marksSession(), sql)
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add("INSERT INTO t FORMAT Native")
	f.Add("INSERT INTO t (a, 'b\\") // an escape at the very end
	f.Add("/* INSERT")
	f.Fuzz(func(t *testing.T, sql string) {
		st := parseStatement(sql)
		if len(st.sql)+len(st.format)+len(st.data) > len(sql) {
			t.Fatalf("%q became longer: %+v", sql, st)
		}
	})
}
