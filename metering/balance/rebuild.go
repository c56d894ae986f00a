package balance

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering"
)

// Clear ends a partition's projection: every script refuses from the first
// step on. The counters of runs stay.
func (s *Store) Clear(ctx context.Context, p int) error {
	err := s.home(ctx, p, func(node redis.UniversalClient) error {
		if err := node.Del(ctx, keyMeta(p)).Err(); err != nil {
			return err
		}
		for _, kind := range []string{":t:*", ":a:*", ":d:*", ":r:*"} {
			if err := unlink(ctx, node, tag(p)+kind); err != nil {
				return fmt.Errorf("remove %s: %w", kind, err)
			}
		}
		return node.Unlink(ctx, keyOpen(p), keyOutbox(p)).Err()
	})
	if err != nil {
		return fmt.Errorf("end the projection: %w", err)
	}
	return nil
}

// unlink removes the keys of one node that fit a pattern.
func unlink(ctx context.Context, c redis.UniversalClient, pattern string) error {
	it := c.Scan(ctx, 0, pattern, 1000).Iterator()
	batch := make([]string, 0, 500)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := c.Unlink(ctx, batch...).Err()
		batch = batch[:0]
		return err
	}
	for it.Next(ctx) {
		if batch = append(batch, it.Val()); len(batch) == cap(batch) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	return flush()
}

// Loaded is an account as the ledger has it.
type Loaded struct {
	Account       *metering.Account
	Balance       metering.Micros
	Used          map[string]metering.Micros
	Flags         metering.Flags // that are in effect: the manual ones, all where the breaker is open
	Silent        bool           // never moved: stays suspended from birth, untold
	ClosedThrough string         // parent: newest closed period
}

// Load writes it. The projection isn't in use yet.
func (s *Store) Load(ctx context.Context, p int, l *Loaded) error {
	quiet := "2" // told once more if it isn't active
	if l.Silent {
		quiet = "1"
	}
	v := liveOf(l.Account)
	args := []any{
		"par", v.Parent, "mode", v.Mode, "src", v.Source, "lim", v.Limit, "ceil", v.Ceil, "alerts", v.Alerts,
		"obs", v.Observe, "ch", v.Channels, "pr", v.Priced, "closed", v.Closed, "cat", v.Catalog,
		"bal", int64(l.Balance), "f", int(l.Flags), "n", 0, "quiet", quiet, "thr", l.ClosedThrough,
	}
	for period, used := range l.Used {
		args = append(args, "u:"+period, int64(used))
	}
	if err := s.rdb.HSet(ctx, keyAccount(p, v.ID), args...).Err(); err != nil {
		return fmt.Errorf("load an account: %w", err)
	}
	return nil
}

// LoadRef writes a used reference.
func (s *Store) LoadRef(ctx context.Context, p int, ref string, fields map[string]string) error {
	args := make([]any, 0, 2*len(fields))
	for k, v := range fields {
		args = append(args, k, v)
	}
	if err := s.rdb.HSet(ctx, keyRef(p, ref), args...).Err(); err != nil {
		return fmt.Errorf("load a reference: %w", err)
	}
	return nil
}

// NewProjection is what install.lua takes.
type NewProjection struct {
	Token   string // of the rebuild's lease
	Epoch   int64
	Catalog int64
	Window  time.Duration
	Buckets int
	Key     string        // hex
	Floor   time.Duration // from now; 0: none
	Broken  time.Time     // since when the breaker is open; zero: it is closed
}

// Install makes the loaded projection usable. ErrMoved: the lease was lost, or
// another projection stands.
func (s *Store) Install(ctx context.Context, p int, n NewProjection) error {
	floor := ""
	if n.Floor > 0 {
		floor = strconv.FormatInt(n.Floor.Milliseconds(), 10)
	}
	broken := ""
	if !n.Broken.IsZero() {
		broken = strconv.FormatInt(n.Broken.UnixMilli(), 10)
	}
	v, err := s.run(ctx, "install", []string{keyMeta(p), keyLease(p, "rebuild")},
		n.Token, n.Epoch, n.Catalog, n.Window.Milliseconds(), n.Buckets, n.Key, floor, broken)
	if err != nil {
		return fmt.Errorf("install the projection: %w", err)
	}
	if str(v[0]) == "lost" {
		return fmt.Errorf("install the projection: %w", ErrMoved)
	}
	return nil
}
