package gate_test

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering/gate"
)

// A channel service asks before it sends; the answer comes from memory.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	rdb := redis.NewClient(&redis.Options{Addr: "redis.internal:6379"})
	defer func() { _ = rdb.Close() }()
	g := gate.New(rdb, gate.Options{})
	go g.Follow(ctx) // ends with ctx

	if a := g.Check(ctx, "acme-marketing", "sms"); !a.Allowed {
		fmt.Println("not sent:", a.Code) // safe to show to the sender
		return
	}
	// hand the message to the operator, then send its usage record
}
