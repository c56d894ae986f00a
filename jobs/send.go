package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/wire"
)

// lingerIdle is how long a record waits where fewer than company would come
// within the linger. Where more than crowd would, it waits as many times longer
// as there are crowds, up to lingerDense.
const (
	lingerIdle  = time.Millisecond
	lingerDense = 40 * time.Millisecond
	company     = 4
	crowd       = 100
)

// pack is a task that is being filled or on its way. A goroutine of its own takes
// it to its end.
type pack struct {
	id string

	// Until it has left these are the client's, under its lock.
	text     []byte
	records  int
	unwaited bool // holds a line of Add's: its error is for Flush

	ripe chan struct{} // capacity 1: it waits for no more records
	left chan struct{} // closed: it takes no more
	done chan struct{} // closed: it has ended, with err
	err  error
}

// ripen ends the wait for more records.
func (p *pack) ripen() {
	select {
	case p.ripe <- struct{}{}:
	default:
	}
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

// begin makes a pack the current one. Locked.
func (c *Client) begin() {
	now := time.Now() //nolint:forbidigo // a wait of the machine's own time
	linger := lingerOf(c.opts.Linger, c.packed, now.Sub(c.began))
	c.began = now
	c.serial++
	p := &pack{
		id:   c.prefix + "-" + strconv.FormatInt(c.serial, 36),
		ripe: make(chan struct{}, 1), left: make(chan struct{}), done: make(chan struct{}),
	}
	c.cur = p
	c.out[p] = struct{}{}
	go c.carry(p, linger) // ends with the pack: Flush and Close wait for it
}

// carry sends a pack once it has lingered and a place is free. Until then it
// takes more: so the fewer places, the larger the tasks.
func (c *Client) carry(p *pack, linger time.Duration) {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ripe:
	}
	var err error
	select {
	case c.slots <- struct{}{}:
		c.leave(p)
		err = c.enqueue(p)
		<-c.slots
	case <-c.ctx.Done():
		c.leave(p)
		err = fmt.Errorf("send %d usage records: %w", p.records, ErrClosed)
	}
	c.end(p, err)
}

// leave ends the filling of the current pack.
func (c *Client) leave(p *pack) {
	c.mu.Lock()
	c.cur, c.packed = nil, p.records
	c.mu.Unlock()
	close(p.left)
}

// end tells those who wait for a pack what became of it.
func (c *Client) end(p *pack, err error) {
	p.err = err
	if err == nil {
		c.sent.Add(int64(p.records))
	}
	c.mu.Lock()
	delete(c.out, p)
	if p.unwaited && c.failed == nil {
		c.failed = err
	}
	c.mu.Unlock()
	close(p.done)
}

// length is what a queue held when it was last asked.
type length struct {
	mu    sync.Mutex
	tasks int64
	asked time.Time // zero: never
}

// sendMax is how long a task is tried before its records are given back as an
// error: while Redis is away, or its queue is full.
const sendMax = 30 * time.Second

// enqueue tries until Redis has the pack's task, for at most sendMax.
func (c *Client) enqueue(p *pack) error {
	ctx, cancel := context.WithTimeout(c.ctx, sendMax)
	defer cancel()
	shard := wire.ShardOf(p.id, c.opts.Shards)
	task := asynq.NewTask(wire.TypeIngest, c.codec.Compress(p.text))
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
	queue := wire.IngestQueue(shard)
	var full error
	var asked sync.WaitGroup
	asked.Go(func() { full = c.room(ctx, shard) })
	if c.roomy(shard) { // the answer is for the next task: each wait is for Redis's present script
		defer asked.Wait()
	} else if asked.Wait(); full != nil {
		return full
	}
	primary, err := c.primary(ctx, queue)
	if err != nil {
		return err
	}
	_, err = c.queue.EnqueueContext(ctx, task, wire.TaskOptions(id, queue)...)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		err = nil // an earlier try of ours got through
	}
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	return c.fence(ctx, queue, primary)
}

// room asks how long a queue is: ErrQueueFull if it may take no more. While
// ClickHouse is away tasks fail and wait for their next try in other lists than those
// that nobody has tried: they fill Redis just as well.
func (c *Client) room(ctx context.Context, shard int) error {
	queue := wire.IngestQueue(shard)
	pipe := c.rdb.Pipeline() // one round trip, to one slot
	pending := pipe.LLen(ctx, wire.PendingKey(queue))
	retry, scheduled := pipe.ZCard(ctx, wire.RetryKey(queue)), pipe.ZCard(ctx, wire.ScheduledKey(queue))
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("ask for the queue's length: %w", err)
	}
	n := pending.Val() + retry.Val() + scheduled.Val()
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

// primary is the replication id of the queue's Redis, which another has that takes its
// place; "" where no replica is waited for.
func (c *Client) primary(ctx context.Context, queue string) (string, error) {
	if c.opts.Replicas == 0 {
		return "", nil
	}
	node, err := c.node(ctx, queue)
	if err != nil {
		return "", err
	}
	info, err := node.Info(ctx, "replication").Result()
	if err != nil {
		return "", fmt.Errorf("ask for the replication id: %w", err)
	}
	return replid(info), nil
}

func replid(info string) string {
	_, rest, _ := strings.Cut(info, "master_replid:")
	id, _, _ := strings.Cut(rest, "\r\n")
	return id
}

// node is the queue's: a cluster's client would send WAIT, and INFO, to any.
func (c *Client) node(ctx context.Context, queue string) (redis.UniversalClient, error) {
	cluster, ok := c.rdb.(*redis.ClusterClient)
	if !ok {
		return c.rdb, nil
	}
	node, err := cluster.MasterForKey(ctx, wire.PendingKey(queue))
	if err != nil {
		return nil, fmt.Errorf("find the queue's node: %w", err)
	}
	return node, nil
}

// fence waits for replicas: WAIT covers the writes of its own connection only,
// so a write to the queue's node goes with it. primary is who took the task: another
// may have neither it nor replicas that wait for it.
func (c *Client) fence(ctx context.Context, queue, primary string) error {
	if c.opts.Replicas == 0 {
		return nil
	}
	node, err := c.node(ctx, queue)
	if err != nil {
		return err
	}
	pipe := node.Pipeline()
	pipe.Set(ctx, wire.FenceKey(queue), 1, 0)
	info := pipe.Info(ctx, "replication")
	wait := pipe.Do(ctx, "WAIT", c.opts.Replicas, 2000)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("wait for replicas: %w", err)
	}
	if replid(info.Val()) != primary {
		return errors.New("redis failed over while replicas were waited for")
	}
	if n, err := wait.Int(); err != nil || n < c.opts.Replicas {
		return fmt.Errorf("only %d of %d replicas have the records", n, c.opts.Replicas)
	}
	return nil
}
