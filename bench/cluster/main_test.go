package cluster_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/testengine"
)

// quiet drops what the Redis client says of slots that the tests move.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	testengine.Main(m)
}
