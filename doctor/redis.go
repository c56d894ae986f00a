package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// redis tells whether Redis answers, and whether it takes what is written.
func (s *System) redis(ctx context.Context, f *findings) bool {
	ping, cancel := context.WithTimeout(ctx, pingMax)
	defer cancel()
	if !f.add("redis", unreachable(s.Redis.Ping(ping).Err(), "--redis"), s.RedisName) {
		return false
	}
	f.add("redis write", s.redisWrite(ctx), "taken")
	return true
}

// probeLife is how long a probe stands whose doctor was killed.
const probeLife = 10 * time.Second

// redisWrite writes a key beside each partition's, and takes it back.
func (s *System) redisWrite(ctx context.Context) error {
	for p := range s.Store.Partitions() {
		key := fmt.Sprintf("{p%02d}:doctor", p)
		err := s.Redis.Set(ctx, key, "1", probeLife).Err()
		if err == nil {
			err = s.Redis.Del(ctx, key).Err()
		}
		if err != nil {
			return fmt.Errorf("%w%s", err, TodoOfRedis(err))
		}
	}
	return nil
}

// TodoOfRedis is what to do about what Redis refuses, to be put behind the error; ""
// where nothing is known. Some layers keep only the text of its answer.
func TodoOfRedis(err error) string {
	text := err.Error()
	for start, todo := range map[string]string{
		"OOM":      ": nothing is charged: raise maxmemory, or free memory",
		"MISCONF":  ": it can't write its file: free its disk, see its log",
		"READONLY": ": this is a replica: name the primary in --redis",
		"NOPERM":   ": give its user all commands on all keys",
		"LOADING":  ": it reads its file, wait",
	} {
		if strings.HasPrefix(text, start+" ") || strings.Contains(text, ": "+start+" ") {
			return todo
		}
	}
	return ""
}

// setting of Redis that meterd rests on (docs/operators.md, Redis).
type setting struct {
	name    string
	ok      func(value string) bool
	want    string
	without string
}

func is(want string) func(string) bool { return func(v string) bool { return v == want } }

// intsetEntries is what dedup sets are laid out for.
const intsetEntries = 4096

func settings() []setting {
	return []setting{
		{"appendonly", is("yes"), "yes", "a restart loses the queue"},
		{"appendfsync", is("always"), "always", "a power cut loses up to a second of records that were acknowledged"},
		{"aof-load-truncated", is("no"), "no", "half a charge may count twice after a power cut"},
		{"maxmemory-policy", is("noeviction"), "noeviction", "Redis drops money"},
		{"set-max-intset-entries", func(v string) bool { n, err := strconv.Atoi(v); return err == nil && n >= intsetEntries }, strconv.Itoa(intsetEntries), "dedup takes several times the memory"},
	}
}

// redisState looks at settings, memory and files of each node.
func (s *System) redisState(ctx context.Context, f *findings) {
	f.add("redis settings", s.eachNode(ctx, checkSettings), "as documented")
	var mu sync.Mutex
	var used []string
	f.add("redis memory", s.eachNode(ctx, func(ctx context.Context, node redis.UniversalClient) error {
		text, err := checkMemory(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		used = append(used, text)
		return err
	}), strings.Join(used, "; "))
	f.add("redis files", s.eachNode(ctx, checkFiles), "written")
}

// eachNode asks the one Redis, or each primary of a cluster.
func (s *System) eachNode(ctx context.Context, ask func(ctx context.Context, node redis.UniversalClient) error) error {
	cluster, ok := s.Redis.(*redis.ClusterClient)
	if !ok {
		return ask(ctx, s.Redis)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { //nolint:wrapcheck // ask's own, with its node
		if err := ask(ctx, node); err != nil {
			return fmt.Errorf("%s: %w", node.Options().Addr, err)
		}
		return nil
	})
}

// versionLeast is the first major version of Redis that has what meterd uses.
const versionLeast = "7"

// checkSettings names each setting that isn't as it must be.
func checkSettings(ctx context.Context, node redis.UniversalClient) error {
	var wrong []error
	server, err := info(ctx, node, "server")
	if err != nil {
		return err
	}
	if major, _, _ := strings.Cut(server["redis_version"], "."); len(major) == 1 && major < versionLeast {
		wrong = append(wrong, fmt.Errorf("its version is %s: take %s.0 or later", server["redis_version"], versionLeast))
	}
	for _, want := range settings() {
		got, err := node.ConfigGet(ctx, want.name).Result()
		if err != nil {
			return fmt.Errorf("can't be read: let its user run CONFIG GET: %w", err)
		}
		if v := got[want.name]; !want.ok(v) {
			wrong = append(wrong, fmt.Errorf("%s is %s: set %s, or %s", want.name, v, want.want, want.without))
		}
	}
	return errors.Join(wrong...)
}

// info reads a section of INFO.
func info(ctx context.Context, node redis.UniversalClient, section string) (map[string]string, error) {
	text, err := node.Info(ctx, section).Result()
	if err != nil {
		return nil, fmt.Errorf("ask redis about its %s: %w", section, err)
	}
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[name] = value
		}
	}
	return out, nil
}

// fullMost is what share of its memory may be in use, percent: what comes within
// the time that someone needs to act must fit into the rest.
const fullMost = 90

func checkMemory(ctx context.Context, node redis.UniversalClient) (string, error) {
	m, err := info(ctx, node, "memory")
	if err != nil {
		return "", err
	}
	number := func(name string) int64 { n, _ := strconv.ParseInt(m[name], 10, 64); return n }
	used, most, of := number("used_memory"), number("maxmemory"), "maxmemory"
	if most == 0 {
		used, most, of = number("used_memory_rss"), number("total_system_memory"), "the machine's memory"
	}
	text := fmt.Sprintf("%s of %s", size(used), size(most))
	if most > 0 && used > most/100*fullMost {
		return text, fmt.Errorf("%s of %s (%s) are in use: raise it or free memory, before Redis refuses what is written", size(used), size(most), of)
	}
	return text, nil
}

// checkFiles tells whether Redis could write its file the last time.
func checkFiles(ctx context.Context, node redis.UniversalClient) error {
	m, err := info(ctx, node, "persistence")
	if err != nil {
		return err
	}
	for _, name := range []string{"aof_last_write_status", "aof_last_bgrewrite_status"} {
		if v, ok := m[name]; ok && v != "ok" {
			return fmt.Errorf("%s is %s: look at its disk and its log", name, v)
		}
	}
	return nil
}

// size in a unit that reads well.
func size(n int64) string {
	const step = 1024
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	tenths, i := n*10, 0
	for tenths >= step*10 && i < len(units)-1 {
		tenths, i = tenths/step, i+1
	}
	return fmt.Sprintf("%d.%d %s", tenths/10, tenths%10, units[i])
}
