// Package ledgertest is a ClickHouse of memory for tests of the record
// protocol: it answers the ledger's named queries about records, transfers,
// states, quarantine and accounts as ClickHouse does, duplicates of replacing
// tables included, and lets a test decide when an insert lands. The tests of
// metering/ledger compare it with a real ClickHouse. It leaves out usage,
// reports and rollups.
//
// It is a part of meterd, and no stable interface.
package ledgertest
