package worker

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering/balance"
)

// whole is the client that the queues' scripts get on a cluster. asynq's name
// their tasks' keys only in part, so that one of them, run while the queue's
// slot is on its way to another node, could take a task from a list and then
// fail, or not find it: a task lost. See balance.Whole.
type whole struct{ redis.UniversalClient }

// wholeQueues returns rdb, with whole before a cluster.
func wholeQueues(rdb redis.UniversalClient) redis.UniversalClient {
	if _, ok := rdb.(*redis.ClusterClient); ok {
		return whole{rdb}
	}
	return rdb
}

// Eval implements redis.Scripter.
func (w whole) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return arrived(ctx, keys, func() *redis.Cmd { return w.UniversalClient.Eval(ctx, script, balance.Whole(keys), args...) })
}

// EvalSha implements redis.Scripter.
func (w whole) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	return arrived(ctx, keys, func() *redis.Cmd { return w.UniversalClient.EvalSha(ctx, sha1, balance.Whole(keys), args...) })
}

// arriveMax is how long an ack waits for its queue's slot to arrive; arriveLook is
// how often it looks.
const (
	arriveMax  = 5 * time.Second
	arriveLook = 20 * time.Millisecond
)

// arrived calls a script that is about one task until its slot isn't on its way.
// asynq asks for tasks again by itself, but doesn't repeat an ack that failed: the
// task would run again once its lease is over.
func arrived(ctx context.Context, keys []string, call func() *redis.Cmd) *redis.Cmd {
	one := slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, "}:t:") })
	for waited := time.Duration(0); ; waited += arriveLook {
		cmd := call()
		if !one || waited >= arriveMax || !onItsWay(cmd.Err()) {
			return cmd
		}
		select {
		case <-time.After(arriveLook):
		case <-ctx.Done():
			return cmd
		}
	}
}

// onItsWay tells errors of a call that hasn't run because of where its slot is.
func onItsWay(err error) bool {
	return redis.HasErrorPrefix(err, "TRYAGAIN") || redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK")
}
