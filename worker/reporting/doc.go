// Package reporting runs scheduled reports: Runner.Due makes a run of each report that
// has become due, Task makes its files and delivers them, and tries again what failed.
// How far a run has come stands in the ledger, so a missed tick, a restart or a lost
// queue loses nothing. What a report says is in reports, how it gets somewhere in
// internal/deliver.
//
// It is a part of meterd, and no stable interface.
package reporting
