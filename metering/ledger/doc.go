// Package ledger is the truth: rows in ClickHouse. It holds the connection,
// the migrations, the group-commit writer, and one typed caller for each named
// query of package sql. It decides nothing: what a row says was decided by the
// charge.
//
// It is a part of meterd, and no stable interface.
package ledger
