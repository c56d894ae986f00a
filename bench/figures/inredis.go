package figures

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/gate"
)

func inRedis() []measurement {
	return []measurement{
		{
			name: "charge alone", once: true, run: chargeAlone, figures: []Figure{
				{Name: "charge and dedup", Unit: "records/s", Goal: 400_000},
				{Name: "dedup memory", Unit: "bytes/record", Goal: 12, AtMost: true},
			},
		},
		{
			name: "gate", run: gateCheck, figures: []Figure{
				{Name: "gate check", Unit: "ns", Goal: 100, AtMost: true},
				{Name: "gate allocations", Unit: "allocations", Goal: 0, AtMost: true},
			},
		},
		{
			name: "comparisons", run: comparisons, figures: []Figure{
				{Name: "asynq with an insert a task", Unit: "records/s", Compared: true},
				{Name: "clickhouse-go alone", Unit: "records/s", Compared: true},
			},
		},
	}
}

// setMembers is how many hashes one dedup set should hold: below
// Redis's set-max-intset-entries, with room for chance.
const setMembers = 380

// chargeAlone charges while the dedup window holds 50 million records.
func chargeAlone(ctx context.Context, b *bench) (_ map[string]float64, err error) {
	held, n := b.n(50_000_000, 400_000), b.n(2_000_000, 80_000)
	buckets := max(held/setMembers, 16)
	s, err := b.up(ctx, accountsFile(parents, each), "--dedup-buckets", strconv.Itoa(buckets), "--reconcile-every", "10h")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	store := balance.New(s.redis, 1)
	meta, err := store.Meta(ctx, 0)
	if err != nil {
		return nil, err
	}
	if err := s.warm(ctx, newLoad(20, subs(parents, each))); err != nil {
		return nil, err
	}
	before, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, s.redis, meta, held); err != nil {
		return nil, err
	}
	after, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	rate, err := charges(ctx, store, meta, n)
	if err != nil {
		return nil, err
	}
	return map[string]float64{"charge and dedup": rate, "dedup memory": float64(after-before) / float64(held)}, nil
}

// memory that Redis's data takes.
func (s *system) memory(ctx context.Context) (int64, error) {
	text, err := s.redis.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(text, "\r\n") {
		if v, ok := strings.CutPrefix(line, "used_memory:"); ok {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, errors.New("redis doesn't say how much memory it uses")
}

// fill puts random hashes into the sets of the generation that some charges
// have begun.
func fill(ctx context.Context, rdb *redis.Client, meta *balance.Meta, n int) error {
	rnd := rand.New(rand.NewPCG(21, 22))
	perSet := n / meta.Buckets
	sets, _, err := rdb.Scan(ctx, 0, "{p00}:d:*", 1_000_000).Result()
	if err != nil || len(sets) == 0 {
		return fmt.Errorf("no dedup sets after the first charges: %w", err)
	}
	prefix := sets[0][:strings.LastIndexByte(sets[0], ':')+1]
	for from := 0; from < meta.Buckets; {
		pipe := rdb.Pipeline()
		for range 500 {
			if from == meta.Buckets {
				break
			}
			members := make([]any, perSet)
			for i := range members {
				members[i] = int64(rnd.Uint64())
			}
			pipe.SAdd(ctx, prefix+strconv.Itoa(from), members...)
			from++
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("fill the dedup sets: %w", err)
		}
	}
	return nil
}

// charges calls charge.lua as workers do, two at once, and nothing else.
func charges(ctx context.Context, store *balance.Store, meta *balance.Meta, n int) (float64, error) {
	const callers = 2
	accounts := subs(parents, each)
	now := time.Now().UTC()
	period := metering.Period{Name: now.Format("2006-01"), Start: now.AddDate(0, -1, 0), End: now.AddDate(0, 1, 0)}
	months := balance.Months{{Name: "0000-01", Start: time.Unix(0, 0), End: period.Start}, period, {Name: "9999-12", Start: period.End, End: period.End.AddDate(1, 0, 0)}}
	began := time.Now()
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			var id [16]byte
			rnd := rand.New(rand.NewPCG(uint64(c), 5))
			for task := 0; task*jobs.RecordsMax*callers < n && errs[c] == nil; task++ {
				items := make([]balance.Item, jobs.RecordsMax)
				byParent := map[string]balance.Months{}
				for i := range items {
					binary.LittleEndian.PutUint64(id[:], rnd.Uint64())
					binary.LittleEndian.PutUint64(id[8:], rnd.Uint64())
					account := accounts[rnd.IntN(len(accounts))]
					parent := account[:len("parent-00000")]
					byParent[parent] = months
					items[i] = balance.Item{
						Line: i, Identity: metering.Identity{AccountID: account, Kind: metering.KindUsage, ID: string(id[:])},
						Account: account, Parent: parent, Period: period.Name, Amount: 41_200, OccurredAt: now.UnixMilli(),
					}
				}
				call := balance.NewCall(fmt.Sprintf("bench-%d-%d", c, task), len(items), items, byParent, meta)
				_, errs[c] = store.Charge(ctx, 0, 1<<40, call)
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(began).Seconds(), errors.Join(errs...)
}

func gateCheck(ctx context.Context, b *bench) (_ map[string]float64, err error) {
	s, err := b.up(ctx, accountsFile(1, 100))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	g := gate.New(s.redis, gate.Options{MaxAge: time.Hour})
	accounts := subs(1, 100)
	for _, id := range accounts {
		if a := g.Check(ctx, id, "sms"); !a.Allowed {
			return nil, fmt.Errorf("the gate says %s of %s", a.Code, id)
		}
	}
	n := b.n(20_000_000, 1_000_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	for i := range n {
		g.Check(ctx, accounts[i%len(accounts)], "sms")
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return map[string]float64{
		"gate check": float64(took.Nanoseconds()) / float64(n), "gate allocations": float64((after.Mallocs - before.Mallocs) / uint64(n)),
	}, nil
}

func comparisons(ctx context.Context, b *bench) (_ map[string]float64, err error) {
	s, err := b.up(ctx, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	inserting, err := s.plainInserting(ctx, b)
	if err != nil {
		return nil, err
	}
	direct, err := s.directInsert(ctx, b.n(1_200_000, 60_000))
	if err != nil {
		return nil, err
	}
	return map[string]float64{"asynq with an insert a task": inserting, "clickhouse-go alone": direct}, nil
}
