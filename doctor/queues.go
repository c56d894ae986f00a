package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker"
)

// errBroken: the breaker holds suspensions back.
var errBroken = errors.New("open, new suspensions are held back: see `meterd breaker show`")

// projection looks at each partition, at the queues, and at who serves them.
func (s *System) projection(ctx context.Context, f *findings) {
	for p := range s.Store.Partitions() {
		m, err := s.Store.Meta(ctx, p)
		detail := ""
		if err == nil {
			var replid string
			if replid, err = s.Store.Replid(ctx, p); err == nil && replid != m.Replid {
				err = balance.ErrReplid
				if m.Lost != "" {
					err = balance.ErrLost
				}
			}
			detail = fmt.Sprintf("epoch %d", m.Epoch)
		}
		f.add(fmt.Sprintf("projection %d", p), err, detail)
		if at, err := s.Store.BreakerOpenSince(ctx, p); err == nil && !at.IsZero() {
			f.add(fmt.Sprintf("breaker %d", p), errBroken, "")
		}
	}
	detail, err := queues(ctx, s.Redis)
	f.add("queues", err, detail)
	s.workers(ctx, f)
}

// accounts looks for accounts that a projection has lost: a gate refuses them, or, of a
// parent, all of its own.
func (s *System) accounts(ctx context.Context) (string, error) {
	snap, err := s.Ledger.Snapshot(ctx)
	if err != nil {
		return "", err
	}
	var lost []string
	for p := range s.Store.Partitions() {
		meta, err := s.Store.Meta(ctx, p)
		if err != nil {
			continue // which stands above
		}
		ids, err := s.Store.LostAccounts(ctx, p, meta, snap)
		if err != nil {
			return "", err
		}
		lost = append(lost, ids...)
	}
	if n := len(lost); n > 0 {
		return "", fmt.Errorf("redis has lost %d of %d, %s: `meterd reconcile` brings them back; look for who removes keys", n, len(snap.Accounts), some(lost))
	}
	return fmt.Sprintf("redis has all %d", len(snap.Accounts)), nil
}

// someMax is how many names an answer has.
const someMax = 3

func some(names []string) string {
	if more := len(names) - someMax; more > 0 {
		return strings.Join(names[:someMax], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// taskOldest is how long the oldest task of a queue may wait.
const taskOldest = 5 * time.Minute

// queues makes sure that a worker serves each ingest queue in which tasks lie, that
// none lies there for long, and that none was given up.
func queues(ctx context.Context, rdb redis.UniversalClient) (string, error) {
	held, err := wire.Holding(ctx, rdb, 0)
	if err != nil {
		return "", err
	}
	var unserved []string
	if len(held) > 0 {
		servers, err := asynq.NewInspectorFromRedisClient(rdb).Servers()
		if err != nil {
			return "", fmt.Errorf("ask which queues are served: %w", err)
		}
		unserved = slices.DeleteFunc(slices.Clone(held), func(q string) bool {
			return slices.ContainsFunc(servers, func(s *asynq.ServerInfo) bool { return s.Queues[q] > 0 })
		})
	}
	if len(unserved) > 0 {
		return "", fmt.Errorf("tasks lie in %s, which no worker serves: start a worker of the role ingest; one that runs finds them within seconds", strings.Join(unserved, ", "))
	}
	var all []string
	for _, q := range append(held, wire.QueueRefunds, wire.QueueSuspensions, wire.QueueReports) {
		waiting, err := queue(ctx, rdb, q)
		if err != nil {
			return "", err
		}
		if waiting != "" {
			all = append(all, waiting)
		}
	}
	if len(all) == 0 {
		return "empty", nil
	}
	return "served: " + strings.Join(all, ", "), nil
}

// queue says how many tasks wait in a queue, "" for none.
func queue(ctx context.Context, rdb redis.UniversalClient, q string) (string, error) {
	pipe := rdb.Pipeline()
	now := rdb.Time(ctx)
	pending, again, given := pipe.LLen(ctx, wire.PendingKey(q)), pipe.ZCard(ctx, wire.RetryKey(q)), pipe.ZCard(ctx, wire.ArchivedKey(q))
	oldest := pipe.LIndex(ctx, wire.PendingKey(q), -1)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("look at queue %s: %w", q, err)
	}
	if n := given.Val(); n > 0 {
		return "", fmt.Errorf("%d tasks of queue %s were given up, and nobody tries them again: look at them, and put them back (asynq's task run)", n, q)
	}
	if id := oldest.Val(); id != "" {
		since, err := rdb.HGet(ctx, wire.TaskKey(q, id), "pending_since").Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return "", fmt.Errorf("look at queue %s: %w", q, err)
		}
		if ns, err := strconv.ParseInt(since, 10, 64); err == nil {
			if age := now.Val().Sub(time.Unix(0, ns)); age > taskOldest {
				return "", fmt.Errorf("the oldest of %d tasks of queue %s has waited for %s: more comes than the workers take, or they hang: look at their logs, start more", pending.Val(), q, age.Round(time.Second))
			}
		}
	}
	if pending.Val()+again.Val() == 0 {
		return "", nil
	}
	text := fmt.Sprintf("%s (%d wait", q, pending.Val())
	if again.Val() > 0 {
		text += fmt.Sprintf(", %d to be tried again", again.Val())
	}
	return text + ")", nil
}

// workers makes sure that each role is had by one that lives, and that none lacks a
// secret.
func (s *System) workers(ctx context.Context, f *findings) {
	beats, err := worker.Beats(ctx, s.Redis)
	if err != nil {
		f.add("workers", err, "")
		return
	}
	for _, role := range worker.Roles() {
		detail, err := serving(beats, role)
		f.add("role "+role, err, detail)
	}
	var lacks []string
	for _, b := range beats {
		if b.Lives() {
			lacks = append(lacks, b.Lacks...)
		}
	}
	slices.Sort(lacks)
	err = nil
	if lacks = slices.Compact(lacks); len(lacks) > 0 {
		err = errors.New(strings.Join(lacks, "; "))
	}
	f.add("webhook secrets", err, "workers have those that they need")
}

// Serving is an error if no live worker has a role.
func Serving(ctx context.Context, rdb redis.UniversalClient, role string) error {
	beats, err := worker.Beats(ctx, rdb)
	if err != nil {
		return err
	}
	_, err = serving(beats, role)
	return err
}

func serving(beats []worker.Beat, role string) (string, error) {
	var live, silent []string
	for _, b := range beats {
		switch {
		case !slices.Contains(b.Roles, role):
		case b.Lives():
			live = append(live, b.Name())
		default:
			silent = append(silent, fmt.Sprintf("%s was last heard of %s ago", b.Name(), b.Silent.Round(time.Second)))
		}
	}
	if len(live) > 0 {
		return strings.Join(live, "; "), nil
	}
	text := "no worker has it: start `meterd up`, or `meterd worker --roles " + role + "`"
	if len(silent) > 0 {
		text += " (" + strings.Join(silent, "; ") + ")"
	}
	return "", errors.New(text)
}
