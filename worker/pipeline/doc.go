// Package pipeline is the record protocol's worker side: it takes a task of records,
// refunds or corrections through decode, rate, charge, store, settle, judge and finish
// (docs/protocol.md, The states of a task). Every step may be cut off anywhere and is
// repeated by the task's next try: what was decided stands in Redis, under the task's id.
//
// process.go has the steps in their order; pipeline.go what they work with.
//
// It is a part of meterd, and no stable interface.
package pipeline
