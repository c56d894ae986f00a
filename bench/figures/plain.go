package figures

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/hibiken/asynq"
)

// What a team would otherwise build on asynq: a task a record, a counter in
// Redis, nothing stored. It runs on the same Redis, with the same settings, and
// produces and consumes at once.

const plainQueue = "bench-plain"

type plainRecord struct {
	AccountID string `json:"account_id"`
	Units     int64  `json:"units,string"`
}

// plainAsynq returns its records a second.
func (s *system) plainAsynq(ctx context.Context, b *bench) (float64, error) {
	return s.plainWith(ctx, b.n(20_000, 5000), func(ctx context.Context, t *asynq.Task) error {
		var r plainRecord
		if err := json.Unmarshal(t.Payload(), &r); err != nil {
			return err
		}
		return s.redis.IncrBy(ctx, "bench:"+r.AccountID, r.Units).Err()
	})
}

// plainInserting stores each record with an insert of its own.
func (s *system) plainInserting(ctx context.Context, b *bench) (_ float64, err error) {
	conn, err := s.direct(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return s.plainWith(ctx, b.n(2000, 300), func(ctx context.Context, t *asynq.Task) error {
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO bench.plain (line)")
		if err != nil {
			return err
		}
		defer func() { _ = batch.Close() }()
		if err := batch.Append(string(t.Payload())); err != nil {
			return err
		}
		return batch.Send()
	})
}

// direct is clickhouse-go on its ClickHouse, with a table that writes through.
func (s *system) direct(ctx context.Context) (clickhouse.Conn, error) {
	conn, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{strings.TrimPrefix(s.info.ClickHouse, "http://")},
		Auth: clickhouse.Auth{Username: "default", Password: s.info.ClickHousePassword},
	})
	if err != nil {
		return nil, err
	}
	for _, q := range []string{
		"CREATE DATABASE IF NOT EXISTS bench",
		"CREATE TABLE IF NOT EXISTS bench.plain (line String) ENGINE = MergeTree ORDER BY line SETTINGS fsync_after_insert = 1",
	} {
		if err := conn.Exec(ctx, q); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// producers that enqueue at once, and tasks that are handled at once.
const (
	plainProducers = 8
	plainHandlers  = 32
)

func (s *system) plainWith(ctx context.Context, n int, handle func(context.Context, *asynq.Task) error) (float64, error) {
	var done atomic.Int64
	all, failed := make(chan struct{}), make(chan error, 1)
	server := asynq.NewServerFromRedisClient(s.redis, asynq.Config{
		Concurrency: plainHandlers, Queues: map[string]int{plainQueue: 1}, TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel,
	})
	began := time.Now()
	if err := server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		if err := handle(ctx, t); err != nil {
			select {
			case failed <- err:
			default:
			}
			return err
		}
		if done.Add(1) == int64(n) {
			close(all)
		}
		return nil
	})); err != nil {
		return 0, err
	}
	defer server.Shutdown()
	client := asynq.NewClientFromRedisClient(s.redis)
	lines := newLoad(9, subs(parents, each)).lines(n)
	errs := make(chan error, plainProducers)
	var wg sync.WaitGroup
	for p := range plainProducers {
		wg.Go(func() {
			for i := p; i < n; i += plainProducers {
				if _, err := client.EnqueueContext(ctx, asynq.NewTask("plain", lines[i]), asynq.Queue(plainQueue)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	case err := <-failed:
		return 0, err
	case <-all:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// directInsert is the upper limit of the store: clickhouse-go alone, large
// batches into a table like the ledger's, nothing else.
func (s *system) directInsert(ctx context.Context, n int) (_ float64, err error) {
	conn, err := s.direct(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS bench.records AS "+s.info.Database+".records"); err != nil {
		return 0, err
	}
	const batchRows = 60_000
	l := newLoad(10, subs(parents, each))
	ids, accounts := make([]string, batchRows), make([]string, batchRows)
	times, channels := make([]time.Time, batchRows), make([]string, batchRows)
	began := time.Now()
	for range max(n/batchRows, 1) {
		for i := range ids {
			ids[i], accounts[i] = l.id(), l.accounts[l.rnd.IntN(len(l.accounts))]
			times[i], channels[i] = l.until, "sms"
		}
		if err := insertColumns(ctx, conn, ids, accounts, times, channels); err != nil {
			return 0, err
		}
	}
	return float64(max(n/batchRows, 1)*batchRows) / time.Since(began).Seconds(), nil
}

func insertColumns(ctx context.Context, conn clickhouse.Conn, columns ...any) error {
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO bench.records (id, account_id, occurred_at, channel)")
	if err != nil {
		return err
	}
	defer func() { _ = batch.Close() }()
	for i, column := range columns {
		if err := batch.Column(i).Append(column); err != nil {
			return err
		}
	}
	return batch.Send()
}
