package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering"
)

// ClientOptions bound the client. Zero values take the defaults.
type ClientOptions struct {
	// Shards is the number of ingest queues, the same for workers and clients.
	// Default IngestShards.
	Shards int
	// RecordsMax and BytesMax end a task. Larger: fewer bytes and less work a
	// record, more to do again after a failure. Defaults RecordsMax records and
	// 2 MiB.
	RecordsMax int
	BytesMax   int
	// Linger is how long a record waits for company in a stream of them. Where
	// hardly any other would come in that time it waits 1 ms; in a dense stream
	// up to 40 ms, for larger tasks cost less a record. Default 10 ms.
	Linger time.Duration
	// InFlight bounds the tasks on their way to Redis. Default 8.
	InFlight int
	// QueueMax is how many tasks may wait in one queue; then Send blocks until
	// its context ends (ErrQueueFull). Default 10,000.
	QueueMax int64
	// Replicas that must have the task before Send returns nil. Default 0.
	Replicas int
	// Run counts the outcomes of all tasks, for RunCounts. Default "": none.
	Run string
}

// RecordsMax is how many records a task holds unless said otherwise: with fewer,
// what a task costs whatever it holds is felt in each record.
const RecordsMax = 8000

// lingerIdle is how long a record waits where fewer than company would come
// within the linger. Where more than crowd would, it waits as many times longer
// as there are crowds, up to lingerDense.
const (
	lingerIdle  = time.Millisecond
	lingerDense = 40 * time.Millisecond
	company     = 4
	crowd       = 100
)

// Errors of a client.
var (
	// ErrQueueFull: workers are behind; the record was not taken.
	ErrQueueFull = errors.New("the ingest queue is full: workers are behind; try again later")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("the client is closed")
	// ErrLine: a line holds a newline, is empty, or is larger than LineMax.
	ErrLine = errors.New("not one line")
)

// LineMax bounds one line.
const LineMax = 64 << 20

// Client sends usage records. It packs them into tasks, compresses them, and
// spreads the tasks over the ingest queues. It never drops a record silently:
// it blocks, or returns an error. It may be used by many goroutines.
type Client struct {
	opts  ClientOptions
	rdb   redis.UniversalClient
	queue *asynq.Client
	codec *Codec

	mu     sync.Mutex
	cur    *pack
	began  time.Time // the last pack
	packed int       // its records, once it is taken
	closed bool
	wg     sync.WaitGroup // packs on their way
	slots  chan struct{}
	serial atomic.Int64
	prefix string

	firstErr error // of Add's packs since the last Flush
	sent     atomic.Int64

	lengths []length // of the ingest queues
}

// length is what a queue held when it was last asked.
type length struct {
	mu    sync.Mutex
	tasks int64
	asked time.Time // zero: never
}

type pack struct {
	text    []byte
	records int
	timer   *time.Timer
	done    chan struct{}
	err     error
	id      string
	ctx     context.Context //nolint:containedctx // of the call that began the pack; values only
}

// NewClient returns a client over a Redis connection, which stays the caller's.
func NewClient(rdb redis.UniversalClient, o ClientOptions) (*Client, error) {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.Shards, IngestShards)
	set(&o.RecordsMax, RecordsMax)
	set(&o.BytesMax, 2<<20)
	set(&o.InFlight, 8)
	if o.QueueMax == 0 {
		o.QueueMax = 10_000
	}
	if o.Linger == 0 {
		o.Linger = 10 * time.Millisecond
	}
	codec, err := NewCodec()
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts: o, rdb: rdb, queue: asynq.NewClientFromRedisClient(rdb), codec: codec,
		slots: make(chan struct{}, o.InFlight), lengths: make([]length, o.Shards),
	}
	c.prefix = uuid.NewString()
	if o.Run != "" {
		c.prefix = o.Run + "."
	}
	return c, nil
}

// Send sends one record and waits until Redis has it on disk.
func (c *Client) Send(ctx context.Context, r *metering.Record) error {
	return c.SendLine(ctx, metering.AppendRecord(nil, r))
}

// SendLine sends one record that is a JSON line already.
func (c *Client) SendLine(ctx context.Context, line []byte) error {
	p, err := c.add(ctx, line)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("send a usage record (it may be sent or not): %w", ctx.Err())
	}
}

// Add takes one line without waiting for its task; it waits only while too
// many tasks are on their way. Flush tells whether all went well.
func (c *Client) Add(ctx context.Context, line []byte) error {
	c.mu.Lock()
	err := c.firstErr
	c.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = c.add(ctx, line)
	return err
}

// Flush waits until every line added so far is on Redis's disk. The error is
// the first that a task met; Sent says how many lines are safe.
func (c *Client) Flush() error {
	c.mu.Lock()
	p := c.take()
	c.mu.Unlock()
	c.launch(p)
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.firstErr
	c.firstErr = nil
	return err
}

// Sent is the number of lines that are on Redis's disk.
func (c *Client) Sent() int64 { return c.sent.Load() }

// Close sends what is packed and waits for it: at most slotMax and sendMax.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Flush()
}

func (c *Client) add(ctx context.Context, line []byte) (*pack, error) {
	if len(line) == 0 || len(line) > LineMax {
		return nil, fmt.Errorf("%w: %d bytes", ErrLine, len(line))
	}
	if bytes.IndexByte(line, '\n') >= 0 {
		return nil, fmt.Errorf("%w: it holds a newline", ErrLine)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	var full *pack
	if c.cur != nil && len(c.cur.text)+1+len(line) > c.opts.BytesMax {
		full = c.take()
	}
	if c.cur == nil {
		c.cur = c.newPack(ctx)
	}
	p := c.cur
	if p.records > 0 {
		p.text = append(p.text, '\n')
	}
	p.text = append(p.text, line...)
	p.records++
	var ready *pack
	if p.records >= c.opts.RecordsMax || len(p.text) >= c.opts.BytesMax {
		ready = c.take()
	}
	c.mu.Unlock()
	c.launch(full)  //nolint:contextcheck // a pack outlives the call that began it
	c.launch(ready) //nolint:contextcheck // as above
	return p, nil
}

// lingerOf is how long a pack waits, begun so long after one that packed so many
// records.
func lingerOf(linger time.Duration, packed int, since time.Duration) time.Duration {
	expected := int64(time.Duration(packed) * linger / max(since, 1))
	if expected < company {
		return min(linger, lingerIdle)
	}
	return max(linger, min(linger*time.Duration(min(expected, 100*crowd))/crowd, lingerDense))
}

// newPack starts a pack; its timer sends it if nothing fills it. Locked.
func (c *Client) newPack(ctx context.Context) *pack {
	p := &pack{done: make(chan struct{}), ctx: context.WithoutCancel(ctx)}
	now := time.Now() //nolint:forbidigo // a wait of the machine's own time
	linger := lingerOf(c.opts.Linger, c.packed, now.Sub(c.began))
	c.began = now
	p.id = c.prefix + "-" + strconv.FormatInt(c.serial.Add(1), 36)
	c.wg.Add(1)
	p.timer = time.AfterFunc(linger, func() { //nolint:contextcheck // a pack outlives the call that began it
		c.mu.Lock()
		mine := c.cur == p
		if mine {
			c.take()
		}
		c.mu.Unlock()
		if mine {
			c.launch(p)
		}
	})
	return p
}

// take ends the current pack. Locked.
func (c *Client) take() *pack {
	p := c.cur
	c.cur = nil
	if p != nil {
		c.packed = p.records
		p.timer.Stop()
	}
	return p
}

// launch waits for a slot and sends the pack beside the caller.
func (c *Client) launch(p *pack) {
	if p == nil {
		return
	}
	select {
	case c.slots <- struct{}{}:
	case <-time.After(slotMax):
		c.end(p, fmt.Errorf("send %d usage records: %d tasks were on their way to Redis for %s, and others before these: send fewer at once", p.records, c.opts.InFlight, slotMax))
		return
	}
	go func() { // ends with the pack; wg waits for it
		err := c.enqueue(p)
		<-c.slots
		c.end(p, err)
	}()
}

// end tells those who wait for a pack what became of it.
func (c *Client) end(p *pack, err error) {
	defer c.wg.Done()
	p.err = err
	if err == nil {
		c.sent.Add(int64(p.records))
	} else {
		c.mu.Lock()
		if c.firstErr == nil {
			c.firstErr = err
		}
		c.mu.Unlock()
	}
	close(p.done)
}

// sendMax is how long a task is tried before its records are given back as an
// error: while Redis is away, or its queue is full.
const sendMax = 30 * time.Second

// slotMax is how long a task waits for its place among those on their way. Each
// of them ends in sendMax: only where many more wait is this not enough.
const slotMax = 2 * sendMax

func (c *Client) enqueue(p *pack) error {
	ctx, cancel := context.WithTimeout(p.ctx, sendMax)
	defer cancel()
	shard := ShardOf(p.id, c.opts.Shards)
	task := asynq.NewTask(TypeIngest, c.codec.Compress(p.text))
	for wait := 5 * time.Millisecond; ; wait = min(wait*2, time.Second) {
		err := c.try(ctx, shard, p.id, task)
		if err == nil {
			return nil
		}
		if fatal(err) {
			return fmt.Errorf("send %d usage records: %w", p.records, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("send %d usage records: %w", p.records, err)
		}
	}
}

// fatal errors don't pass by themselves.
func fatal(err error) bool {
	return redis.HasErrorPrefix(err, "NOAUTH") || redis.HasErrorPrefix(err, "WRONGPASS") || redis.HasErrorPrefix(err, "NOPERM")
}

func (c *Client) try(ctx context.Context, shard int, id string, task *asynq.Task) error {
	queue := IngestQueue(shard)
	var full error
	var asked sync.WaitGroup
	asked.Go(func() { full = c.room(ctx, shard) })
	if c.roomy(shard) { // the answer is for the next task: each wait is for Redis's present script
		defer asked.Wait()
	} else if asked.Wait(); full != nil {
		return full
	}
	_, err := c.queue.EnqueueContext(ctx, task, Options(id, queue)...)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		err = nil // an earlier try of ours got through
	}
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	return c.fence(ctx, queue)
}

// room asks how long a queue is: ErrQueueFull if it may take no more.
func (c *Client) room(ctx context.Context, shard int) error {
	n, err := c.rdb.LLen(ctx, PendingKey(IngestQueue(shard))).Result()
	if err != nil {
		return fmt.Errorf("ask for the queue's length: %w", err)
	}
	l := &c.lengths[shard]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks, l.asked = n, time.Now() //nolint:forbidigo // a span of the machine's own time
	if n >= c.opts.QueueMax {
		return ErrQueueFull
	}
	return nil
}

// roomy tells whether a queue was less than half full a moment ago.
func (c *Client) roomy(shard int) bool {
	l := &c.lengths[shard]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tasks < c.opts.QueueMax/2 && time.Since(l.asked) < time.Second //nolint:forbidigo // as above
}

// fence waits for replicas: WAIT covers the writes of its own connection only,
// so a write to the queue's node goes with it.
func (c *Client) fence(ctx context.Context, queue string) error {
	if c.opts.Replicas == 0 {
		return nil
	}
	node := c.rdb
	if cluster, ok := c.rdb.(*redis.ClusterClient); ok { // which would send WAIT to any node
		var err error
		if node, err = cluster.MasterForKey(ctx, PendingKey(queue)); err != nil {
			return fmt.Errorf("find the queue's node: %w", err)
		}
	}
	pipe := node.Pipeline()
	pipe.Set(ctx, "asynq:{"+queue+"}:meterd:fence", 1, 0)
	wait := pipe.Do(ctx, "WAIT", c.opts.Replicas, 2000)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("wait for replicas: %w", err)
	}
	if n, err := wait.Int(); err != nil || n < c.opts.Replicas {
		return fmt.Errorf("only %d of %d replicas have the records", n, c.opts.Replicas)
	}
	return nil
}
