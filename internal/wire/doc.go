// Package wire is what producers and workers of meterd's queues share: the types of
// tasks, the names of queues, what a payload holds, and all that is known of asynq's
// keys in Redis. It knows nothing of accounts, prices or partitions. Producers import
// jobs, which hides it; what travels is written down in docs/channel-services.md,
// From any other language.
package wire
