package cluster_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/internal/testengine"
)

// slots of a cluster.
const slots = 16384

// node is one redis-server.
type node struct {
	*redis.Client

	id         string
	host, port string
	bus        string
}

// nodes are a cluster of a test's own.
type nodes struct {
	t        *testing.T
	password string
	all      []*node
	moved    map[int]*node // slots that aren't where they began
}

// startNodes makes a cluster of three whose slots are spread evenly.
func startNodes(t *testing.T) *nodes {
	t.Helper()
	c := &nodes{t: t, password: "secret", moved: map[int]*node{}}
	for range 3 {
		n := c.start()
		from, to := c.rangeOf(len(c.all) - 1)
		require.NoError(t, n.Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", len(c.all)).Err())
		require.NoError(t, n.ClusterAddSlotsRange(t.Context(), from, to).Err())
	}
	c.meet()
	return c
}

// rangeOf is what the i-th node begins with.
func (c *nodes) rangeOf(i int) (from, to int) {
	return slots * i / 3, slots*(i+1)/3 - 1
}

// start adds a node that knows no other.
func (c *nodes) start() *node {
	c.t.Helper()
	server, err := embedded.StartRedis(context.Background(), c.t.TempDir(), embedded.RedisOptions{Password: c.password, Cluster: true})
	require.NoError(c.t, err)
	c.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		assert.NoError(c.t, server.Stop(ctx))
	})
	n := &node{Client: redis.NewClient(&redis.Options{Addr: server.Addr(), Password: c.password})}
	c.t.Cleanup(func() { _ = n.Close() })
	n.host, n.port, err = net.SplitHostPort(server.Addr())
	require.NoError(c.t, err)
	n.id, err = n.ClusterMyID(c.t.Context()).Result()
	require.NoError(c.t, err)
	conf, err := n.ConfigGet(c.t.Context(), "cluster-port").Result()
	require.NoError(c.t, err)
	n.bus = conf["cluster-port"]
	c.all = append(c.all, n)
	return n
}

// meet makes every node known to every other, and waits until all agree.
func (c *nodes) meet() {
	c.t.Helper()
	for _, n := range c.all[1:] {
		require.NoError(c.t, n.Do(c.t.Context(), "CLUSTER", "MEET", c.all[0].host, c.all[0].port, c.all[0].bus).Err())
	}
	known := "cluster_known_nodes:" + strconv.Itoa(len(c.all)) + "\r"
	for _, n := range c.all {
		eventually(c.t, "the cluster stands", 30*time.Second, func() bool {
			info, err := n.ClusterInfo(c.t.Context()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, known) && strings.Contains(info, "cluster_slots_ok:16384\r")
		})
	}
}

// client opens a client that is told of one node only.
func (c *nodes) client() *redis.ClusterClient {
	c.t.Helper()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.all[0].Options().Addr}, Password: c.password, PoolSize: 96})
	c.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// slot of a key.
func (c *nodes) slot(key string) int {
	c.t.Helper()
	n, err := c.all[0].ClusterKeySlot(c.t.Context(), key).Result()
	require.NoError(c.t, err)
	return int(n)
}

// owner of a key's slot, as the tests have moved it.
func (c *nodes) owner(key string) *node {
	c.t.Helper()
	s := c.slot(key)
	if n := c.moved[s]; n != nil {
		return n
	}
	for i, n := range c.all[:3] {
		if from, to := c.rangeOf(i); s >= from && s <= to {
			return n
		}
	}
	c.t.Fatalf("nobody has slot %d", s)
	return nil
}

// next is the node after one.
func (c *nodes) next(n *node) *node {
	for i, other := range c.all {
		if other == n {
			return c.all[(i+1)%3]
		}
	}
	return nil
}

// tryAgain counts the TRYAGAINs of all nodes.
func (c *nodes) tryAgain() int {
	c.t.Helper()
	sum := 0
	for _, n := range c.all {
		info, err := n.Info(c.t.Context(), "errorstats").Result()
		require.NoError(c.t, err)
		if _, rest, ok := strings.Cut(info, "errorstat_TRYAGAIN:count="); ok {
			text, _, _ := strings.Cut(rest, "\r")
			count, err := strconv.Atoi(text)
			require.NoError(c.t, err)
			sum += count
		}
	}
	return sum
}

// batch is how many keys move at once: few, so that a slot is in two places
// while calls come in.
const batch = 20

// move brings a key's slot to the next node, as redis-cli does. In the middle of
// it, it waits until scripts have met the slot in two places.
func (c *nodes) move(key string) {
	c.t.Helper()
	ctx := c.t.Context()
	slot, from, to := c.open(key)
	keys := 0
	for {
		list, err := from.ClusterGetKeysInSlot(ctx, slot, batch).Result()
		require.NoError(c.t, err)
		if len(list) == 0 {
			break
		}
		if keys == 0 {
			list = list[:(len(list)+1)/2] // something stays behind
		}
		c.migrate(from, to, list)
		if keys == 0 {
			before := c.tryAgain()
			eventually(c.t, "scripts meet a slot in two places", 30*time.Second, func() bool { return c.tryAgain() >= before+10 })
		}
		keys += len(list)
	}
	c.close(slot, to)
	c.t.Logf("slot %d of %s moved with %d keys", slot, key, keys)
}

// open begins the move of a key's slot.
func (c *nodes) open(key string) (slot int, from, to *node) {
	c.t.Helper()
	slot, from = c.slot(key), c.owner(key)
	to = c.next(from)
	require.NoError(c.t, to.Do(c.t.Context(), "CLUSTER", "SETSLOT", slot, "IMPORTING", from.id).Err())
	require.NoError(c.t, from.Do(c.t.Context(), "CLUSTER", "SETSLOT", slot, "MIGRATING", to.id).Err())
	return slot, from, to
}

// close ends it: all keys have arrived.
func (c *nodes) close(slot int, to *node) {
	c.t.Helper()
	for _, n := range []*node{to, c.next(to), c.next(c.next(to))} {
		require.NoError(c.t, n.Do(c.t.Context(), "CLUSTER", "SETSLOT", slot, "NODE", to.id).Err())
	}
	c.moved[slot] = to
}

func (c *nodes) migrate(from, to *node, keys []string) {
	c.t.Helper()
	args := []any{"MIGRATE", to.host, to.port, "", 0, 5000, "AUTH", c.password, "KEYS"}
	for _, k := range keys {
		args = append(args, k)
	}
	// A key that stands on both sides would be an error here: something made it anew.
	require.NoError(c.t, from.Do(c.t.Context(), args...).Err())
}

// eventually polls until ok says so.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	if !testengine.Until(within, ok) {
		t.Fatalf("not within %s: %s", within, what)
	}
}
