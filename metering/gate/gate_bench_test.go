package gate

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering/balance"
)

// BenchmarkPublished hears of a parent's change with few and with very many other
// accounts in the cache: it costs what its own sub-accounts do.
func BenchmarkPublished(b *testing.B) {
	for _, others := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("%d others", others), func(b *testing.B) {
			g := New(redis.NewClient(&redis.Options{}), Options{})
			for i := range others {
				g.keep(fmt.Sprintf("sub-%d", i), &entry{state: &balance.State{ParentID: fmt.Sprintf("parent-%d", i/10)}})
			}
			change := &balance.Published{Account: "parent-0"}
			for b.Loop() {
				g.changed(change)
			}
		})
	}
}
