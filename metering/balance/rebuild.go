package balance

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering"
)

// Rebuilding is a rebuild of a partition, by whoever holds its lease. Each of its
// steps asks for the lease: a Redis that comes back without its last second may
// have given it to another meanwhile, and what that one has made must stand.
type Rebuilding struct {
	store *Store
	p     int
	token string

	keys []string // to be loaded
	args []any
}

// RebuildLease is the lease's name.
const RebuildLease = "rebuild"

// Rebuilding is that of a lease's holder.
func (s *Store) Rebuilding(p int, token string) *Rebuilding {
	return &Rebuilding{store: s, p: p, token: token}
}

// step runs a script that refuses without the lease: ErrMoved.
func (r *Rebuilding) step(ctx context.Context, name string, keys []string, args ...any) error {
	_, err := r.ask(ctx, name, keys, args...)
	return err
}

// ask is step, and what the script answers.
func (r *Rebuilding) ask(ctx context.Context, name string, keys []string, args ...any) ([]any, error) {
	keys = append([]string{keyMeta(r.p), keyLease(r.p, RebuildLease)}, keys...)
	v, err := r.store.run(ctx, name, keys, append([]any{r.token}, args...)...)
	if err != nil {
		return nil, err
	}
	if str(v[0]) == "lost" {
		return nil, fmt.Errorf("%w: another process rebuilds it, or has", ErrMoved)
	}
	return v, nil
}

// Clear ends a partition's projection: every script refuses from the first
// step on. The counters of runs stay. settled: no row of it, or of one before it,
// is on its way to the ledger.
func (r *Rebuilding) Clear(ctx context.Context) (settled bool, err error) {
	err = r.store.home(ctx, r.p, func(node redis.UniversalClient) error {
		v, err := r.ask(ctx, "clear", []string{keyMeta(r.p)}, r.store.partitions)
		if err != nil {
			return err
		}
		settled = str(v[1]) == "1"
		for _, kind := range []string{":t:*", ":done:*", ":a:*", ":d:*", ":r:*"} {
			if err := r.unlink(ctx, node, tag(r.p)+kind); err != nil {
				return fmt.Errorf("remove %s: %w", kind, err)
			}
		}
		return r.step(ctx, "clear", []string{keyOpen(r.p), keyOutbox(r.p), keyLifted(r.p)})
	})
	if err != nil {
		return false, fmt.Errorf("end the projection: %w", err)
	}
	return settled, nil
}

// unlink removes the keys of the partition's node that fit a pattern.
func (r *Rebuilding) unlink(ctx context.Context, node redis.UniversalClient, pattern string) error {
	return eachKeys(ctx, node, pattern, func(keys []string) error { return r.step(ctx, "clear", keys) })
}

// eachKeys calls f for a node's keys that fit a pattern, some hundred at once.
func eachKeys(ctx context.Context, node redis.UniversalClient, pattern string, f func(keys []string) error) error {
	it := node.Scan(ctx, 0, pattern, 1000).Iterator()
	batch := make([]string, 0, 500)
	for it.Next(ctx) {
		if batch = append(batch, it.Val()); len(batch) < cap(batch) {
			continue
		}
		if err := f(batch); err != nil {
			return err
		}
		batch = batch[:0]
	}
	if err := it.Err(); err != nil || len(batch) == 0 {
		return err
	}
	return f(batch)
}

// AccountSeed is an account as the ledger has it.
type AccountSeed struct {
	Account         *metering.Account
	Balance         metering.Micros
	Used            map[string]metering.Micros
	Flags           metering.Flags  // that are in effect: the manual ones, all where the breaker is open
	SilentFromBirth bool            // never moved: stays suspended from birth, untold
	Behind          bool            // somebody may believe it suspended: told once more, also if it is active
	ClosedThrough   string          // parent: newest closed period
	Topups          string          // how many top-ups or allocations it had; "": none
	Base            metering.Micros // what it held right after the newest, and what other transfers have moved since
	Alerted         Alerted
}

// Alerted are the highest shares that were alerted, as "mark:share", "" if none
// was. A mark is the number of a top-up or allocation, or a month.
type Alerted struct{ Purse, Credit, Monthly string }

// SeedAccount writes it, with others at once: see Flush. The projection isn't in use yet.
func (r *Rebuilding) SeedAccount(ctx context.Context, l *AccountSeed) error {
	quiet := "2" // told once more if it isn't active
	switch {
	case l.Behind:
		quiet = "3"
	case l.SilentFromBirth:
		quiet = "1"
	}
	v := liveOf(l.Account)
	args := []any{
		"par", v.Parent, "mode", v.Mode, "src", v.Source, "lim", v.Limit, "ceil", v.Ceil, "alerts", v.Alerts,
		"obs", v.Observe, "ch", v.Channels, "pr", v.Priced, "closed", v.Closed, "cat", v.Catalog,
		"bal", int64(l.Balance), "f", int(l.Flags), "n", 0, "quiet", quiet, "thr", l.ClosedThrough,
	}
	if l.Topups != "" {
		args = append(args, "tn", l.Topups, "base", int64(l.Base))
	}
	args = append(args, "as", l.Alerted.Purse, "ac", l.Alerted.Credit, "am", l.Alerted.Monthly)
	for period, used := range l.Used {
		args = append(args, "u:"+period, int64(used))
	}
	return r.load(ctx, keyAccount(r.p, v.ID), 0, args)
}

// SeedLifted notes that a limit had suspended the account when the breaker opened,
// which is still open, and that it was lifted since.
func (r *Rebuilding) SeedLifted(ctx context.Context, account string) error {
	return r.load(ctx, keyLifted(r.p), 0, []any{account, "1"})
}

// SeedRef writes a used reference, as SeedAccount does an account, for as long as metering.RefKept.
func (r *Rebuilding) SeedRef(ctx context.Context, ref string, fields map[string]string) error {
	args := make([]any, 0, 2*len(fields))
	for k, v := range fields {
		args = append(args, k, v)
	}
	return r.load(ctx, keyRef(r.p, ref), metering.RefKept, args)
}

// loadMax bounds the accounts and references of one call: a script blocks Redis.
const loadMax = 200

func (r *Rebuilding) load(ctx context.Context, key string, life time.Duration, fields []any) error {
	r.keys, r.args = append(r.keys, key), append(append(r.args, len(fields), int(life.Seconds())), fields...)
	if len(r.keys) < loadMax {
		return nil
	}
	return r.Flush(ctx)
}

// Flush writes what was loaded since the last call.
func (r *Rebuilding) Flush(ctx context.Context) error {
	if len(r.keys) == 0 {
		return nil
	}
	if err := r.step(ctx, "load", r.keys, r.args...); err != nil {
		return fmt.Errorf("load accounts and references: %w", err)
	}
	r.keys, r.args = nil, nil
	return nil
}

// NewProjection is what install.lua takes.
type NewProjection struct {
	Epoch            int64
	Catalog          int64
	Window           time.Duration
	Buckets          int
	Key              string        // hex
	Floor            time.Duration // from now; 0: none
	Landing          time.Duration // for so long rows of an older projection may land; 0: they can't
	BreakerOpenSince time.Time     // since when the breaker is open; zero: it is closed
}

// Install makes the loaded projection usable, once all is flushed. ErrMoved: the lease was lost, or
// another projection stands.
func (r *Rebuilding) Install(ctx context.Context, n NewProjection) error {
	after := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return strconv.FormatInt(d.Milliseconds(), 10)
	}
	broken := ""
	if !n.BreakerOpenSince.IsZero() {
		broken = strconv.FormatInt(n.BreakerOpenSince.UnixMilli(), 10)
	}
	if err := r.step(ctx, "install", nil, n.Epoch, n.Catalog, n.Window.Milliseconds(), n.Buckets, n.Key,
		after(n.Floor), broken, r.store.partitions, after(n.Landing), r.store.Owner()); err != nil {
		return fmt.Errorf("install the projection: %w", err)
	}
	return nil
}
