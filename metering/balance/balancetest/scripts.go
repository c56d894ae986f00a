package balancetest

import (
	"crypto/sha1" //nolint:gosec // it is how Redis names a script
	"encoding/hex"
	"encoding/json"
	"fmt"
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
	floor := "0"
	if c.arg(7) != "" {
		floor = str(c.now + integer(c.arg(7)))
	}
	c.r.keys[c.keys[0]] = hash{
		"epoch": c.arg(2), "seq": "0", "catalog": c.arg(3), "floor": floor, "replid": c.r.id(), "gen": "0", "genseq": "0",
		"forced": "0", "window": c.arg(4), "buckets": c.arg(5), "key": c.arg(6), "openn": "0", "corr": "0", "brk": c.arg(8), "born": str(c.now),
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
	delete(made[zset](c.r, c.tag+":open"), "transfer:"+c.arg(2))
	return []any{"ok"}, nil
}

func finish(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	t := read[hash](c.r, c.keys[1])
	switch {
	case t["k"] == "d":
		return []any{"ok"}, nil
	case t["k"] == "o" && c.r.Without != RuleHolds:
		return []any{"open!"}, nil
	case t["k"] == "m" && t["s"] != c.arg(8) && c.r.Without != RuleHolds:
		return []any{"gone"}, nil
	}
	void := false
	if len(c.keys) > 2 && c.r.Without != RuleCounts {
		switch p := read[hash](c.r, c.keys[2]); p["k"] {
		case "d":
			void = p["h"] == ""
		case "m":
			p["j"] = "1"
		}
	}
	done := hash{"k": "d"}
	if c.arg(11) == "1" && !void {
		done["h"] = "1"
	}
	c.r.keys[c.keys[1]] = done
	c.r.expires[c.keys[1]] = c.r.now().Add(24 * time.Hour)
	if c.arg(3) == "" || void {
		return []any{"ok"}, nil
	}
	counts := [][2]string{{"stored", c.arg(4)}, {"duplicates", c.arg(5)}, {"quarantined", c.arg(6)}, {"waiting", c.arg(7)}}
	if c.arg(11) != "1" && t["j"] == "" {
		counts = append(counts, [2]string{"duplicates", c.arg(9)}, [2]string{"quarantined", c.arg(10)})
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

// pushed is an account in push.lua's ARGV 3.
type pushed struct {
	ID       string `json:"id"`
	Parent   string `json:"par"`
	Mode     string `json:"mode"`
	Source   string `json:"src"`
	Limit    string `json:"lim"`
	Ceil     string `json:"ceil"`
	Alerts   string `json:"alerts"`
	Observe  string `json:"obs"`
	Priced   string `json:"pr"`
	Channels string `json:"ch"`
	Closed   string `json:"closed"`
	Catalog  string `json:"cat"`
}

func push(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	months := map[string][2]string{}
	at := 4
	for range c.num(4) {
		month, end := c.current(at + 2)
		if month == "" {
			return []any{"clock"}, nil
		}
		months[c.arg(at+1)] = [2]string{month, end}
		at += 10
	}
	var list []pushed
	if err := json.Unmarshal([]byte(c.arg(3)), &list); err != nil {
		return nil, fmt.Errorf("push: %w", err)
	}
	fresh := map[string]bool{}
	for _, d := range list {
		h := read[hash](c.r, c.akey(d.ID))
		if h["cat"] != "" && integer(d.Catalog) < integer(h["cat"]) {
			continue
		}
		fresh[d.ID] = fresh[d.ID] || h["cat"] == ""
		h = made[hash](c.r, c.akey(d.ID))
		for _, f := range [][2]string{
			{"par", d.Parent},
			{"mode", d.Mode},
			{"src", d.Source},
			{"lim", d.Limit},
			{"ceil", d.Ceil},
			{"alerts", d.Alerts},
			{"obs", d.Observe},
			{"pr", d.Priced},
			{"ch", d.Channels},
			{"closed", d.Closed},
			{"cat", d.Catalog},
		} {
			h[f[0]] = f[1]
		}
	}
	for _, d := range list {
		a := c.account(d.ID)
		parent := a.hash["par"]
		if parent == "" {
			parent = a.id
		}
		c.evaluate(a, months[parent][0], months[parent][1], why{cause: "applied", born: fresh[d.ID] || a.hash["quiet"] == "1"})
	}
	if integer(c.arg(2)) > integer(c.meta["catalog"]) {
		c.meta["catalog"] = c.arg(2)
	}
	return []any{"ok"}, nil
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
		c.meta["brk"], c.meta["brkn"] = "", "0"
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
	out := []any{"ok", c.meta["epoch"], c.meta["seq"], c.meta["corr"]}
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
	case t["k"] == "d":
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
		parents = append(parents, parent{c.account(c.arg(at + 1)), month, end})
		at += 10
	}
	var list []reversal
	for range c.num(4) {
		r := reversal{a: c.account(c.arg(at + 1)), p: parents[c.num(at+2)-1], period: c.arg(at + 4), sum: neg(c.arg(at + 5)), line: c.num(at + 6)}
		if id := c.arg(at + 3); id != "" {
			r.purse = c.account(id)
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

func transfer(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	var from, to *account
	missing := []any{"accounts"}
	for i, a := range []**account{&from, &to} {
		if id := c.arg(5 + i); id != "" {
			if *a = c.account(id); *a == nil {
				missing = append(missing, id)
			}
		}
	}
	if len(missing) > 1 {
		return missing, nil
	}
	if held := read[hash](c.r, c.keys[1]); held["hash"] != "" {
		if held["hash"] != c.arg(3) {
			return []any{"conflict"}, nil
		}
		return []any{"again", held["seq"], held["booked"], held["at"], held["amount"], from.balance(), to.balance(), held["epoch"]}, nil
	}
	month, end := c.current(11)
	if month == "" {
		return []any{"clock"}, nil
	}
	amount := c.arg(4)
	if c.arg(8) == "1" {
		amount = from.balance()
	}
	if c.arg(7) == "1" && from.number("bal") < integer(amount) {
		return []any{"short", from.balance()}, nil
	}
	if from.beyond(neg(amount)) || to.beyond(amount) {
		return []any{"overflow"}, nil
	}
	return c.move(from, to, amount, month, end)
}

func (a *account) balance() string {
	if a == nil {
		return ""
	}
	return orZero(a.hash["bal"])
}

// beyond tells whether a sum would leave the range.
func (a *account) beyond(sum string) bool {
	if a == nil {
		return false
	}
	if strings.HasPrefix(sum, "-") != strings.HasPrefix(a.balance(), "-") {
		return false
	}
	return reach{}.over("", a.balance(), sum)
}

func (c *call) move(from, to *account, amount, month, end string) ([]any, error) {
	task := "transfer:" + c.arg(2)
	seq := c.take(task)
	c.r.keys[c.tag+":t:"+task] = hash{"k": "o", "s": seq, "c": "0", "at": str(c.now)}
	c.r.keys[c.keys[1]] = hash{
		"hash": c.arg(3), "seq": seq, "booked": month, "at": str(c.now), "amount": amount, "epoch": c.meta["epoch"],
	}
	if from != nil {
		if _, err := c.incr(from.id, "bal", neg(amount)); err != nil {
			return nil, err
		}
	}
	if to != nil {
		if _, err := c.incr(to.id, "bal", amount); err != nil {
			return nil, err
		}
		if c.arg(9) == "1" {
			to.hash["base"], to.hash["tn"] = to.hash["bal"], str(to.number("tn")+1)
			if to.hash["as"] != "" {
				to.hash["as"] = ""
			}
		}
	}
	c.r.xadd(c.tag+":outbox", "k", "transfer", "e", c.meta["epoch"], "row", c.arg(10), "seq", seq, "booked", month, "at", str(c.now), "amount", amount)
	for _, a := range []*account{from, to} {
		if a != nil {
			c.evaluate(a, month, end, why{cause: "transfer"})
		}
	}
	return []any{"ok", seq, month, str(c.now), amount, from.balance(), to.balance(), c.meta["epoch"]}, nil
}
