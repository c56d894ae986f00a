package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/wire"
)

// waitingClient is a client like rdb for idle waits alone: closing it ends them, so
// that a worker that stops needn't wait for them.
func waitingClient(rdb redis.UniversalClient) (redis.UniversalClient, error) {
	switch c := rdb.(type) {
	case *redis.Client:
		opts := *c.Options()
		opts.PushNotificationProcessor = nil // a client's own
		return redis.NewClient(&opts), nil
	case *redis.ClusterClient:
		opts := *c.Options()
		return redis.NewClusterClient(&opts), nil
	}
	return nil, fmt.Errorf("a worker works with one Redis server or with a cluster, not with %T", rdb)
}

// patient is the client that asynq's servers get. asynq asks an empty queue
// again and again: often, and an idle system is busy asking; rarely, and a
// record waits. patient waits in Redis for the queue's next task before it says
// that there is none.
type patient struct {
	redis.UniversalClient

	waits redis.UniversalClient // see waitingClient
}

// EvalSha implements redis.Scripter. asynq takes tasks with a script whose first
// key is the list of pending ones and which returns nothing if there is none.
func (p patient) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	cmd := p.UniversalClient.EvalSha(ctx, sha1, keys, args...)
	if len(keys) > 0 && strings.HasSuffix(keys[0], ":pending") && errors.Is(cmd.Err(), redis.Nil) {
		// The oldest task moves to where it is: nothing changes.
		_ = p.waits.BLMove(ctx, keys[0], keys[0], "RIGHT", "RIGHT", wire.IdleWait)
	}
	return cmd
}
