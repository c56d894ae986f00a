package metering

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPublicStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{
		"delivered": "delivered", "DELIVERED": "delivered", "read": "read", "": StatusUnknown, "no_answer": "no_answer", "no-answer": "no_answer",
		"scheduled": "scheduled", "bounced": "bounced", "opened": "opened",
		"no-credits": StatusNotAllowed, "NO-CREDITS": StatusNotAllowed, "insufficient_balance": StatusNotAllowed, "budget0.0412": StatusNotAllowed,
		"not-allowed": StatusNotAllowed, "disallowed": StatusNotAllowed, "rate_0.0412": StatusNotAllowed, "0.0412": StatusOther, "wombat": StatusOther,
	} {
		require.Equal(t, want, PublicStatus(status), status)
	}
	for _, s := range knownStatuses {
		require.Equal(t, s.word, PublicStatus(s.word))
	}
}

func TestPublicErrorCode(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"": "", "absent-sub": "absent_sub", "ABSENT-SUB": "absent_sub", "30003": "30003", "30002": StatusOther, "31337": StatusOther,
		"NO-CREDITS": StatusNotAllowed, "NOT-ALLOWED": StatusNotAllowed, "low_balance": StatusNotAllowed, "0.0412": StatusOther, "wombat": StatusOther,
	} {
		require.Equal(t, want, PublicErrorCode(code), code)
	}
}

func TestStatusRank(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"accepted", "queued", "sent", "undelivered", "failed", "delivered", "read"}, RankedStatuses())
	for i, s := range RankedStatuses() {
		require.Equal(t, i+1, StatusRank(s))
	}
	require.Zero(t, StatusRank("received"))
	require.Zero(t, StatusRank("wombat"))
	require.Equal(t, []string{"", "delivered", "read", "received", "sent", "queued", "accepted"}, FineStatuses())
}
