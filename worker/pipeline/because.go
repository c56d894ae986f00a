package pipeline

import (
	"errors"
	"log/slog"
	"strings"

	"github.com/meterd/meterd/internal/quietlog"
	"github.com/meterd/meterd/metering/ledger"
)

// Because names the engine by which something failed, so that all that fails by it is
// one line. It is for errors of what works with Redis and ClickHouse alone.
func Because(err error) slog.Attr {
	if a := BecauseOf(err); a.Key != "" || !lostConnection(err.Error()) {
		return a
	}
	return quietlog.Cause(redisGone)
}

// redisGone is the cause of what fails while Redis can't be reached.
const redisGone = "redis away"

// BecauseOf is Because for what has connections of its own that break too: to webhooks,
// mail servers and buckets. asynq keeps errors as texts only.
func BecauseOf(err error) slog.Attr {
	text := err.Error()
	switch {
	case errors.Is(err, ledger.ErrAway):
		return quietlog.Cause("clickhouse away")
	case errors.Is(err, errSlow), errors.Is(err, ledger.ErrLate):
		return quietlog.Cause("clickhouse slow")
	case OutOfMemory(text):
		return quietlog.Cause("redis out of memory")
	case strings.Contains(text, "redis eval error") || strings.Contains(text, "redis command error"):
		if lostConnection(text) || strings.Contains(text, "deadline exceeded") {
			return quietlog.Cause(redisGone)
		}
	}
	return slog.Attr{}
}

// OutOfMemory tells what Redis answers to a write then.
func OutOfMemory(text string) bool { return strings.Contains(text, "OOM ") }

// lostConnection tells whether an error isn't about what was asked.
func lostConnection(text string) bool {
	for _, s := range []string{
		"EOF", "i/o timeout", "connection pool timeout", "dial tcp", "connection reset", "broken pipe", "closed network connection",
		"LOADING ", "MISCONF ", "READONLY ", "CLUSTERDOWN ", "MASTERDOWN ",
		"Will retry syncing", // asynq's word for it, without a reason
	} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}
