package pipeline

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/worker/workertest"
)

// TestWhoOnlyDoesChoresKnowsOtherQueues: else an answer whose task waits in one
// would be given up.
func TestWhoOnlyDoesChoresKnowsOtherQueues(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	pl := h.byHand()
	client, err := jobs.NewClient(h.Redis, jobs.ClientOptions{Shards: 9, RecordsMax: 1})
	require.NoError(t, err)
	for i := range 40 {
		require.NoError(t, client.Add(t.Context(), []byte(workertest.Message(workertest.Shop, strconv.Itoa(i), 0))))
	}
	require.NoError(t, client.Close(t.Context()))
	added, err := pl.LookBeyond(t.Context())
	require.NoError(t, err)
	assert.Equal(t, wire.IngestQueues(9)[wire.IngestShards:], added)
	assert.Subset(t, pl.chargingQueues(), wire.IngestQueues(9))
	added, err = pl.LookBeyond(t.Context())
	require.NoError(t, err)
	assert.Empty(t, added, "they are known")
}
