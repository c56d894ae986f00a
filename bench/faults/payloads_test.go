package main_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/worker"
)

// enqueue puts a payload into a queue, as a producer of another language may.
func (r *rig) enqueue(payload []byte) {
	r.t.Helper()
	id := uuid.NewString()
	queue := asynq.NewClientFromRedisClient(r.sys.redis.WithTimeout(time.Minute)) // for 64 MiB on a busy machine
	_, err := queue.EnqueueContext(r.t.Context(), asynq.NewTask(wire.TypeIngest, payload), wire.TaskOptions(id, wire.IngestQueue(wire.ShardOf(id, wire.IngestShards)))...)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return // the client asked again for want of an answer: the first had arrived
	}
	require.NoError(r.t, err)
}

// refuse puts a payload into a queue that is quarantined whole.
func (r *rig) refuse(payload []byte) {
	r.t.Helper()
	r.result.Records++
	r.oracle.Refused[string(payload)] = "malformed"
	r.enqueue(payload)
}

// TestPoison: payloads that can't be read stand between those that can.
func TestPoison(t *testing.T) {
	t.Parallel()
	r := begun(t, 50, "poison tasks")
	r.worker(r.proxied(), nil)
	sent := r.send(r.lines(pick(300, 4000)), 5*time.Millisecond)
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range pick(12, 200) {
		b := make([]byte, 1+rnd.IntN(500))
		for j := range b {
			b[j] = byte(rnd.IntN(256))
		}
		b = bytes.ReplaceAll(b, []byte("\n"), []byte("."))
		if i%4 > 0 { // not plain text: broken zstd, broken gzip
			b = append([][]byte{{0x28, 0xb5, 0x2f, 0xfd}, {0x1f, 0x8b}, {0x28, 0xb5, 0x2f, 0xfd, 0xff}}[i%4-1], b...)
		} else {
			b = append([]byte("!"), bytes.TrimRight(b, "\r")...)
		}
		r.refuse(b)
		r.result.Tried++
	}
	sent.wait()
	r.ended()
	r.settle()
}

// TestPanics: a handler panics at each point. Twice is survived; a task that
// always panics is quarantined whole and holds back no other.
func TestPanics(t *testing.T) {
	t.Parallel()
	r := begun(t, 51, "handler panics")
	var at atomic.Value // point
	var left atomic.Int64
	at.Store("")
	r.worker(r.proxied(), func(_ *system, o *worker.Options) {
		o.Crash = func(point string) {
			if point == at.Load() && left.Add(-1) >= 0 {
				panic("as the test asks")
			}
		}
	})
	for _, point := range points {
		left.Store(2)
		at.Store(point)
		r.send(r.lines(pick(100, 1000)), 0).wait()
		r.drain()
		assert.LessOrEqual(t, left.Load(), int64(0), "panics at %s", point)
		r.result.Tried += 2
	}
	// One task, alone, that panics whenever it runs, before and after its charge.
	for _, point := range []string{"decoded", "charged", "judged"} {
		at.Store("")
		lines := r.plain(30, point == "judged") // there its rows are in the ledger before it panics
		codec, err := wire.NewCodec()
		require.NoError(t, err)
		left.Store(1 << 40)
		at.Store(point)
		text := strings.Join(lines, "\n")
		r.result.Records++
		r.oracle.Refused[text] = "malformed" // in a form that can be replayed
		r.enqueue(codec.Compress([]byte(text)))
		r.drain()
		r.result.Tried++
	}
	r.ended()
	r.heals = true // a charge whose rows never came
	r.settle()
}

// plain are messages that nothing else refers to; the oracle may be told.
func (r *rig) plain(n int, told bool) []string {
	out := make([]string, n)
	for i := range out {
		u := r.work.Message()
		out[i] = u.Line()
		if told {
			r.oracle.Take(u)
		}
	}
	return out
}

// TestPayloads: tasks of 0 B to 64 MiB, of one line and of many. The short form ends
// at 16 MiB: four times as much keeps a slow machine's Redis busy for seconds at a time.
func TestPayloads(t *testing.T) {
	t.Parallel()
	r := begun(t, 52, "payloads of 0 B to 64 MiB")
	r.worker(r.proxied(), nil)
	rnd := rand.NewChaCha8([32]byte{1})
	sizes := []int{0, 1, 255, 256, 64 << 10, 1 << 20, 16 << 20}
	if long() {
		sizes = append(sizes, 64<<20)
	}
	for _, size := range sizes {
		raw := make([]byte, size*3/4+3)
		_, _ = rnd.Read(raw)
		r.refuse([]byte(base64.StdEncoding.EncodeToString(raw)[:size]))
		r.result.Tried++
	}
	codec, err := wire.NewCodec()
	require.NoError(t, err)
	lines := r.lines(pick(4_000, 100_000))
	r.result.Records += len(lines)
	r.result.Tried++
	r.enqueue(codec.Compress([]byte(strings.Join(lines, "\n"))))
	// The client says at once what can't be a line.
	c, err := jobs.NewClient(r.sys.redis, jobs.ClientOptions{})
	require.NoError(t, err)
	require.ErrorIs(t, c.SendLine(t.Context(), nil), jobs.ErrLine)
	require.ErrorIs(t, c.SendLine(t.Context(), make([]byte, jobs.LineMax+1)), jobs.ErrLine)
	require.NoError(t, c.Close(t.Context()))
	r.ended()
	r.settle()
}

// TestTooMuch: far more comes than the worker can bear. Clients wait, the queue
// keeps its bound, and nothing is lost.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	r := begun(t, 53, "ten times the load it can bear")
	r.back.toxic("latency", "downstream", `{"latency":150}`)
	r.worker(r.proxied(), func(_ *system, o *worker.Options) { o.Concurrency = 1 })
	const senders, most = 8, 3
	lines := r.lines(pick(500, 2000))
	r.result.Records += len(lines)
	var waited, refused, longest atomic.Int64
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			c, err := jobs.NewClient(r.sys.redis, jobs.ClientOptions{RecordsMax: 20, QueueMax: most, InFlight: 1})
			if !assert.NoError(t, err) {
				return
			}
			for n := i * 20; n < len(lines); n += senders * 20 {
				began := time.Now()
				for !r.offer(c, lines[n:min(n+20, len(lines))]) {
					refused.Add(1) // the caller is told, keeps its records and sends them again
				}
				if time.Since(began) > 500*time.Millisecond {
					waited.Add(1)
				}
			}
			assert.NoError(t, c.Close(t.Context()))
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		case <-time.After(10 * time.Millisecond):
			for shard := range wire.IngestShards {
				n, err := r.sys.redis.LLen(t.Context(), fmt.Sprintf("asynq:{ingest-%d}:pending", shard)).Result()
				assert.NoError(t, err)
				longest.Store(max(longest.Load(), n))
			}
		}
	}
	t.Logf("%d calls had to wait, %d were refused, the longest queue held %d tasks", waited.Load(), refused.Load(), longest.Load())
	r.result.Tried = 1
	assert.Positive(t, waited.Load()+refused.Load(), "callers that had to wait")
	assert.LessOrEqual(t, longest.Load(), int64(most+senders), "the queue's bound")
	r.back.clean()
	r.ended()
	r.settle()
}

// offer sends lines and waits until each is safe.
func (r *rig) offer(c *jobs.Client, lines []string) bool {
	for _, l := range lines {
		if c.Add(r.t.Context(), []byte(l)) != nil {
			break // Flush says it again
		}
	}
	return c.Flush(r.t.Context()) == nil
}
