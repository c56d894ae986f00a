package balance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering"
)

// Reversal takes back the charge of a record that the ledger refused for good.
type Reversal struct {
	Line         int
	Account      string
	Parent       string
	PurseAccount string // as Item.PurseAccount
	Booked       string
	Amount       metering.Micros
}

// Settle turns the task's answer into a marker, once its rows are stored. It
// returns the outcome per line.
func (s *Store) Settle(ctx context.Context, p int, meta *Meta, task string, seq int64, reversed []Reversal, months map[string]Months) (string, error) {
	parents := map[string]int{}
	args := []any{meta.Epoch, task, seq, len(reversed), 0}
	for _, r := range reversed {
		if _, ok := parents[r.Parent]; !ok {
			parents[r.Parent] = len(parents) + 1
			args = months[r.Parent].append(append(args, r.Parent))
		}
	}
	args[4] = len(parents)
	for _, r := range reversed {
		args = append(args, r.Account, parents[r.Parent], r.PurseAccount, r.Booked, int64(r.Amount), r.Line)
	}
	v, err := s.run(ctx, "settle", []string{keyMeta(p), keyTask(p, task)}, args...)
	if err != nil {
		return "", err
	}
	return str(v[1]), nil
}

// Counts is the outcome of a task or of a run.
type Counts struct {
	Stored, Duplicates, Quarantined, Waiting int64
}

// Sum of the outcomes.
func (c Counts) Sum() int64 { return c.Stored + c.Duplicates + c.Quarantined + c.Waiting }

// Finished is what a task came to.
type Finished struct {
	Seq    int64  // the marker's, 0 where nothing was charged
	Run    string // "": nobody waits
	Counts Counts // of what it decided itself
	Judged Counts // of the duplicates that it judged
	// Reasons of Counts.Quarantined. They may say less: a later attempt doesn't know
	// why the one before it refused a line.
	Reasons    map[metering.Reason]int64
	HandedOver bool   // all of them went to its judge task
	Parent     string // of a judge task: whose duplicates it judges
}

// Finish marks the task done and counts its outcome for the run.
func (s *Store) Finish(ctx context.Context, p int, meta *Meta, task string, f *Finished) error {
	marker, handed := "", ""
	if f.Seq > 0 {
		marker = strconv.FormatInt(f.Seq, 10)
	}
	if f.HandedOver {
		handed = "1"
	}
	keys := []string{keyMeta(p), keyTask(p, task)}
	if f.Parent != "" {
		keys = append(keys, keyTask(p, f.Parent))
	}
	args := []any{
		meta.Epoch, task, f.Run, f.Counts.Stored, f.Counts.Duplicates, f.Counts.Quarantined,
		f.Counts.Waiting, marker, f.Judged.Duplicates, f.Judged.Quarantined, handed,
	}
	for _, reason := range slices.Sorted(maps.Keys(f.Reasons)) {
		if n := f.Reasons[reason]; n != 0 {
			args = append(args, string(reason), n)
		}
	}
	_, err := s.run(ctx, "finish", keys, args...)
	return err
}

// RunCounts is what the partitions have counted for a run.
func (s *Store) RunCounts(ctx context.Context, run string) (Counts, error) {
	var c Counts
	for p := range s.partitions {
		v, err := s.rdb.HGetAll(ctx, keyRun(p, run)).Result()
		if err != nil {
			return c, fmt.Errorf("read the run's counters: %w", err)
		}
		n := func(f string) int64 { x, _ := strconv.ParseInt(v[f], 10, 64); return x }
		c.Stored += n("stored")
		c.Duplicates += n("duplicates")
		c.Quarantined += n("quarantined")
		c.Waiting += n("waiting")
	}
	return c, nil
}

// RunReasons says of a run's quarantined lines how many there are of each reason. They
// may sum up to less (Finished.Reasons).
func (s *Store) RunReasons(ctx context.Context, run string) (map[metering.Reason]int64, error) {
	out := map[metering.Reason]int64{}
	for p := range s.partitions {
		v, err := s.rdb.HGetAll(ctx, keyRun(p, run)).Result()
		if err != nil {
			return nil, fmt.Errorf("read the run's counters: %w", err)
		}
		for field, n := range v {
			if reason, ok := strings.CutPrefix(field, "quarantined:"); ok {
				x, _ := strconv.ParseInt(n, 10, 64)
				out[metering.Reason(reason)] += x
			}
		}
	}
	return out, nil
}

// LowestOpen is the seq of the oldest open answer, 0 if none is open.
func (s *Store) LowestOpen(ctx context.Context, p int) (int64, error) {
	z, err := s.rdb.ZRangeWithScores(ctx, keyOpen(p), 0, 0).Result()
	if err != nil {
		return 0, fmt.Errorf("read open answers: %w", err)
	}
	if len(z) == 0 {
		return 0, nil
	}
	return int64(z[0].Score), nil
}

// WaitSettled waits until no answer with a seq ≤ upTo is open, at most for
// patience. It tells whether that came about. Many may wait at once: they share
// their looks at Redis. Who has waited long looks more seldom.
func (s *Store) WaitSettled(ctx context.Context, p int, upTo int64, patience time.Duration) (bool, error) {
	step := 3 * time.Millisecond
	timer := time.NewTimer(step)
	defer timer.Stop()
	for waited := time.Duration(0); ; waited += step {
		low, err := s.looks[p].low(ctx, func(ctx context.Context) (int64, error) { return s.LowestOpen(ctx, p) })
		if err != nil {
			return false, err
		}
		if low == 0 || low > upTo {
			return true, nil
		}
		if waited >= patience {
			return false, nil
		}
		step = max(step, waited/16)
		timer.Reset(step)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// look joins those who ask for the same figure at the same time. Who joins gets
// an answer that was asked for after it joined: an older one may be outdated.
type look struct {
	mu   sync.Mutex
	now  *round // being asked
	next *round // to be asked when that is done
}

type round struct {
	done chan struct{}
	low  int64
	err  error
}

func (l *look) low(ctx context.Context, ask func(context.Context) (int64, error)) (int64, error) {
	l.mu.Lock()
	r, leads := l.next, false
	if r == nil {
		r, leads = &round{done: make(chan struct{})}, true
		l.next = r
	}
	before := l.now
	l.mu.Unlock()
	if leads {
		if before != nil {
			<-before.done // one question to Redis: bounded by its timeouts
		}
		l.mu.Lock()
		l.now, l.next = r, nil
		l.mu.Unlock()
		r.low, r.err = ask(context.WithoutCancel(ctx)) // others wait for it too
		close(r.done)
		return r.low, r.err
	}
	select {
	case <-r.done:
		return r.low, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// OpenAnswer is one that waits for its rows.
type OpenAnswer struct {
	Task string
	Seq  int64
}

// OpenAnswers are those that are open up to a seq (0: all), oldest first.
func (s *Store) OpenAnswers(ctx context.Context, p int, upTo int64) ([]OpenAnswer, error) {
	return s.OldestOpen(ctx, p, upTo, 0)
}

// OldestOpen are so many of them (0: all).
func (s *Store) OldestOpen(ctx context.Context, p int, upTo, most int64) ([]OpenAnswer, error) {
	last := "+inf"
	if upTo > 0 {
		last = strconv.FormatInt(upTo, 10)
	}
	z, err := s.rdb.ZRangeByScoreWithScores(ctx, keyOpen(p), &redis.ZRangeBy{Min: "-inf", Max: last, Count: most}).Result()
	if err != nil {
		return nil, fmt.Errorf("read open answers: %w", err)
	}
	out := make([]OpenAnswer, 0, len(z))
	for _, e := range z {
		task, _ := e.Member.(string)
		out = append(out, OpenAnswer{Task: task, Seq: int64(e.Score)})
	}
	return out, nil
}

// OpenSince is when the open answer that has been left alone for longest was charged or
// last asked for, by Redis's clock; so many of the oldest are looked at. Zero: none is
// open.
func (s *Store) OpenSince(ctx context.Context, p int, most int64) (time.Time, error) {
	open, err := s.OldestOpen(ctx, p, 0, most)
	if err != nil || len(open) == 0 {
		return time.Time{}, err
	}
	pipe := s.rdb.Pipeline()
	asked := make([]*redis.StringCmd, len(open))
	for i, a := range open {
		asked[i] = pipe.HGet(ctx, keyTask(p, a.Task), "at")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return time.Time{}, fmt.Errorf("read open answers: %w", err)
	}
	var first time.Time
	for _, cmd := range asked {
		ms, err := cmd.Int64()
		if err != nil {
			continue // it has settled meanwhile
		}
		if at := time.UnixMilli(ms).UTC(); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first, nil
}

// Lost tells whether an answer that is listed as open is gone: no script does
// that, and nothing else would ever settle it.
func (s *Store) Lost(ctx context.Context, p int, a OpenAnswer) (bool, error) {
	state, err := s.rdb.HGet(ctx, keyTask(p, a.Task), "k").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("read an open answer: %w", err)
	}
	if state == "o" {
		return false, nil
	}
	// It may have settled between the two looks: then it is listed no more.
	seq := strconv.FormatInt(a.Seq, 10)
	listed, err := s.rdb.ZRangeByScoreWithScores(ctx, keyOpen(p), &redis.ZRangeBy{Min: seq, Max: seq}).Result()
	if err != nil {
		return false, fmt.Errorf("read open answers: %w", err)
	}
	return slices.ContainsFunc(listed, func(z redis.Z) bool { return z.Member == a.Task }), nil
}

// GiveUp ends an answer that has been open for at least age and has no task.
// ErrGone: it isn't such a one.
func (s *Store) GiveUp(ctx context.Context, p int, meta *Meta, a OpenAnswer, age time.Duration) error {
	_, err := s.run(ctx, "giveup", []string{keyMeta(p), keyTask(p, a.Task)}, meta.Epoch, a.Task, a.Seq, age.Milliseconds())
	return err
}

// sweepMax bounds the generations that one sweep removes; one lasts about a day.
const sweepMax = 50

// SweepDedup removes the sets of generations that no script asks any more, from
// where the last sweep came to: by the partition's own count, for clocks differ.
func (s *Store) SweepDedup(ctx context.Context, p int, meta *Meta) error {
	v, err := s.rdb.HMGet(ctx, keyMeta(p), "gen", "swept").Result()
	if err != nil {
		return fmt.Errorf("look for old dedup sets: %w", err)
	}
	gen, from := num(v[0]), meta.EpochStartedAt.Unix()/meta.generation()
	if swept := num(v[1]); swept < gen { // else generations lasted less long then
		from = max(from, swept)
	}
	to := min(gen-1, from+sweepMax)
	if from >= to {
		return nil
	}
	for old := from; old < to; old++ {
		keys := make([]string, 0, meta.Buckets)
		for b := range meta.Buckets {
			keys = append(keys, keyDedup(p, old, b))
		}
		if err := s.rdb.Unlink(ctx, keys...).Err(); err != nil {
			return fmt.Errorf("remove old dedup sets: %w", err)
		}
	}
	if err := s.rdb.HSet(ctx, keyMeta(p), "swept", to).Err(); err != nil {
		return fmt.Errorf("note which dedup sets are removed: %w", err)
	}
	return nil
}
