package balance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Fact is one entry of the outbox: a change of state, a transfer, an alert.
type Fact struct {
	ID     string // of the stream
	Fields map[string]string
}

// Facts reads the oldest n that haven't been relayed.
func (s *Store) Facts(ctx context.Context, p, n int) ([]Fact, error) {
	msgs, err := s.rdb.XRangeN(ctx, keyOutbox(p), "-", "+", int64(n)).Result()
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	out := make([]Fact, 0, len(msgs))
	for _, m := range msgs {
		f := Fact{ID: m.ID, Fields: make(map[string]string, len(m.Values))}
		for k, v := range m.Values {
			f.Fields[k] = str(v)
		}
		out = append(out, f)
	}
	return out, nil
}

// AwaitFact returns once the outbox of a partition holds a fact, after d, or once rdb
// is closed.
func AwaitFact(ctx context.Context, rdb redis.UniversalClient, p int, d time.Duration) error {
	err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{keyOutbox(p), "0"}, Count: 1, Block: d}).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("wait for the outbox: %w", err)
	}
	return nil
}

// Relayed removes facts that stand in the ledger and the queue.
func (s *Store) Relayed(ctx context.Context, p int, facts []Fact) error {
	ids := make([]string, len(facts))
	for i, f := range facts {
		ids[i] = f.ID
	}
	if err := s.rdb.XDel(ctx, keyOutbox(p), ids...).Err(); err != nil {
		return fmt.Errorf("trim the outbox: %w", err)
	}
	return nil
}

// ClosingLease is the lease of whoever closes a parent's month, or looks at a
// closed one.
func ClosingLease(parent string) string { return "close:" + parent }

// ClosingSilence is how long its holder may be silent before another goes on.
const ClosingSilence = 30 * time.Second

// Lease takes a lease under a token, or keeps it; false if another holds it.
func (s *Store) Lease(ctx context.Context, p int, name, token string, d time.Duration) (bool, error) {
	return s.lease(ctx, p, name, token, d, "take")
}

func (s *Store) lease(ctx context.Context, p int, name, token string, d time.Duration, what string) (bool, error) {
	v, err := s.run(ctx, "lease", []string{keyMeta(p), keyLease(p, name)}, token, d.Milliseconds(), what)
	if err != nil {
		return false, fmt.Errorf("%s lease %s: %w", what, name, err)
	}
	return str(v[0]) == "ok", nil
}

// WhileHeld runs f while it keeps a lease that the token holds, and gives it
// back. f's context ends with ErrMoved when the lease is found to be another's, or
// can't be kept before it is over. A Redis that has lost it says so late, so f's last
// step must be harmless then.
func (s *Store) WhileHeld(ctx context.Context, p int, name, token string, d time.Duration, f func(ctx context.Context) error) error {
	held, stop := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(d / 3)
		defer tick.Stop()
		failed := 0
		for {
			select {
			case <-tick.C:
				keeping, cancel := context.WithTimeout(held, d/3)
				ok, err := s.lease(keeping, p, name, token, d, "keep")
				cancel()
				switch {
				case err != nil:
					if failed++; failed > 1 { // it is over by the next
						stop(fmt.Errorf("lease %s can't be kept: %w: %w", name, ErrMoved, err))
					}
				case !ok:
					stop(fmt.Errorf("lease %s: %w", name, ErrMoved))
				default:
					failed = 0
				}
			case <-held.Done():
				return
			}
		}
	}()
	err := f(held)
	stop(nil)
	<-ended
	return errors.Join(err, s.Release(context.WithoutCancel(ctx), p, name, token))
}

// Release gives a lease back if the token still holds it.
func (s *Store) Release(ctx context.Context, p int, name, token string) error {
	_, err := s.lease(ctx, p, name, token, 0, "give")
	return err
}
