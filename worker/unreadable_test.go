package worker

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

// TestATaskOfTooManyLines is kept whole, and what comes after it goes on.
func TestATaskOfTooManyLines(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{})
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	payload := codec.Compress(bytes.Repeat([]byte("1\n"), wire.LinesMax+1))
	queue := asynq.NewClientFromRedisClient(h.Redis)
	_, err = queue.EnqueueContext(t.Context(), asynq.NewTask(wire.TypeIngest, payload), wire.TaskOptions("bomb.1", wire.IngestQueue(0))...)
	require.NoError(t, err)
	h.Eventually("it is in quarantine", func() bool {
		found := false
		require.NoError(t, h.Ledger.Quarantined(t.Context(), ledger.QuarantineFilter{ID: ledger.EntryID("", "", payload)}, func(e *ledger.Entry) error {
			found = bytes.Equal(e.Raw, payload) && strings.Contains(e.Detail, "more than 100000 lines")
			return nil
		}))
		return found
	})
	assert.EqualValues(t, 1, h.Batch().Task(workertest.Message(workertest.Shop, "a", time.Second)).Wait().Stored)
}
