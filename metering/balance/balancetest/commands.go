package balancetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// server is the innermost hook of a client: it answers every command.
type server struct{ r *Redis }

// DialHook implements redis.Hook.
func (server) DialHook(next redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
}

// ProcessHook implements redis.Hook.
func (s server) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error { return s.r.answer(cmd) }
}

// ProcessPipelineHook implements redis.Hook.
func (s server) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		var errs []error
		for _, c := range cmds {
			errs = append(errs, s.r.answer(c))
		}
		return errors.Join(errs...)
	}
}

// answer runs a command and puts the reply into it.
func (r *Redis) answer(cmd redis.Cmder) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	args := make([]string, len(cmd.Args()))
	for i, a := range cmd.Args() {
		args[i] = text(a)
	}
	v, err := r.do(args)
	if err == nil {
		err = deliver(cmd, v)
	}
	cmd.SetErr(err)
	return err
}

// do runs a command.
func (r *Redis) do(args []string) (any, error) {
	switch name := strings.ToLower(args[0]); name {
	case "evalsha", "eval":
		return r.eval(name, args[1:])
	case "info":
		return "# Replication\r\nrole:master\r\nmaster_replid:" + r.id() + "\r\n", nil
	case "time":
		return r.now(), nil
	case "flushall":
		r.keys, r.expires = map[string]any{}, map[string]time.Time{}
		return "OK", nil
	case "del", "unlink", "exists":
		return r.count(name, args[1:]), nil
	case "scan":
		return r.scan(args[3]), nil
	case "hgetall", "hget", "hmget", "hset", "hsetnx", "hdel", "hincrby":
		return r.hashes(name, args[1], args[2:])
	case "expire":
		return r.expire(args[1], args[2])
	case "zrange", "zrangebyscore":
		return r.zsets(name, args[1:])
	case "xrange", "xdel":
		return r.streams(name, args[1], args[2:])
	}
	return nil, fmt.Errorf("balancetest: no command %q", args[0])
}

func (r *Redis) count(name string, keys []string) int64 {
	var n int64
	for _, k := range keys {
		r.gone(k)
		if _, ok := r.keys[k]; ok {
			n++
		}
		if name != "exists" {
			r.del(k)
		}
	}
	return n
}

// expire ends a key after so many seconds.
func (r *Redis) expire(key, seconds string) (any, error) {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("expire: %w", err)
	}
	r.gone(key)
	_, ok := r.keys[key]
	if ok {
		r.expires[key] = r.now().Add(time.Duration(n) * time.Second)
	}
	return ok, nil
}

func (r *Redis) scan(pattern string) []string {
	var out []string
	for k := range r.keys {
		if match(pattern, k) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

func (r *Redis) hashes(name, key string, args []string) (any, error) {
	switch name {
	case "hgetall":
		return maps.Clone(read[hash](r, key)), nil
	case "hget":
		v, ok := read[hash](r, key)[args[0]]
		if !ok {
			return nil, redis.Nil
		}
		return v, nil
	case "hmget":
		h := read[hash](r, key)
		out := make([]any, len(args))
		for i, f := range args {
			if v, ok := h[f]; ok {
				out[i] = v
			}
		}
		return out, nil
	case "hincrby":
		sum, err := r.incr(key, args[0], args[1])
		return integer(sum), err
	case "hdel":
		h := read[hash](r, key)
		var n int64
		for _, f := range args {
			if _, ok := h[f]; ok {
				delete(h, f)
				n++
			}
		}
		if h != nil && len(h) == 0 {
			r.del(key)
		}
		return n, nil
	}
	h := made[hash](r, key)
	if _, held := h[args[0]]; held && name == "hsetnx" {
		return false, nil
	}
	var n int64
	for i := 0; i+1 < len(args); i += 2 {
		if _, ok := h[args[i]]; !ok {
			n++
		}
		h[args[i]] = args[i+1]
	}
	if name == "hsetnx" {
		return true, nil
	}
	return n, nil
}

// zsets: zrange key from to withscores, zrangebyscore key min max withscores
// [limit 0 most].
func (r *Redis) zsets(name string, args []string) (any, error) {
	z := read[zset](r, args[0])
	out := make([]redis.Z, 0, len(z))
	for m, score := range z {
		out = append(out, redis.Z{Member: m, Score: double(score)})
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Score != out[j].Score {
			return out[i].Score < out[j].Score
		}
		return text(out[i].Member) < text(out[j].Member)
	})
	if name == "zrangebyscore" {
		if args[2] != "+inf" {
			most, err := strconv.ParseInt(args[2], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("zrangebyscore: %w", err)
			}
			out = slices.DeleteFunc(out, func(z redis.Z) bool { return z.Score > double(most) })
		}
		if len(args) == 7 {
			most, err := strconv.Atoi(args[6])
			if err != nil {
				return nil, fmt.Errorf("zrangebyscore: %w", err)
			}
			out = out[:min(most, len(out))]
		}
		return out, nil
	}
	if args[1] != "0" || args[2] != "0" {
		return nil, fmt.Errorf("balancetest: zrange %s %s isn't known", args[1], args[2])
	}
	return out[:min(1, len(out))], nil
}

func (r *Redis) streams(name, key string, args []string) (any, error) {
	s := read[*stream](r, key)
	if name == "xdel" {
		if s != nil {
			s.entries = slices.DeleteFunc(s.entries, func(e entry) bool { return slices.Contains(args, e.id) })
		}
		return int64(len(args)), nil
	}
	most, err := strconv.Atoi(args[3])
	if err != nil {
		return nil, fmt.Errorf("xrange: %w", err)
	}
	out := []redis.XMessage{}
	if s == nil {
		return out, nil
	}
	for _, e := range s.entries[:min(most, len(s.entries))] {
		m := redis.XMessage{ID: e.id, Values: map[string]any{}}
		for i := 0; i+1 < len(e.fields); i += 2 {
			m.Values[e.fields[i]] = e.fields[i+1]
		}
		out = append(out, m)
	}
	return out, nil
}

// deliver puts a reply into a command.
func deliver(cmd redis.Cmder, v any) error {
	ok := true
	switch c := cmd.(type) {
	case *redis.Cmd:
		c.SetVal(v)
	case *redis.StatusCmd:
		c.SetVal(text(v))
	case *redis.StringCmd:
		c.SetVal(text(v))
	case *redis.BoolCmd:
		c.SetVal(v == true)
	case *redis.IntCmd:
		var n int64
		n, ok = v.(int64)
		c.SetVal(n)
	case *redis.TimeCmd:
		var t time.Time
		t, ok = v.(time.Time)
		c.SetVal(t)
	case *redis.MapStringStringCmd:
		var m map[string]string
		m, ok = v.(map[string]string)
		c.SetVal(m)
	case *redis.SliceCmd:
		var l []any
		l, ok = v.([]any)
		c.SetVal(l)
	case *redis.ScanCmd:
		var l []string
		l, ok = v.([]string)
		c.SetVal(l, 0)
	case *redis.ZSliceCmd:
		var l []redis.Z
		l, ok = v.([]redis.Z)
		c.SetVal(l)
	case *redis.XMessageSliceCmd:
		var l []redis.XMessage
		l, ok = v.([]redis.XMessage)
		c.SetVal(l)
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("balancetest: %T takes no %T", cmd, v)
	}
	return nil
}

// double is a score; seqs are exact in it.
func double(v int64) float64 { return float64(v) } //nolint:forbidigo // go-redis's type of a score
