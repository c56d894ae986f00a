package balancetest

import (
	"strings"
	"time"
)

func finish(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	t := read[hash](c.r, c.keys[1])
	switch {
	case t == nil && c.done(c.arg(2)) != "":
		return []any{"ok"}, nil
	case t["k"] == "o" && c.r.Without != RuleHolds:
		return []any{"still_open"}, nil
	case t["k"] == "m" && t["s"] != c.arg(8) && c.r.Without != RuleHolds:
		return []any{"gone"}, nil
	}
	void := false
	if len(c.keys) > 2 && c.r.Without != RuleCounts {
		switch p := read[hash](c.r, c.keys[2]); {
		case p == nil:
			void = c.done(strings.TrimPrefix(c.keys[2], c.tag+":t:")) == "d"
		case p["k"] == "m":
			p["j"] = "1"
		}
	}
	how := "d"
	if c.arg(11) == "1" && !void {
		how = "h"
	}
	c.r.del(c.keys[1])
	c.finished(c.arg(2), how)
	if c.arg(3) == "" || void {
		return []any{"ok"}, nil
	}
	counts := [][2]string{{"stored", c.arg(4)}, {"duplicates", c.arg(5)}, {"quarantined", c.arg(6)}, {"waiting", c.arg(7)}}
	if c.arg(11) != "1" && t["j"] == "" {
		counts = append(counts, [2]string{"duplicates", c.arg(9)}, [2]string{"quarantined", c.arg(10)}, [2]string{"quarantined:conflict", c.arg(10)})
	}
	for i := 12; i < len(c.argv); i += 2 {
		counts = append(counts, [2]string{"quarantined:" + c.arg(i), c.arg(i + 1)})
	}
	key := c.tag + ":run:" + c.arg(3)
	for _, n := range counts {
		if n[1] == "0" {
			continue
		}
		if _, err := c.r.incr(key, n[0], n[1]); err != nil {
			return nil, err
		}
	}
	if _, ok := c.r.keys[key]; ok {
		c.r.expires[key] = c.r.now().Add(7 * 24 * time.Hour)
	}
	return []any{"ok"}, nil
}

func giveUp(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	t := read[hash](c.r, c.keys[1])
	if t["k"] != "o" || t["s"] != c.arg(3) || c.now-integer(t["at"]) < integer(c.arg(4)) {
		return []any{"gone"}, nil
	}
	c.r.del(c.keys[1])
	c.closes(c.arg(2), t)
	return []any{"ok"}, nil
}

// closes an open answer.
func (c *call) closes(task string, t hash) {
	delete(made[zset](c.r, c.tag+":open"), task)
	c.meta["openn"] = str(integer(c.meta["openn"]) - integer(t["c"]))
}

// reversal of one record, in settle.lua's arguments.
type reversal struct {
	a, purse    *account
	p           parent
	period, sum string
	line        int
}

func settle(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	t := read[hash](c.r, c.keys[1])
	switch {
	case t["k"] == "m" && t["s"] == c.arg(3):
		return []any{"ok", t["o"]}, nil
	case t == nil && c.done(c.arg(2)) != "":
		return []any{"ok", ""}, nil
	case (t["k"] != "o" || t["s"] != c.arg(3)) && c.r.Without != RuleHolds:
		return []any{"gone"}, nil
	case t == nil:
		return []any{"ok", ""}, nil // without the rule
	}
	list, refusal := c.reversals()
	if refusal != nil {
		return refusal, nil
	}
	outcome := []byte(t["o"])
	for _, r := range list {
		outcome[r.line] = 'x'
		if err := c.takeBack(r); err != nil {
			return nil, err
		}
	}
	if len(list) > 0 {
		c.meta["corr"] = str(integer(c.meta["corr"]) + 1)
	}
	delete(t, "g")
	delete(t, "r")
	t["k"], t["o"] = "m", string(outcome)
	c.closes(c.arg(2), t)
	for _, r := range list {
		c.evaluate(r.a, r.p.month, r.p.finish, why{cause: "reversal"})
		if r.purse != nil && r.purse.id != r.a.id {
			c.evaluate(r.purse, r.p.month, r.p.finish, why{cause: "reversal"})
		}
		if r.a.id != r.p.id {
			c.evaluate(r.p.account, r.p.month, r.p.finish, why{cause: "reversal"})
		}
	}
	return []any{"ok", string(outcome)}, nil
}

func (c *call) reversals() ([]reversal, []any) {
	at := 5
	var parents []parent
	for range c.num(5) {
		month, end := c.current(at + 2)
		if month == "" {
			return nil, []any{"clock"}
		}
		p := parent{c.account(c.arg(at + 1)), month, end}
		if p.account == nil {
			return nil, []any{"accounts", c.arg(at + 1)}
		}
		parents = append(parents, p)
		at += 10
	}
	var list []reversal
	for range c.num(4) {
		r := reversal{a: c.account(c.arg(at + 1)), p: parents[c.num(at+2)-1], period: c.arg(at + 4), sum: neg(c.arg(at + 5)), line: c.num(at + 6)}
		if r.a == nil {
			return nil, []any{"accounts", c.arg(at + 1)}
		}
		if id := c.arg(at + 3); id != "" {
			if r.purse = c.account(id); r.purse == nil {
				return nil, []any{"accounts", id}
			}
		}
		list = append(list, r)
		at += 6
	}
	return list, nil
}

func (c *call) takeBack(r reversal) error {
	if r.sum == "0" || c.r.Without == RuleReverse {
		return nil
	}
	if _, err := c.incr(r.a.id, "u:"+r.period, r.sum); err != nil {
		return err
	}
	if r.a.id != r.p.id {
		if _, err := c.incr(r.p.id, "u:"+r.period, r.sum); err != nil {
			return err
		}
	}
	if r.purse != nil {
		if _, err := c.incr(r.purse.id, "bal", neg(r.sum)); err != nil {
			return err
		}
	}
	return nil
}
