// Package workertest is what tests of the worker's rooms stand on: engines of a test's
// own with accounts in them, records to send, and what they must come to in the ledger
// and in the projection.
//
// It is a part of meterd, and no stable interface.
package workertest
