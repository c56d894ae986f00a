package balance

import (
	"context"
	"fmt"
	"time"
)

// hookKept is how long it is known what a hook was told, from when it was last
// asked for: longer than any task of the same thing may come again, and than a
// period of alerts.
const hookKept = 35 * 24 * time.Hour

// Told is what a hook, or a mail address, knows of an account.
type Told struct {
	Epoch int64  // the newest that it was told; 1 of what has none
	What  string // and what
	Tries int    // that failed since
	Row   string // an outcome that isn't in the ledger yet
}

// HookTold reads it under a key that names account and hook.
func (s *Store) HookTold(ctx context.Context, p int, whose string) (Told, error) {
	pipe := s.rdb.Pipeline()
	read := pipe.HMGet(ctx, keyHook(p, whose), "epoch", "told", "tries", "row")
	pipe.Expire(ctx, keyHook(p, whose), hookKept)
	if _, err := pipe.Exec(ctx); err != nil {
		return Told{}, fmt.Errorf("read what a hook was told: %w", err)
	}
	v := read.Val()
	return Told{Epoch: num(v[0]), What: str(v[1]), Tries: int(num(v[2])), Row: str(v[3])}, nil
}

// SetHookTold keeps it; row is its outcome, until HookWritten. What it knows by
// now, if that is newer, stays.
func (s *Store) SetHookTold(ctx context.Context, p int, whose string, epoch int64, what, row string) error {
	if _, err := s.run(ctx, "told", []string{keyMeta(p), keyHook(p, whose)}, epoch, what, row, int64(hookKept/time.Second)); err != nil {
		return fmt.Errorf("keep what a hook was told: %w", err)
	}
	return nil
}

// HookFailed counts a try that failed.
func (s *Store) HookFailed(ctx context.Context, p int, whose, row string) error {
	pipe := s.rdb.Pipeline()
	pipe.HIncrBy(ctx, keyHook(p, whose), "tries", 1)
	if row != "" {
		pipe.HSet(ctx, keyHook(p, whose), "row", row)
	}
	pipe.Expire(ctx, keyHook(p, whose), hookKept)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("count a hook's try: %w", err)
	}
	return nil
}

// HookWritten says that the outcome is in the ledger.
func (s *Store) HookWritten(ctx context.Context, p int, whose string) error {
	if err := s.rdb.HDel(ctx, keyHook(p, whose), "row").Err(); err != nil {
		return fmt.Errorf("note that a hook's outcome is kept: %w", err)
	}
	return nil
}

// panicsKept is how long a task's panics are remembered.
const panicsKept = 24 * time.Hour

// Panicked counts a task's panics, and returns how many there were.
func (s *Store) Panicked(ctx context.Context, task string) (int, error) {
	pipe := s.rdb.Pipeline()
	n := pipe.Incr(ctx, keyPanics(task))
	pipe.Expire(ctx, keyPanics(task), panicsKept)
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count a panic: %w", err)
	}
	return int(n.Val()), nil
}
