// Package metering is the domain of meterd: usage records, money, accounts,
// price plans, rating, periods, suspension reasons and who may see what. It
// turns a record and a snapshot into a charge, and nothing else: no I/O, and
// no clock but the one it is given.
//
// Start with Record (what comes in), Snapshot (what is known about accounts
// and plans), and Rate (the pure function of both).
package metering
