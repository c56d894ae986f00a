package balance

import (
	"context"
	"embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering"
)

//go:embed lua/*.lua
var sources embed.FS

// Store calls the scripts.
type Store struct {
	rdb        redis.UniversalClient
	cluster    *redis.ClusterClient // rdb, if it is one
	partitions int
	scripts    map[string]*redis.Script
	looks      []look                 // per partition
	homes      sync.Map               // account → home
	ledger     atomic.Pointer[string] // see OfLedger
}

// New returns a Store over n partitions (0: 1).
func New(rdb redis.UniversalClient, n int) *Store {
	cluster, _ := rdb.(*redis.ClusterClient)
	return &Store{rdb: rdb, cluster: cluster, partitions: max(n, 1), scripts: scripts(), looks: make([]look, max(n, 1))}
}

// scripts are put together once: their digests take longer than all else here.
var scripts = sync.OnceValue(func() map[string]*redis.Script { //nolint:gochecknoglobals // never written after
	out, lib := map[string]*redis.Script{}, bounds()+source("lib")
	for _, name := range []string{
		"adopt", "breaker", "charge", "clear", "close", "confirm", "edge", "finish", "giveup", "heal", "install", "lease", "load", "manual", "peek", "push", "read", "release", "roll", "settle", "told", "transfer",
	} {
		out[name] = redis.NewScript(lib + source(name))
	}
	return out
})

// bounds are metering's, as lib.lua names them, in milliseconds where they are times.
func bounds() string {
	return fmt.Sprintf("local OPEN_MAX, LOOKED_MAX, CHANGES_MAX = %d, %d, %d\n",
		metering.OpenMax, metering.LookedMax.Milliseconds(), metering.ChangesMax.Milliseconds())
}

func source(name string) string {
	b, err := sources.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(fmt.Sprintf("balance: no script %q", name))
	}
	return string(b)
}

// Partitions is their number.
func (s *Store) Partitions() int { return s.partitions }

// PartitionOf the parent.
func (s *Store) PartitionOf(parent string) int { return PartitionOf(parent, s.partitions) }

// Redis is the client that the store uses.
func (s *Store) Redis() redis.UniversalClient { return s.rdb }

// Meta is what a caller must know of a partition before it charges.
type Meta struct {
	Epoch          int64
	Seq            int64
	Catalog        int64
	Replid         string // that the projection was made or adopted under
	Window         time.Duration
	Buckets        int
	EpochStartedAt time.Time // when the epoch began, by Redis's clock
	Pushed         bool      // all accounts' states have been judged in it: see Store.Pushed
	Landing        time.Time // until then rows of an older epoch may land, by Redis's clock; zero: they can't
	Bounded        bool      // how many accounts the breaker lets be suspended within a minute is set
	Parts          int       // partitions that there were when it was made, 0: it doesn't say
	Ledger         string    // that it was made from, "": it doesn't say
	Lost           string    // account that it has lost, "": none. It must be made anew
	key0           uint64
	key1           uint64
}

// Meta reads a partition's meta; ErrEmpty if there is none, *LedgerError if it was
// made from another ledger, *PartitionsError if for another number of partitions.
func (s *Store) Meta(ctx context.Context, p int) (*Meta, error) {
	v, err := s.rdb.HGetAll(ctx, keyMeta(p)).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", keyMeta(p), err)
	}
	if v["epoch"] == "" {
		return nil, ErrEmpty
	}
	n := func(field string) int64 { x, _ := strconv.ParseInt(v[field], 10, 64); return x }
	m := &Meta{
		Epoch: n("epoch"), Seq: n("seq"), Catalog: n("catalog"), Replid: v["replid"],
		Window: time.Duration(n("window")) * time.Millisecond, Buckets: int(n("buckets")),
		EpochStartedAt: time.UnixMilli(n("born")).UTC(), Parts: int(n("parts")), Ledger: v["ledger"], Lost: v["lost"],
	}
	m.Pushed = n("pushed") == m.Epoch
	m.Bounded = v["brkmax"] != ""
	if until := n("landing"); until != 0 {
		m.Landing = time.UnixMilli(until).UTC()
	}
	if err := s.owns(m); err != nil {
		return nil, err
	}
	if err := s.fits(m.Parts); err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(v["key"])
	if err != nil || len(key) != 16 || m.Buckets < 1 {
		return nil, fmt.Errorf("%s is damaged (key or buckets): run `meterd rebuild`", keyMeta(p))
	}
	for i := range 8 {
		m.key0 = m.key0<<8 | uint64(key[i])
		m.key1 = m.key1<<8 | uint64(key[8+i])
	}
	return m, nil
}

// Pushed notes that a new projection has had a whole snapshot pushed, which judges
// all states. It names the epoch: of another one it says nothing.
func (s *Store) Pushed(ctx context.Context, p int, m *Meta) error {
	if err := s.rdb.HSet(ctx, keyMeta(p), "pushed", m.Epoch).Err(); err != nil {
		return fmt.Errorf("note that accounts were pushed: %w", err)
	}
	return nil
}

// Landing tells whether rows of an older epoch than meta's may still land.
func (s *Store) Landing(ctx context.Context, p int, m *Meta) (landing bool, err error) {
	if m.Landing.IsZero() {
		return false, nil
	}
	err = s.home(ctx, p, func(node redis.UniversalClient) error {
		now, err := node.Time(ctx).Result()
		landing = now.Before(m.Landing)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ask Redis for its time: %w", err)
	}
	return landing, nil
}

// generation is how long a dedup generation lasts: right after one begins, the one before
// it covers the window, and DedupSpare more.
func (m *Meta) generation() int64 { return int64((m.Window + metering.DedupSpare) / time.Second) }

// run calls a script and turns what it refuses into an error.
func (s *Store) run(ctx context.Context, name string, keys []string, args ...any) ([]any, error) {
	if s.cluster != nil {
		keys = Whole(keys)
	}
	v, err := s.scripts[name].Run(ctx, s.rdb, keys, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("script %s: %w", name, err)
	}
	if len(v) == 0 {
		return nil, fmt.Errorf("script %s: empty answer", name)
	}
	switch str(v[0]) {
	case "empty":
		return nil, ErrEmpty
	case "replid":
		return nil, ErrReplid
	case "void":
		return nil, ErrLost
	case "epoch":
		return nil, ErrEpoch
	case "catalog":
		return nil, ErrCatalog
	case "clock":
		return nil, ErrClock
	case "full":
		return nil, ErrFull
	case "stale":
		return nil, ErrStale
	case "judge_again":
		if len(v) < 2 {
			return nil, fmt.Errorf("script %s: no seq to judge by", name)
		}
		return nil, &AgainError{Seq: num(v[1])}
	case "restart":
		return nil, ErrRestart
	case "changed":
		return nil, ErrChanged
	case "gone":
		return nil, ErrGone
	case "still_open":
		return nil, ErrOpen
	case "moved":
		return nil, ErrMoved
	case "conflict":
		return nil, ErrReference
	case "overflow":
		e := &OverflowError{}
		for _, g := range v[1:] {
			e.Groups = append(e.Groups, int(num(g))-1)
		}
		return nil, e
	case "accounts":
		e := &MissingError{}
		for _, id := range v[1:] {
			e.Accounts = append(e.Accounts, str(id))
		}
		return nil, e
	}
	return v, nil
}

func str(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}

func num(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

// Adopt takes a restarted Redis for the projection that it holds.
func (s *Store) Adopt(ctx context.Context, p int, m *Meta, replid string) error {
	_, err := s.run(ctx, "adopt", []string{keyMeta(p)}, m.Epoch, m.Replid, replid)
	return err
}
