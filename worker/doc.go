// Package worker runs what turns queued usage into money: the queues' asynq servers and
// their handlers, the outbox relay, the chores, and how they start and stop. What a
// handler does with a record is worker/pipeline's; whom it tells, worker/suspend's;
// scheduled reports are worker/reporting's.
//
// It is a part of meterd, and no stable interface.
package worker
