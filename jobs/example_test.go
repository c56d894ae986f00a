package jobs_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
)

// A channel service sends one record for each message that it has handed to
// the operator.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	rdb := redis.NewClient(&redis.Options{Addr: "redis.internal:6379"})
	defer func() { _ = rdb.Close() }()
	client, err := jobs.NewClient(rdb, jobs.ClientOptions{})
	if err != nil {
		fmt.Println("set up metering:", err)
		return
	}
	defer func() { _ = client.Close() }()

	record := metering.Record{
		ID:         "SM9f2c0d5e",
		Kind:       metering.KindUsage,
		AccountID:  "acme-marketing",
		Channel:    "sms",
		Direction:  metering.Outbound,
		Status:     "sent",
		To:         "+393331234567",
		Units:      2_000_000, // two segments, in millionths
		HasUnits:   true,
		Unit:       "segment",
		OccurredAt: time.Now(),
	}
	// nil: Redis has the record on disk. An error: keep it and send it again,
	// with the same id; it is never charged twice.
	if err := client.Send(ctx, &record); err != nil {
		fmt.Println("keep the record for later:", err)
	}
}
