package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumbersAreDerivedBeforeRating(t *testing.T) {
	t.Parallel()
	task := newTask("t", [][]byte{
		[]byte(`{"id":"1","account_id":"a","channel":"sms","to":"393201234567","country":"IT","occurred_at":"2026-11-10T10:00:00Z"}`),
		[]byte(`{"id":"2","account_id":"a","channel":"sms","to":"8725550123","occurred_at":"2026-11-10T10:00:00Z"}`),
		[]byte(`{"id":"3","account_id":"a","channel":"sms","direction":"inbound","from":"39244","to":"393201234567","occurred_at":"2026-11-10T10:00:00Z"}`),
	}, false)
	require.True(t, task.recs[0].International, "also where the country is given")
	require.False(t, task.recs[1].International)
	require.False(t, task.recs[2].International, "the far end of an inbound message is its sender")
}
