package wire

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Task types.
const (
	TypeIngest  = "usage:ingest"    // payload: records, see Encode
	TypeJudge   = "usage:judge"     // payload: a JudgeHeader and records
	TypeRefund  = "usage:refund"    // payload: records of kind refund
	TypeCorrect = "usage:correct"   // payload: a CorrectionHeader and Corrections
	TypeSuspend = "account:suspend" // payload: StateChange
	TypeResume  = "account:resume"  // payload: StateChange
	TypeAlert   = "account:alert"   // payload: Alert
	TypeBreaker = "account:breaker" // payload: Breaker
	TypeReport  = "report:run"      // payload: the report run's id
)

// Queues that aren't sharded.
const (
	QueueSuspensions = "suspensions"
	QueueRefunds     = "refunds" // refunds wait for their messages; they mustn't keep ingest's slots
	QueueReports     = "reports"
)

// IngestShards is how many ingest queues there are unless said otherwise: one
// asynq server dequeues at most about 7,000 tasks/s, and one of four polled by
// a server costs little.
const IngestShards = 4

// ShardsMax is the most ingest queues that there may be: workers look into all of
// them.
const ShardsMax = 256

// IngestQueue is the name of an ingest queue.
func IngestQueue(shard int) string { return "ingest-" + strconv.Itoa(shard) }

// IngestQueues are the names of so many ingest queues.
func IngestQueues(shards int) []string {
	out := make([]string, shards)
	for i := range out {
		out[i] = IngestQueue(i)
	}
	return out
}

// Holding are the names of the ingest queues from a shard on in which tasks are,
// whatever those wait for. An error is of some of them: the others are named.
func Holding(ctx context.Context, rdb redis.UniversalClient, from int) ([]string, error) {
	pipe := rdb.Pipeline()
	found := make([]*redis.IntCmd, ShardsMax)
	for shard := from; shard < ShardsMax; shard++ {
		q := IngestQueue(shard)
		found[shard] = pipe.Exists(ctx, PendingKey(q), ActiveKey(q), ScheduledKey(q), RetryKey(q))
	}
	_, err := pipe.Exec(ctx)
	if err != nil {
		err = fmt.Errorf("look which ingest queues hold tasks: %w", err)
	}
	var out []string
	for shard := from; shard < ShardsMax; shard++ {
		if found[shard].Val() > 0 {
			out = append(out, IngestQueue(shard))
		}
	}
	return out, err
}

// ShardOf spreads tasks by their id, so that a follow-up has a fixed place.
func ShardOf(task string, shards int) int {
	h := uint32(2166136261)
	for i := range len(task) {
		h = (h ^ uint32(task[i])) * 16777619
	}
	return int(h % uint32(max(shards, 1)))
}

// RunOf is the run that counts a task's outcome: what stands before the first
// "." of its id, "" where there is none.
func RunOf(task string) string {
	run, _, ok := strings.Cut(task, ".")
	if !ok {
		return ""
	}
	return run
}

// RunReplay begins the runs whose lines come out of the quarantine: what is refused of
// them has been there before.
const RunReplay = "replay-"

// endless: a task is tried again without end, each time later, up to half a
// minute (worker). So many tries take centuries.
const endless = 1 << 30

// TaskOptions are those of every task of ours: its id, its queue, no end to its retries.
func TaskOptions(task, queue string) []asynq.Option {
	return []asynq.Option{asynq.TaskID(task), asynq.Queue(queue), asynq.MaxRetry(endless), asynq.Timeout(30 * time.Minute)}
}

// StateChange is the payload of account:suspend and account:resume.
type StateChange struct {
	AccountID string `json:"account_id"`
	ParentID  string `json:"parent_id,omitempty"` // empty for a parent
	Epoch     int64  `json:"epoch"`
	Flags     uint16 `json:"flags"` // own, after the change
	Was       uint16 `json:"was"`   // own, before it
	At        int64  `json:"at"`    // ms
}

// LimitNoPrice is what an alert is about when a channel has no price.
const LimitNoPrice = "no_price"

// Alert is the payload of account:alert.
type Alert struct {
	AccountID string `json:"account_id"`
	ParentID  string `json:"parent_id,omitempty"`
	Limit     string `json:"limit"`             // wallet, budget, credit, monthly_limit; LimitNoPrice
	Channel   string `json:"channel,omitempty"` // that has no price
	Share     int    `json:"share"`             // percent
	Mark      string `json:"mark"`              // period, or number of the top-up
	Period    string `json:"period"`
	At        int64  `json:"at"` // ms
}

// Breaker is the payload of account:breaker: too many accounts would have been
// suspended within a minute.
type Breaker struct {
	AccountID string `json:"account_id"` // the first that was held back
	ParentID  string `json:"parent_id"`
	Most      int64  `json:"most"` // so many may be suspended within a minute
	At        int64  `json:"at"`   // ms
}

// judgeInfix makes a task's id that of a judge task of its: one for each of its
// partitions, which goes after it.
const judgeInfix = "~j"

// JudgeID names the judge task of a task in a partition.
func JudgeID(id string, p int) string { return id + judgeInfix + strconv.Itoa(p) }

// JudgedBy is the task whose duplicates a judge task has.
func JudgedBy(id string) (parent string, ok bool) {
	i := strings.LastIndex(id, judgeInfix)
	if i < 0 || strings.Trim(id[i+len(judgeInfix):], "0123456789") != "" {
		return "", false
	}
	return id[:i], true
}
