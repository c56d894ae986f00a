package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
)

// A channel service sends one record for each message that it has handed to
// the operator.
func Example() {
	rdb, stop := redisOfAnExample() // redis.NewClient(&redis.Options{Addr: "redis.internal:6379"})
	defer stop()
	client, err := jobs.NewClient(rdb, jobs.ClientOptions{})
	if err != nil {
		fmt.Println("set up metering:", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	record := metering.Record{
		ID:         "SM9f2c0d5e",
		Kind:       metering.KindUsage,
		AccountID:  "acme-marketing",
		Channel:    "sms",
		Direction:  metering.Outbound,
		Status:     "sent",
		To:         "+393331234567",
		Units:      metering.Units(2),
		Unit:       "segment",
		OccurredAt: time.Now(),
	}
	// nil: Redis has the record. An error: keep it and send it again, with the
	// same id; it is never charged twice.
	if err := client.Send(ctx, &record); err != nil {
		fmt.Println("keep the record for later:", err)
	}
	if err := client.Close(ctx); err != nil {
		fmt.Println("stop metering:", err)
	}
	fmt.Println(client.Sent(), "sent")
	// Output: 1 sent
}

// A backlog is added line by line, without waiting for each.
func ExampleClient_Add() {
	rdb, stop := redisOfAnExample() // as above
	defer stop()
	client, err := jobs.NewClient(rdb, jobs.ClientOptions{})
	if err != nil {
		fmt.Println("set up metering:", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := range 1000 {
		line := []byte(`{"id":"SM` + strconv.Itoa(i) + `","account_id":"acme-marketing","channel":"sms","occurred_at":"2026-11-05T10:00:00Z"}`)
		if err := client.Add(ctx, line); err != nil {
			break // Flush says it again
		}
	}
	switch err := client.Flush(ctx); {
	case errors.Is(err, jobs.ErrQueueFull):
		fmt.Println("workers are behind: send the whole backlog again later")
	case err != nil:
		fmt.Println("send the whole backlog again:", err)
	}
	fmt.Println(client.Sent(), "sent;", client.Close(ctx) == nil)
	// Output: 1000 sent; true
}

// redisOfAnExample starts a Redis for it.
func redisOfAnExample() (rdb *redis.Client, stop func()) {
	dir, err := os.MkdirTemp("", "meterd-example-")
	if err != nil {
		panic(err)
	}
	server, err := embedded.StartRedis(context.Background(), dir, embedded.RedisOptions{})
	if err != nil {
		panic(err)
	}
	rdb = redis.NewClient(&redis.Options{Addr: server.Addr(), Password: server.Password()})
	return rdb, func() {
		if err := errors.Join(rdb.Close(), server.Stop(context.Background()), os.RemoveAll(dir)); err != nil {
			panic(err)
		}
	}
}
