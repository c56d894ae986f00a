package testengine

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A test that hangs ends the process, and says where, with what the engines say.
func TestBoundSaysWhereATestHangs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	code := 0
	w := &watch{out: &out, exit: func(c int) { code = c }}
	w.set(t, time.Hour)
	w.set(t, time.Minute) // who comes later has no say
	w.log(t, "a log", func() string { return "one\ntwo\n" })
	w.log(t, "redis.log", fileLog(StartRedis(t).redisDir, "redis.log"))
	e := StartClickHouse(t)
	w.log(t, "ClickHouse", e.statements)
	ctx, cancel := context.WithCancel(t.Context())
	var asked sync.WaitGroup
	asked.Go(func() {
		_ = e.ClickHouse(t).Exec(ctx, "SELECT max(number) FROM system.numbers SETTINGS max_threads = 1")
	})
	defer asked.Wait()
	defer cancel()
	require.Eventually(t, func() bool { return strings.Contains(e.statements(), "system.numbers") }, 30*time.Second, 10*time.Millisecond)
	hold := make(chan struct{})
	defer close(hold)
	held := make(chan struct{})
	go hang(held, hold)
	<-held
	w.hung(t.Name())
	require.Equal(t, 2, code)
	for _, want := range []string{
		"--- FAIL: TestBoundSaysWhereATestHangs: still running after 1h0m0s", "testengine.hang(",
		"a log, its last lines:\none\ntwo\n", "Server initialized", "ClickHouse, its last lines:\n", "SELECT max(number)",
	} {
		require.True(t, strings.Contains(out.String(), want), "it doesn't say %q", want) //nolint:testifylint // the text is long
	}
}

// hang is where the test is.
func hang(held, hold chan struct{}) {
	close(held)
	<-hold
}

func TestBoundEndsTheProcess(t *testing.T) {
	t.Parallel()
	code := make(chan int)
	w := &watch{out: &bytes.Buffer{}, exit: func(c int) { code <- c }}
	w.set(t, time.Millisecond)
	require.Equal(t, 2, <-code)
}

// A test that has ended in time isn't looked at any more.
func TestBoundEndsWithItsTest(t *testing.T) { //nolint:tparallel // see below
	t.Parallel()
	w := &watch{exit: func(int) { panic("it ended in time") }}
	t.Run("in time", func(t *testing.T) { w.set(t, time.Hour) }) //nolint:paralleltest // it must end first
	require.Empty(t, w.tests)
	w.hung("TestBoundEndsWithItsTest/in_time")
}

func TestTail(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a\nb", tail("\na\nb\n"))
	require.Equal(t, logLines, strings.Count(tail(strings.Repeat("line\n", logLines+5)), "line"))
}
