package balance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Whole returns keys with one more, of the same slot, that never exists. A slot
// on its way to another node holds some of its keys here and some there, and a
// script sees only those that it names: with this one among them Redis refuses
// the whole script (TRYAGAIN) until the slot has arrived, instead of running it
// on a part, or half of it. On a single Redis it changes nothing.
func Whole(keys []string) []string {
	return append(slices.Clip(keys), keys[0]+":never")
}

// infoSource asks the node that a key leads to: INFO itself goes to any node.
const infoSource = "return redis.call('INFO', 'replication')"

// Replid is the replication id, now, of the Redis that holds the partition.
func (s *Store) Replid(ctx context.Context, p int) (string, error) {
	var info string
	var err error
	if s.cluster == nil {
		info, err = s.rdb.Info(ctx, "replication").Result()
	} else {
		info, err = s.cluster.Eval(ctx, infoSource, Whole([]string{keyMeta(p)})).Text()
	}
	if err != nil {
		return "", fmt.Errorf("ask redis for its replication id: %w", err)
	}
	return replidOf(info, p)
}

func replidOf(info string, p int) (string, error) {
	for line := range strings.SplitSeq(info, "\n") {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "master_replid:"); ok {
			return id, nil
		}
	}
	return "", fmt.Errorf("redis names no master_replid: is partition %d's node a Redis 4 or newer?", p)
}

// errSlot: a partition's slot is on its way, or its client doesn't know yet
// where it is. It passes by itself.
var errSlot = errors.New("the partition's slot has moved: try again")

// home calls f with a client of the node that holds all of a partition, for
// commands that no key leads there. errSlot: the partition moved meanwhile, or
// isn't where the client's map of the cluster says.
func (s *Store) home(ctx context.Context, p int, f func(redis.UniversalClient) error) error {
	if s.cluster == nil {
		return f(s.rdb)
	}
	node, err := s.cluster.MasterForKey(ctx, keyMeta(p))
	if err != nil {
		return fmt.Errorf("find the node of partition %d: %w", p, err)
	}
	same := func() error {
		info, err := node.Info(ctx, "replication").Result()
		if err != nil {
			return fmt.Errorf("ask a node for its replication id: %w", err)
		}
		here, err := replidOf(info, p)
		if err != nil {
			return err
		}
		there, err := s.Replid(ctx, p)
		if err == nil && here != there {
			s.cluster.ReloadState(ctx)
			err = errSlot
		}
		return err
	}
	if err := same(); err != nil {
		return err
	}
	if err := f(node); err != nil {
		return err
	}
	return same()
}

// silence is when a subscription that says nothing is asked whether it lives,
// and, if it doesn't answer, given up.
const silence = 3 * time.Second

// subscribeAgain is the time between two tries.
const subscribeAgain = 100 * time.Millisecond

// Follow calls f with each change of an account's state, until ctx ends. It goes along where the partition moves to another node. What changes
// while a connection is lost may be missing: readers re-read old entries.
func (s *Store) Follow(ctx context.Context, p int, f func(p *Published)) {
	for ctx.Err() == nil {
		s.listen(ctx, p, f)
		if s.cluster != nil {
			s.cluster.ReloadState(ctx)
		}
		select {
		case <-time.After(subscribeAgain):
		case <-ctx.Done():
		}
	}
}

// listen follows until the connection is lost, or until the node says that the
// partition isn't there (any more): go-redis's own channel would wait on.
func (s *Store) listen(ctx context.Context, p int, f func(p *Published)) {
	sub := s.rdb.SSubscribe(ctx, channelState(p))
	defer func() { _ = sub.Close() }()
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })() // ends a read
	for asked := false; ; {
		msg, err := sub.ReceiveTimeout(ctx, silence)
		if err != nil {
			var late interface{ Timeout() bool }
			if asked || !errors.As(err, &late) || !late.Timeout() || sub.Ping(ctx) != nil {
				return
			}
			asked = true
			continue
		}
		asked = false
		switch m := msg.(type) {
		case *redis.Message:
			p := parsePublished(m.Payload)
			f(&p)
		case *redis.Subscription:
			if m.Kind == "sunsubscribe" {
				return // the slot has moved
			}
		}
	}
}
