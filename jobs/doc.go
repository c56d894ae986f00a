// Package jobs is the client with which a channel service sends usage records. It
// knows nothing of accounts, prices or partitions, and links neither ClickHouse nor
// the reports.
//
// A channel service makes one Client and calls Send for each message; Send
// returns nil once Redis has the record (see Example), on disk where it syncs
// always. Every call ends with its context.
package jobs
