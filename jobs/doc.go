// Package jobs is the contract with the queue: task types, queue names, the
// payload of an ingest task, and the client with which a channel service sends
// usage records. It knows nothing of accounts, prices or partitions, and links
// neither ClickHouse nor the reports.
//
// A channel service makes one Client and calls Send for each message; Send
// returns nil once Redis has the record on disk (see Example).
package jobs
