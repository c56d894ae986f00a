package balancetest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Redis is a server of memory. It may be used by several goroutines.
type Redis struct {
	// Without takes out a rule of the scripts, so that a test can show that it
	// is noticed. See the Rule constants.
	Without Rule

	mu      sync.Mutex
	now     func() time.Time
	keys    map[string]any // hash, members, zset, *stream or string
	expires map[string]time.Time
	replid  int
	scripts map[string]script // by their digest
}

// Rule is one that Without takes out.
type Rule string

// The rules.
const (
	RuleAnswer  Rule = "answer"   // an open answer is returned, not charged again
	RuleMarker  Rule = "marker"   // so is a settled one
	RuleDone    Rule = "done"     // and a finished one
	RuleColdSet Rule = "coldset"  // a cold identity is asked of, and enters, its set
	RuleForced  Rule = "forced"   // a forced charge is refused if a newer one stands
	RuleInSet   Rule = "inset"    // ... and while the identity isn't in its set
	RuleJudged  Rule = "judged"   // ... nor was when its row was missed
	RuleHolds   Rule = "holds"    // settle and finish refuse what isn't held
	RuleEpoch   Rule = "epoch"    // a caller of another epoch is refused
	RuleReplid  Rule = "replid"   // so is one who found another Redis
	RuleCorr    Rule = "corr"     // heal is refused after another correction
	RuleFloor   Rule = "floor"    // what is older than a rebuild is cold
	RuleSettled Rule = "settled"  // what was charged before this generation settles before it is looked up
	RuleLanding Rule = "landing"  // refunds and corrections wait for rows of before it
	RuleClosed  Rule = "closed"   // a closed month takes no more records
	RuleReverse Rule = "reversal" // a record that was refused for good is taken back

	RuleChanged Rule = "changed" // a message that another has changed since is read anew

	RuleBreaker Rule = "breaker" // so many accounts are suspended within a minute, no more

	RuleCounts     Rule = "counts"     // duplicates are counted by the task or by its judge task
	RuleGeneration Rule = "generation" // a forced charge may be the first of a dedup generation
)

type (
	hash    = map[string]string
	members = map[string]struct{}
	zset    = map[string]int64
)

type stream struct {
	last    [2]int64
	entries []entry
}

type entry struct {
	id     string
	fields []string
}

// New returns an empty server that lives by a clock.
func New(now func() time.Time) *Redis {
	return &Redis{now: now, keys: map[string]any{}, expires: map[string]time.Time{}, replid: 1, scripts: map[string]script{}}
}

// Fork is a server of its own with the same content, that lives by a clock.
func (r *Redis) Fork(now func() time.Time) *Redis {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Redis{
		Without: r.Without, now: now, keys: clone(r.keys), expires: maps.Clone(r.expires), replid: r.replid, scripts: maps.Clone(r.scripts),
	}
}

// Client returns a client of the server. It never dials. hooks see every
// command before the server does.
func (r *Redis) Client(hooks ...redis.Hook) *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1",
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			return nil, fmt.Errorf("balancetest: %w", net.ErrClosed)
		},
		// They start goroutines that never end by themselves.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	for _, h := range hooks {
		c.AddHook(h)
	}
	c.AddHook(server{r})
	return c
}

// Restart changes the replication id, as every restart does.
func (r *Redis) Restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replid++
}

// Empty removes everything, as the loss of the disk does.
func (r *Redis) Empty() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.expires = map[string]any{}, map[string]time.Time{}
	r.replid++
}

// Remove one key, as somebody does who knows nothing of it.
func (r *Redis) Remove(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.del(key)
}

// Copy is the present content.
func (r *Redis) Copy() *Content {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Content{keys: clone(r.keys), expires: maps.Clone(r.expires)}
}

// Content of a server at one time.
type Content struct {
	keys    map[string]any
	expires map[string]time.Time
}

// Fall back to an earlier content, as a failover to a replica that lags does.
func (r *Redis) Fall(c *Content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.expires = clone(c.keys), maps.Clone(c.expires)
	r.replid++
}

func clone(keys map[string]any) map[string]any {
	out := make(map[string]any, len(keys))
	for k, v := range keys {
		switch v := v.(type) {
		case hash:
			out[k] = maps.Clone(v)
		case members:
			out[k] = maps.Clone(v)
		case zset:
			out[k] = maps.Clone(v)
		case *stream:
			out[k] = &stream{last: v.last, entries: slices.Clone(v.entries)}
		default:
			out[k] = v
		}
	}
	return out
}

// Dump is everything as text, for a comparison with a real Redis.
func (r *Redis) Dump() map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]any{}
	for k, v := range r.keys {
		if r.gone(k) {
			continue
		}
		switch v := v.(type) {
		case hash:
			out[k] = maps.Clone(v)
		case members:
			out[k] = slices.Sorted(maps.Keys(v))
		case zset:
			m := map[string]string{}
			for name, score := range v {
				m[name] = strconv.FormatInt(score, 10)
			}
			out[k] = m
		case *stream:
			var list []map[string]string
			for _, e := range v.entries {
				m := map[string]string{}
				for i := 0; i+1 < len(e.fields); i += 2 {
					m[e.fields[i]] = e.fields[i+1]
				}
				list = append(list, m)
			}
			out[k] = list
		default:
			out[k] = v
		}
	}
	return out
}

// id is the replication id.
func (r *Redis) id() string { return fmt.Sprintf("%040x", r.replid) }

// gone removes a key whose time is over.
func (r *Redis) gone(key string) bool {
	at, ok := r.expires[key]
	if !ok || r.now().Before(at) {
		return false
	}
	delete(r.keys, key)
	delete(r.expires, key)
	return true
}

func (r *Redis) del(key string) {
	delete(r.keys, key)
	delete(r.expires, key)
}

// read returns a value of the wanted type, the zero value if there is none.
func read[T any](r *Redis, key string) T {
	if len(r.expires) > 0 {
		r.gone(key)
	}
	v, _ := r.keys[key].(T)
	return v
}

// made is read for a map that is to be written.
func made[M ~map[string]V, V any](r *Redis, key string) M {
	m := read[M](r, key)
	if m == nil {
		m = M{}
		r.keys[key] = m
	}
	return m
}

// ErrOverflow is what HINCRBY answers.
var errOverflow = fmt.Errorf("ERR increment or decrement would overflow")

func (r *Redis) incr(key, field, delta string) (string, error) {
	h := made[hash](r, key)
	have, _ := strconv.ParseInt(orZero(h[field]), 10, 64)
	add, err := strconv.ParseInt(delta, 10, 64)
	if err != nil {
		return "", fmt.Errorf("ERR value is not an integer or out of range")
	}
	sum := have + add
	if (sum > have) != (add > 0) && add != 0 {
		return "", errOverflow
	}
	h[field] = strconv.FormatInt(sum, 10)
	return h[field], nil
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

func (r *Redis) xadd(key string, fields ...string) {
	s := read[*stream](r, key)
	if s == nil {
		s = &stream{}
		r.keys[key] = s
	}
	now := r.now().UnixMilli()
	if now > s.last[0] {
		s.last = [2]int64{now, 0}
	} else {
		s.last[1]++
	}
	s.entries = append(s.entries, entry{id: fmt.Sprintf("%d-%d", s.last[0], s.last[1]), fields: fields})
}

// text is an argument as Redis gets it.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

func match(pattern, key string) bool { return strings.HasPrefix(key, strings.TrimSuffix(pattern, "*")) }
