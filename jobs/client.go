package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
)

// ClientOptions bound the client. Zero values take the defaults.
type ClientOptions struct {
	// Shards is the number of ingest queues that tasks are spread over, at most
	// ShardsMax; the same as the workers', who find others only once something
	// lies in them. Default IngestShards.
	Shards int
	// RecordsMax ends a task, as BytesMax does. Larger: fewer bytes and less work a
	// record, more to do again after a failure. Default RecordsMax.
	RecordsMax int
	// BytesMax is how large a task's lines become, before they are compressed.
	// Default 2 MiB.
	BytesMax int
	// Linger is how long a record waits for company in a stream of them. Where
	// hardly any other would come in that time it waits 1 ms; in a dense stream
	// up to 40 ms, for larger tasks cost less a record. Default 10 ms.
	Linger time.Duration
	// InFlight bounds the tasks on their way to Redis; one more is filled beside
	// them. Default 8.
	InFlight int
	// QueueMax is how many tasks may wait in one queue, for a worker or for their next
	// try: while so many do, a task is tried again for 30 s, then its records are given back with ErrQueueFull.
	// Default 10,000.
	QueueMax int64
	// Replicas of Redis that must have a task too before it counts as sent.
	// Default 0.
	Replicas int
	// Run begins the ids of all tasks, so that their outcomes are counted under it.
	// Default "": none are counted.
	Run string
}

func (o ClientOptions) withDefaults() ClientOptions {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.Shards, wire.IngestShards)
	set(&o.RecordsMax, RecordsMax)
	set(&o.BytesMax, 2<<20)
	set(&o.InFlight, 8)
	if o.QueueMax == 0 {
		o.QueueMax = 10_000
	}
	if o.Linger == 0 {
		o.Linger = 10 * time.Millisecond
	}
	return o
}

// validate refuses what workers would refuse of each task, or find only late.
func (o ClientOptions) validate() error {
	for _, c := range []struct {
		option string
		is     int64
		least  int64
		most   int64
		hint   string
	}{
		{"Shards", int64(o.Shards), 1, wire.ShardsMax, "give the workers' number, "},
		{"RecordsMax", int64(o.RecordsMax), 1, wire.LinesMax, ""},
		{"BytesMax", int64(o.BytesMax), 1, wire.PayloadMax - LineMax, ""},
		{"Linger", int64(o.Linger), 1, int64(time.Minute), "in nanoseconds, "},
		{"InFlight", int64(o.InFlight), 1, math.MaxInt32, ""},
		{"QueueMax", o.QueueMax, 1, math.MaxInt64, ""},
		{"Replicas", int64(o.Replicas), 0, math.MaxInt32, ""},
	} {
		if c.is < c.least || c.is > c.most {
			return fmt.Errorf("ClientOptions.%s is %d: %sfrom %d to %d", c.option, c.is, c.hint, c.least, c.most)
		}
	}
	return nil
}

// RecordsMax is how many records a task holds unless said otherwise: with fewer,
// what a task costs whatever it holds is felt in each record.
const RecordsMax = 8000

// Errors of a client.
var (
	// ErrQueueFull: workers are behind; the records were not taken.
	ErrQueueFull = errors.New("the ingest queue is full: workers are behind; try again later")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("the client is closed")
	// ErrRecord: a record that could never be charged as it is meant.
	ErrRecord = errors.New("not a usage record that can be charged")
	// ErrLine: a line holds a newline, is empty, or is larger than LineMax.
	ErrLine = errors.New("not one line")
)

// LineMax is the most bytes of one line.
const LineMax = 64 << 20

// Client sends usage records. It packs them into tasks, compresses them, and
// spreads the tasks over the ingest queues. It never drops a record silently:
// it waits, or returns an error. Every call ends with its context. It may be
// used by many goroutines; where several of them Add, one of them calls Flush.
type Client struct {
	opts    ClientOptions
	rdb     redis.UniversalClient
	queue   *asynq.Client
	codec   *wire.Codec
	prefix  string             // of the ids of its tasks
	slots   chan struct{}      // one for each task on its way to Redis
	ctx     context.Context    //nolint:containedctx // of all its tasks: a task has the records of many calls
	cancel  context.CancelFunc // by Close, once nobody waits for a task
	sent    atomic.Int64
	lengths []length // of the ingest queues

	mu     sync.Mutex
	cur    *pack              // takes records
	out    map[*pack]struct{} // begun and not ended, cur among them
	serial int64              // of the last pack
	began  time.Time          // the last pack
	packed int                // records of the last that left
	closed bool
	failed error // the first of a pack with a line of Add's since the last Flush
}

// NewClient returns a client over a Redis connection, which stays the caller's
// to close, after the client. The error is of an option that can't be.
func NewClient(rdb redis.UniversalClient, o ClientOptions) (*Client, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	codec, err := wire.NewCodec()
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts: o, rdb: rdb, queue: asynq.NewClientFromRedisClient(rdb), codec: codec,
		slots: make(chan struct{}, o.InFlight), lengths: make([]length, o.Shards), out: map[*pack]struct{}{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.prefix = uuid.NewString()
	if o.Run != "" {
		c.prefix = o.Run + "."
	}
	return c, nil
}

// Send sends one record and waits until Redis has its task (on disk, where Redis
// syncs always). After an error the record is the caller's again: to be sent
// again with the same id, for it may have got through all the same. The errors
// are ErrRecord (never sent: it lacks something), ErrClosed, ErrLine (a record larger
// than LineMax), ErrQueueFull, the context's, and Redis's.
func (c *Client) Send(ctx context.Context, r *metering.Record) error {
	if err := chargeable(r); err != nil {
		return err
	}
	return c.SendLine(ctx, metering.AppendRecord(nil, r))
}

// chargeable refuses what would be quarantined whatever the accounts are, or charged as
// another quantity than was meant.
func chargeable(r *metering.Record) error {
	lacks := ""
	switch {
	case r.ID == "":
		lacks = "ID: empty; give each message one of its own, and send it again under the same"
	case r.AccountID == "":
		lacks = "AccountID: empty"
	case r.OccurredAt.IsZero():
		lacks = "OccurredAt: empty"
	case r.Units.Or(0) < 0 || r.Units.Or(0) > metering.QuantityMax:
		lacks = "Units: below 0, or 10^12 or more"
	case (r.Kind == metering.KindStatus || r.Kind == metering.KindRefund) && r.RefersTo == "":
		lacks = "RefersTo: empty; it names the message"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRecord, lacks)
}

// SendLine is Send of a record that is a JSON line already.
func (c *Client) SendLine(ctx context.Context, line []byte) error {
	p, err := c.add(ctx, line, false)
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

// Add takes a copy of one JSON line without waiting for its task, for files and
// backlogs; it waits while InFlight tasks are on their way and the next one is
// full. An error says that this line was not taken: that of its context, ErrLine,
// ErrClosed, or the first that a task of Add's met since the last Flush.
func (c *Client) Add(ctx context.Context, line []byte) error {
	_, err := c.add(ctx, line, true)
	return err
}

// Flush waits until Redis has every line added so far. The error is the first
// that a task of Add's met since the last Flush, or the context's: then some
// lines may be sent or not, and the next Flush waits for them. Sent says how many
// are safe.
func (c *Client) Flush(ctx context.Context) error {
	c.mu.Lock()
	waits := slices.Collect(maps.Keys(c.out))
	if c.cur != nil {
		c.cur.ripen()
	}
	c.mu.Unlock()
	for _, p := range waits {
		select {
		case <-p.done:
		case <-ctx.Done():
			return fmt.Errorf("wait until usage records are sent (the last may be sent or not): %w", ctx.Err())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.failed
	c.failed = nil
	return err
}

// Sent is the number of lines and records that Redis is known to have.
func (c *Client) Sent() int64 { return c.sent.Load() }

// Close takes no more records and flushes. Tasks that are still on their way when
// its context ends are given up: whoever waits for one gets an error. The
// Redis connection stays open.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	defer c.cancel()
	return c.Flush(ctx)
}

// add puts a line into the current pack. Where that is full it waits, without
// having taken the line, until the pack leaves.
func (c *Client) add(ctx context.Context, line []byte, unwaited bool) (*pack, error) {
	if len(line) == 0 || len(line) > LineMax {
		return nil, fmt.Errorf("%w: %d bytes", ErrLine, len(line))
	}
	if bytes.IndexByte(line, '\n') >= 0 {
		return nil, fmt.Errorf("%w: it holds a newline", ErrLine)
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("take a usage record to be sent: %w", err)
		}
		p, taken, err := c.offer(line, unwaited) //nolint:contextcheck // a task outlives the call that began it
		if taken || err != nil {
			return p, err
		}
		select {
		case <-p.left:
		case <-ctx.Done():
		}
	}
}

// offer puts a line into the current pack, begun if there is none, unless it is
// full: then the caller waits until it has left.
func (c *Client) offer(line []byte, unwaited bool) (p *pack, taken bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false, ErrClosed
	}
	if unwaited && c.failed != nil {
		return nil, false, c.failed
	}
	if c.cur == nil {
		c.begin()
	}
	p = c.cur
	if p.records > 0 && (p.records >= c.opts.RecordsMax || len(p.text)+1+len(line) > c.opts.BytesMax) {
		p.ripen()
		return p, false, nil
	}
	if p.records > 0 {
		p.text = append(p.text, '\n')
	}
	p.text = append(p.text, line...)
	p.records++
	p.unwaited = p.unwaited || unwaited
	if p.records >= c.opts.RecordsMax || len(p.text) >= c.opts.BytesMax {
		p.ripen()
	}
	return p, true, nil
}
