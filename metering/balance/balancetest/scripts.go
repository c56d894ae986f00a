package balancetest

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // it is how Redis names a script
	"encoding/hex"
	"maps"
	"strconv"
	"strings"
	"time"
)

func digest(source string) string {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

func adopt(c *call) ([]any, error) {
	m := read[hash](c.r, c.keys[0])
	if m["epoch"] != c.arg(1) || m["replid"] != c.arg(2) || c.r.id() != c.arg(3) {
		return []any{"moved"}, nil
	}
	m["replid"] = c.arg(3)
	return []any{"ok"}, nil
}

func install(c *call) ([]any, error) {
	if read[string](c.r, c.keys[1]) != c.arg(1) || read[hash](c.r, c.keys[0])["epoch"] != "" {
		return []any{"lost"}, nil
	}
	after := func(i int) string {
		if c.arg(i) == "" || i == 10 && c.r.Without == RuleLanding {
			return "0"
		}
		return str(c.now + integer(c.arg(i)))
	}
	m := hash{
		"epoch": c.arg(2), "seq": "0", "catalog": c.arg(3), "floor": after(7), "replid": c.r.id(), "gen": "0", "genseq": "0",
		"forced": "0", "window": c.arg(4), "buckets": c.arg(5), "key": c.arg(6), "openn": "0", "corr": "0", "brk": c.arg(8), "born": str(c.now), "parts": c.arg(9), "landing": after(10),
	}
	if c.arg(11) != "" {
		m["ledger"] = c.arg(11)
	}
	c.r.keys[c.keys[0]] = m
	return []any{"ok"}, nil
}

func lease(c *call) ([]any, error) {
	held := read[string](c.r, c.keys[1])
	switch {
	case held != "" && held != c.arg(1), held == "" && c.arg(3) != "take":
		return []any{"lost"}, nil
	case c.arg(3) == "give":
		c.r.del(c.keys[1])
	default:
		c.r.keys[c.keys[1]] = c.arg(1)
		c.r.expires[c.keys[1]] = c.r.now().Add(time.Duration(c.num(2)) * time.Millisecond)
	}
	return []any{"ok"}, nil
}

func peek(c *call) ([]any, error) {
	t := read[hash](c.r, c.keys[1])
	switch {
	case t["k"] != "":
		return []any{t["k"], t["s"], t["o"], t["g"], t["r"]}, nil
	case c.done(strings.TrimPrefix(c.keys[1], c.tag+":t:")) != "":
		return []any{"d"}, nil
	}
	return []any{"none", str(c.now)}, nil
}

func told(c *call) ([]any, error) {
	if known := read[hash](c.r, c.keys[1])["epoch"]; known != "" && integer(known) >= integer(c.arg(1)) {
		return []any{"old"}, nil
	}
	c.r.keys[c.keys[1]] = hash{"epoch": c.arg(1), "told": c.arg(2), "row": c.arg(3)}
	c.r.expires[c.keys[1]] = c.r.now().Add(time.Duration(c.num(4)) * time.Second)
	return []any{"ok"}, nil
}

func clearKeys(c *call) ([]any, error) {
	if read[string](c.r, c.keys[1]) != c.arg(1) {
		return []any{"lost"}, nil
	}
	settled := "0"
	if c.keys[2] == c.keys[0] {
		m := read[hash](c.r, c.keys[0])
		if m["openn"] == "0" && m["replid"] == c.r.id() && integer(m["landing"]) <= c.now && m["parts"] == c.arg(2) {
			settled = "1"
		}
	}
	for _, k := range c.keys[2:] {
		c.r.del(k)
	}
	return []any{"ok", settled}, nil
}

func load(c *call) ([]any, error) {
	if read[string](c.r, c.keys[1]) != c.arg(1) || read[hash](c.r, c.keys[0])["epoch"] != "" {
		return []any{"lost"}, nil
	}
	rest := c.argv[1:]
	for _, key := range c.keys[2:] {
		to := hash{}
		maps.Copy(to, read[hash](c.r, key))
		n, _ := strconv.Atoi(rest[0])
		seconds, _ := strconv.Atoi(rest[1])
		fields := rest[2 : 2+n]
		for i := 0; i < n; i += 2 {
			to[fields[i]] = fields[i+1]
		}
		c.r.keys[key], rest = to, rest[2+n:]
		if seconds > 0 {
			c.r.expires[key] = c.r.now().Add(time.Duration(seconds) * time.Second)
		}
	}
	return []any{"ok"}, nil
}

func closeMonth(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	a := c.account(c.arg(2))
	if a == nil {
		return []any{"accounts", c.arg(2)}, nil
	}
	a.hash["thr"] = max(a.hash["thr"], c.arg(3))
	return []any{"ok", c.meta["seq"]}, nil
}

func confirm(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	c.r.del(c.keys[1])
	if _, ok := c.r.keys[c.keys[2]]; ok {
		c.r.expires[c.keys[2]] = c.r.now().Add(time.Duration(c.num(3)) * time.Second)
	}
	delete(made[zset](c.r, c.tag+":open"), "transfer:"+c.arg(2))
	return []any{"ok"}, nil
}

func heal(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	if c.meta["corr"] != c.arg(2) && c.r.Without != RuleCorr {
		return []any{"moved"}, nil
	}
	month, end := c.current(3)
	if month == "" {
		return []any{"clock"}, nil
	}
	for i := 12; i <= len(c.argv); i += 3 {
		if c.account(c.arg(i)) == nil {
			return []any{"moved"}, nil
		}
	}
	for i := 12; i <= len(c.argv); i += 3 {
		if _, err := c.incr(c.arg(i), c.arg(i+1), c.arg(i+2)); err != nil {
			return nil, err
		}
	}
	c.meta["corr"] = str(integer(c.meta["corr"]) + 1)
	for i := 12; i <= len(c.argv); i += 3 {
		c.evaluate(c.account(c.arg(i)), month, end, why{cause: "reconcile"})
	}
	return []any{"ok"}, nil
}

func manual(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	a := c.account(c.arg(2))
	if a == nil {
		return []any{"accounts", c.arg(2)}, nil
	}
	month, end := c.current(7)
	if month == "" {
		return []any{"clock"}, nil
	}
	was := a.number("f") & flagManual
	f, bit := was, integer(c.arg(3))
	if c.arg(4) == "1" {
		f |= bit
	} else {
		f &^= bit
	}
	a.manual = &f
	if f != was {
		a.hash["quiet"] = "0"
	}
	born := orZero(a.hash["f"]) != "0" && a.hash["quiet"] == "1"
	flags := c.evaluate(a, month, end, why{cause: "manual", actor: c.arg(5), note: c.arg(6), born: born})
	pn := "0"
	if a.hash["par"] != "" {
		pn = orZero(c.account(a.hash["par"]).hash["n"])
	}
	return []any{"ok", flags, orZero(a.hash["n"]), pn, str(c.now)}, nil
}

func breaker(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	c.meta["brkmax"] = c.arg(2)
	return []any{"ok"}, nil
}

func release(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	if c.arg(2) == "1" {
		c.meta["brk"] = ""
		c.r.del(c.suspendedKey())
		c.r.del(c.liftedKey())
		return []any{"ok"}, nil
	}
	month, end := c.current(3)
	if month == "" {
		return []any{"clock"}, nil
	}
	for _, id := range c.argv[11:] {
		if a := c.account(id); a != nil && a.number("h") != 0 {
			c.evaluate(a, month, end, why{cause: "released"})
		}
	}
	return []any{"ok"}, nil
}

func readAll(c *call) ([]any, error) {
	if refusal := c.guard(""); refusal != nil {
		return refusal, nil
	}
	out := []any{"ok", c.meta["epoch"], c.meta["seq"], c.meta["corr"], cmp.Or(c.meta["parts"], "0")}
	for _, id := range c.argv {
		pairs := []any{}
		h := read[hash](c.r, c.akey(id))
		for _, f := range sorted(h) {
			pairs = append(pairs, f, h[f])
		}
		out = append(out, pairs)
	}
	return out, nil
}

func roll(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	month, end := c.current(2)
	if month == "" {
		return []any{"clock"}, nil
	}
	for _, id := range c.argv[10:] {
		if a := c.account(id); a != nil && a.hash["fp"] != month {
			c.evaluate(a, month, end, why{cause: "period", born: a.hash["quiet"] == "1"})
		}
	}
	return []any{"ok", month}, nil
}
