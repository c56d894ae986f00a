package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestARefusalOfRedisSaysWhatToDo, also where only its text is left, as asynq leaves it.
func TestARefusalOfRedisSaysWhatToDo(t *testing.T) {
	t.Parallel()
	const oom = "OOM command not allowed when used memory > 'maxmemory'."
	asynq := errors.New("enqueue: UNKNOWN: redis eval error: " + oom)
	got := explain(fmt.Errorf("send 4 usage records: %w (4 lines read, 0 of them are safe in the queue)", asynq))
	require.Contains(t, got, "safe in the queue): nothing is charged: raise maxmemory, or free memory")
	require.Contains(t, explain(errors.New(oom)), "raise maxmemory")
	require.Equal(t, "no file BOOM here", explain(errors.New("no file BOOM here")))
}
