// Package reconcile keeps the projection in Redis and the ledger in ClickHouse
// one: it adopts or rebuilds a projection after Redis was restarted or lost,
// compares the two while ingest goes on, and heals by adding what is missing
// (docs/protocol.md, Epochs and rebuilds, Reconcile). Zero drift is the only normal
// figure; each is kept as a finding.
//
// It is a part of meterd, and no stable interface.
package reconcile
