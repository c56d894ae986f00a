package wire

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// asynq's own keys, of its version 0.26: all that is known of them is here.

func key(queue, what string) string { return "asynq:{" + queue + "}:" + what }

// PendingKey is the list of a queue's tasks that nobody has in hand and that may be
// taken now.
func PendingKey(queue string) string { return key(queue, "pending") }

// ActiveKey is the list of a queue's tasks that a worker has in hand.
func ActiveKey(queue string) string { return key(queue, "active") }

// LeaseKey is the set of those by when their leases end, Unix seconds.
func LeaseKey(queue string) string { return key(queue, "lease") }

// RetryKey is the set of a queue's tasks that failed and wait for their next try, by
// when that is.
func RetryKey(queue string) string { return key(queue, "retry") }

// ScheduledKey is the set of a queue's tasks that wait for their first try, by when
// that is.
func ScheduledKey(queue string) string { return key(queue, "scheduled") }

// ArchivedKey is the set of a queue's tasks that nobody tries again.
func ArchivedKey(queue string) string { return key(queue, "archived") }

// TaskKey is a task's hash.
func TaskKey(queue, task string) string { return taskPrefix(queue) + task }

func taskPrefix(queue string) string { return key(queue, "t:") }

// FenceKey is written behind a task, to wait until replicas have it.
func FenceKey(queue string) string { return key(queue, "meterd:fence") }

//go:embed requeue.lua
var requeueSource string

// Requeue takes tasks of a queue back that a worker has in hand: those whose lease has
// been over for some time, or all. It returns how many.
func Requeue(ctx context.Context, rdb redis.UniversalClient, queue string, over time.Duration, all bool) (int, error) {
	seconds := ""
	if !all {
		seconds = fmt.Sprint(int(over.Seconds()))
	}
	n, err := redis.NewScript(requeueSource).Run(ctx, rdb, []string{ActiveKey(queue), LeaseKey(queue), PendingKey(queue)}, taskPrefix(queue), seconds).Int()
	if err != nil {
		return 0, fmt.Errorf("take tasks back in queue %s: %w", queue, err)
	}
	return n, nil
}

//go:embed promote.lua
var promoteSource string

// Promote brings tasks, if they wait in a queue, to its head in their order.
func Promote(ctx context.Context, rdb redis.UniversalClient, queue string, tasks []string) error {
	args := make([]any, 1, 1+len(tasks))
	args[0] = taskPrefix(queue)
	for _, t := range tasks {
		args = append(args, t)
	}
	if err := redis.NewScript(promoteSource).Run(ctx, rdb, []string{PendingKey(queue), RetryKey(queue)}, args...).Err(); err != nil {
		return fmt.Errorf("promote tasks: %w", err)
	}
	return nil
}

//go:embed recall.lua
var recallSource string

// recallPage bounds what one script does: Redis serves nobody else meanwhile.
const recallPage = 1000

// Recall has all tasks of a queue that wait for their next try come at once. It returns
// how many.
func Recall(ctx context.Context, rdb redis.UniversalClient, queue string) (int64, error) {
	most, err := rdb.ZCard(ctx, RetryKey(queue)).Result() // those that fail again meanwhile stay
	if err != nil {
		return 0, fmt.Errorf("count the tasks that wait in queue %s: %w", queue, err)
	}
	script := redis.NewScript(recallSource)
	for left := most; left > 0; left -= recallPage {
		if err := script.Run(ctx, rdb, []string{RetryKey(queue), PendingKey(queue)}, taskPrefix(queue), min(left, recallPage)).Err(); err != nil {
			return 0, fmt.Errorf("bring tasks back in queue %s: %w", queue, err)
		}
	}
	return most, nil
}

//go:embed backlog.lua
var backlogSource string

// Backlog tells whether records may have been in a queue for longer than age, or be
// worked on since the last look, which returned before; and tasks, so many of each
// list, that are there now.
func Backlog(ctx context.Context, rdb redis.UniversalClient, queue string, age time.Duration, most int, before []any) (busy bool, tasks []any, err error) {
	keys := []string{PendingKey(queue), RetryKey(queue), LeaseKey(queue), ActiveKey(queue), ScheduledKey(queue)}
	answer, err := redis.NewScript(backlogSource).Run(ctx, rdb, keys, append([]any{taskPrefix(queue), age.Milliseconds(), most}, before...)...).Slice()
	if err != nil {
		return false, nil, fmt.Errorf("look for records in queue %s: %w", queue, err)
	}
	if len(answer) == 2 {
		tasks, _ = answer[1].([]any)
	}
	return len(answer) == 2 && answer[0] == int64(1), tasks, nil
}

//go:embed queue.lua
var queueSource string

// followedMax bounds the tasks of a queue that are followed from when a worker took
// them, and askedMax those that nobody has taken and that are asked for their age: a
// look costs Redis about a millisecond, however long the queue is. asynq takes
// the oldest first, so those at its end tell the age of all.
const (
	followedMax = 1000
	askedMax    = 100
)

// Held is what a queue holds.
type Held struct {
	Tasks  map[string]int64 // by state: pending, active, scheduled, retry
	Oldest time.Duration    // age of the oldest
}

// Look into a queue. The age of a task that nobody has taken is exact. One that a worker
// has taken counts from the first look that found it taken, not from its
// enqueueing, and those beyond followedMax aren't known: it is never too old.
func Look(ctx context.Context, rdb redis.UniversalClient, queue string) (Held, error) {
	keys := []string{PendingKey(queue), ActiveKey(queue), ScheduledKey(queue), RetryKey(queue), key(queue, "meterd:seen")}
	v, err := redis.NewScript(queueSource).Run(ctx, rdb, keys, taskPrefix(queue), followedMax, askedMax).Int64Slice()
	if err != nil {
		return Held{}, fmt.Errorf("count the tasks of queue %s: %w", queue, err)
	}
	if len(v) != 5 {
		return Held{}, fmt.Errorf("count the tasks of queue %s: %d figures instead of 5", queue, len(v))
	}
	return Held{
		Tasks:  map[string]int64{"pending": v[0], "active": v[1], "scheduled": v[2], "retry": v[3]},
		Oldest: time.Duration(v[4]) * time.Millisecond,
	}, nil
}

// IdleWait is how long an empty queue or outbox is waited for in one call, and so
// about how long it takes until it is noticed that Redis has gone without a word.
// go-redis waits whole seconds.
const IdleWait = 5 * time.Second
