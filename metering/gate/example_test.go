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

// Redis is away, and what the account may do isn't known: the gate refuses, unless it
// was told to let messages through then. Either answer says that it is by this rule.
func ExampleOptions_failOpen() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1}) // nobody is there
	defer func() { _ = rdb.Close() }()
	for _, open := range []bool{false, true} {
		g := gate.New(rdb, gate.Options{FailOpen: open})
		a := g.Check(context.Background(), "acme-marketing", "sms")
		fmt.Println(a.Allowed, a.Code, a.Stale)
	}
	// Output:
	// false unknown true
	// true ok true
}
