package balance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// fits tells whether a projection of so many partitions is the store's. One that
// doesn't say (0) was made before the number was kept.
func (s *Store) fits(made int) error {
	if made == 0 || made == s.partitions {
		return nil
	}
	return &PartitionsError{Made: made, Asked: s.partitions}
}

// Fits returns *PartitionsError if the projection was made for another number of
// partitions, *LedgerError if from another ledger: partition 0, which there always
// is, tells it for all.
func (s *Store) Fits(ctx context.Context) error {
	_, err := s.Meta(ctx, 0)
	if errors.Is(err, ErrEmpty) {
		return nil
	}
	return err
}

// KeepNumber notes the number of partitions where meta doesn't say it yet. The
// first holds: read it again.
func (s *Store) KeepNumber(ctx context.Context, p int) error {
	if err := s.rdb.HSetNX(ctx, keyMeta(p), "parts", s.partitions).Err(); err != nil {
		return fmt.Errorf("note the number of partitions: %w", err)
	}
	return nil
}

// DropOthers removes every key of partitions beyond the store's number, which a
// larger one has left; it may run again. First what lets their scripts run.
func (s *Store) DropOthers(ctx context.Context) error {
	for _, pattern := range []string{"{p*}:meta", "{p*}:*"} {
		if s.cluster == nil {
			if err := s.dropOthers(ctx, s.rdb, pattern); err != nil {
				return err
			}
			continue
		}
		if err := s.cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return s.dropOthers(ctx, node, pattern)
		}); err != nil {
			return err
		}
	}
	return nil
}

// dropOthers removes those of a node.
func (s *Store) dropOthers(ctx context.Context, node redis.UniversalClient, pattern string) error {
	err := eachKeys(ctx, node, pattern, func(keys []string) error {
		_, err := s.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, key := range keys { // one by one: they are of many slots
				if p, ok := partitionIn(key); ok && p >= s.partitions {
					pipe.Unlink(ctx, key)
				}
			}
			return nil
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("remove what another number of partitions has left: %w", err)
	}
	return nil
}

// partitionIn a key's tag.
func partitionIn(key string) (int, bool) {
	name, _, _ := strings.Cut(strings.TrimPrefix(key, "{p"), "}")
	p, err := strconv.Atoi(name)
	return p, err == nil && p >= 0 && strings.HasPrefix(key, tag(p)+":")
}
