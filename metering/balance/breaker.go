package balance

import (
	"context"
	"fmt"
	"time"
)

// SetBreaker says how many accounts of a partition may be suspended within a
// minute before further ones are held back; 0: any number.
func (s *Store) SetBreaker(ctx context.Context, p int, meta *Meta, most int) error {
	if _, err := s.run(ctx, "breaker", []string{keyMeta(p)}, meta.Epoch, most); err != nil {
		return fmt.Errorf("set the breaker: %w", err)
	}
	return nil
}

// BreakerOpenSince tells since when a partition's breaker is open; zero: it is closed. ErrEmpty:
// without a projection only the ledger knows.
func (s *Store) BreakerOpenSince(ctx context.Context, p int) (time.Time, error) {
	v, err := s.rdb.HMGet(ctx, keyMeta(p), "brk", "epoch").Result()
	if err != nil {
		return time.Time{}, fmt.Errorf("read the breaker: %w", err)
	}
	if str(v[1]) == "" {
		return time.Time{}, ErrEmpty
	}
	if at := num(v[0]); at > 0 {
		return time.UnixMilli(at).UTC(), nil
	}
	return time.Time{}, nil
}

// ReleaseHeld has the suspensions of one parent's accounts that were held back
// take effect.
func (s *Store) ReleaseHeld(ctx context.Context, p int, meta *Meta, months Months, accounts []string) error {
	for start := 0; start < len(accounts); start += pushMax {
		args := months.append([]any{meta.Epoch, "0"})
		for _, id := range accounts[start:min(start+pushMax, len(accounts))] {
			args = append(args, id)
		}
		if _, err := s.run(ctx, "release", []string{keyMeta(p)}, args...); err != nil {
			return fmt.Errorf("release suspensions: %w", err)
		}
	}
	return nil
}

// CloseBreaker lets suspensions take effect again.
func (s *Store) CloseBreaker(ctx context.Context, p int, meta *Meta) error {
	if _, err := s.run(ctx, "release", []string{keyMeta(p)}, meta.Epoch, "1"); err != nil {
		return fmt.Errorf("close the breaker: %w", err)
	}
	return nil
}
