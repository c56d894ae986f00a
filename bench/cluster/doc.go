// Package cluster holds the tests of the whole over a Redis Cluster of three
// nodes: ingest shards and partitions on different nodes, and slots that move
// from one to another while records come in. It leaves out nodes that die: what
// a failover loses is the projection's matter (bench/faults).
package cluster
