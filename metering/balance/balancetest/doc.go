// Package balancetest is a Redis of memory for tests of the record protocol: a
// go-redis client whose commands and scripts run on maps, by a clock that the
// test sets. The scripts are written in Go a second time; the tests of
// metering/balance run against this and against a real Redis, and one compares
// the two key by key. It leaves out whatever metering/balance doesn't ask for.
//
// It is a part of meterd, and no stable interface.
package balancetest
