package reconcile

import (
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// batches are the parents of each partition, so many at a time as the ledger
// sums up in one reading of its rows. A parent with more accounts than a batch
// may hold has one to itself.
func batches(s *balance.Store, snap *metering.Snapshot) [][][]string {
	out, held := make([][][]string, s.Partitions()), make([]int, s.Partitions())
	for _, parent := range snap.Parents {
		p, n := s.PartitionOf(parent), 1+len(snap.Subs[parent])
		last := len(out[p]) - 1
		if last < 0 || len(out[p][last]) == ledger.ParentsMax || held[p]+n > ledger.AccountsMax {
			out[p], held[p] = append(out[p], nil), 0
			last++
		}
		out[p][last] = append(out[p][last], parent)
		held[p] += n
	}
	return out
}
