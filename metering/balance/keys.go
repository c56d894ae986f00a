package balance

import (
	"hash/fnv"
	"strconv"
)

// PartitionOf says in which of n partitions everything of a parent lives.
func PartitionOf(parent string, n int) int {
	if n <= 1 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(parent))
	return int(h.Sum32() % uint32(n))
}

// tag is the hash tag that all keys of a partition carry.
func tag(p int) string {
	if p < 10 {
		return "{p0" + strconv.Itoa(p) + "}"
	}
	return "{p" + strconv.Itoa(p) + "}"
}

// The keyspace of a partition. The scripts build the same names from the tag.
func keyMeta(p int) string               { return tag(p) + ":meta" }
func keyTask(p int, task string) string  { return tag(p) + ":t:" + task }
func keyAccount(p int, id string) string { return tag(p) + ":a:" + id }
func keyRef(p int, ref string) string    { return tag(p) + ":r:" + ref }
func keyRun(p int, run string) string    { return tag(p) + ":run:" + run }
func keyOpen(p int) string               { return tag(p) + ":open" }
func keyLifted(p int) string             { return tag(p) + ":lifted" }
func keyOutbox(p int) string             { return tag(p) + ":outbox" }
func keyLease(p int, name string) string { return tag(p) + ":lease:" + name }
func keyHook(p int, id string) string    { return tag(p) + ":hook:" + id }
func keyPanics(task string) string       { return tag(0) + ":panics:" + task }
func keyDedup(p int, gen int64, bucket int) string {
	return tag(p) + ":d:" + strconv.FormatInt(gen, 10) + ":" + strconv.Itoa(bucket)
}

// channelState is where changed accounts are published.
func channelState(p int) string { return tag(p) + ":state" }
