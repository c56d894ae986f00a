// Package worker turns queued usage into money: asynq servers and their
// handlers (ingest, judge, refund, account hooks, reports), the outbox relay,
// the scheduler, and how they start and stop. The steps of a record are in
// pipeline.go, in the order of docs/protocol.md, The path of a record; every
// step may be cut off and repeated.
//
// It is a part of meterd, and no stable interface.
package worker
