package main

import (
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/jobs"
)

// TestDoctorFindsQueuesThatNobodyServes: what lies in them would wait unseen.
func TestDoctorFindsQueuesThatNobodyServes(t *testing.T) {
	t.Parallel()
	rdb := testengine.StartRedis(t).Redis(t)
	detail, err := checkQueues(t.Context(), rdb)
	require.NoError(t, err)
	assert.Equal(t, "empty", detail)

	client := asynq.NewClientFromRedisClient(rdb)
	for _, q := range []string{"ingest-2", "ingest-255"} {
		_, err = client.EnqueueContext(t.Context(), asynq.NewTask("x", nil), jobs.Options("one", q)...)
		require.NoError(t, err)
	}
	_, err = checkQueues(t.Context(), rdb)
	require.ErrorContains(t, err, "tasks lie in ingest-2, ingest-255, which no worker serves")

	srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{Queues: map[string]int{"ingest-255": 1}, LogLevel: asynq.FatalLevel})
	require.NoError(t, srv.Start(asynq.NewServeMux())) // which knows no such task: it is tried again later
	t.Cleanup(srv.Shutdown)
	assert.True(t, testengine.Until(10*time.Second, func() bool {
		_, err = checkQueues(t.Context(), rdb)
		return err != nil && strings.Contains(err.Error(), "tasks lie in ingest-2, which")
	}), "%v", err)
}
