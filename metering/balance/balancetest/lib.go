package balancetest

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// call is one run of a script. What it does follows lua/lib.lua.
type call struct {
	r    *Redis
	tag  string
	keys []string
	argv []string
	now  int64 // ms
	meta hash
}

// flags of states, as in lib.lua.
const (
	flagBudget  = 1
	flagWallet  = 2
	flagCeiling = 4
	flagMonthly = 8
	flagManual  = 48
	automatic   = 15
)

// rangeMax is how far a sum may go.
const rangeMax = 9_200_000_000_000_000_000

// script is one, written in Go.
type script func(*call) ([]any, error)

// eval finds the script by the name in its header and runs it.
func (r *Redis) eval(name string, args []string) (any, error) {
	if name == "eval" {
		source := args[0]
		at := strings.LastIndex(source, ".lua: ")
		from := strings.LastIndex(source[:max(at, 0)], "-- ")
		if at < 0 || from < 0 {
			return nil, fmt.Errorf("balancetest: a script without a header")
		}
		header := source[from+len("-- ") : at]
		args[0] = digest(source)
		if r.scripts[args[0]] = scripts()[header]; r.scripts[args[0]] == nil {
			return nil, fmt.Errorf("balancetest: no script %q", header)
		}
	}
	run := r.scripts[args[0]]
	if run == nil {
		return nil, scriptError("NOSCRIPT No matching script. Please use EVAL.")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return nil, fmt.Errorf("number of keys: %w", err)
	}
	c := &call{r: r, keys: args[2 : 2+n], argv: args[2+n:], now: r.now().UnixMilli()}
	c.tag = strings.TrimSuffix(c.keys[0], ":meta")
	return run(c)
}

func scripts() map[string]script {
	return map[string]script{
		"adopt": adopt, "breaker": breaker, "charge": charge, "clear": clearKeys, "close": closeMonth, "confirm": confirm, "finish": finish, "giveup": giveUp,
		"edge": edge, "heal": heal, "install": install, "lease": lease, "load": load, "manual": manual, "peek": peek, "push": push, "read": readAll, "release": release, "roll": roll, "settle": settle,
		"told": told, "transfer": transfer,
	}
}

// scriptError is an error that Redis itself answers.
type scriptError string

// Error implements error.
func (e scriptError) Error() string { return string(e) }

// RedisError implements redis.Error.
func (scriptError) RedisError() {}

// arg is ARGV[i], from 1.
func (c *call) arg(i int) string { return c.argv[i-1] }

// num is ARGV[i] as a number.
func (c *call) num(i int) int { return int(integer(c.argv[i-1])) }

func integer(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func str(n int64) string { return strconv.FormatInt(n, 10) }

// guard is the refusal, if any, of a caller.
func (c *call) guard(epoch string) []any {
	c.meta = read[hash](c.r, c.keys[0])
	switch {
	case c.meta["epoch"] == "":
		return []any{"empty"}
	case c.meta["replid"] == "" && c.r.Without != RuleReplid:
		return []any{"void"}
	case c.meta["replid"] != c.r.id() && c.r.Without != RuleReplid:
		return []any{"replid", c.r.id()}
	case epoch != "" && epoch != c.meta["epoch"] && c.r.Without != RuleEpoch:
		return []any{"epoch", c.meta["epoch"]}
	}
	return nil
}

// account is what the partition holds of one; its fields are read as they are.
type account struct {
	hash

	id     string
	manual *int64
}

func (c *call) akey(id string) string { return c.tag + ":a:" + id }

// account returns nil if the partition doesn't hold it, or its parent.
func (c *call) account(id string) *account {
	h := read[hash](c.r, c.akey(id))
	par, ok := h["par"]
	if !ok || par != "" && read[hash](c.r, c.akey(par)) == nil {
		return nil
	}
	return &account{hash: h, id: id}
}

func (a *account) number(field string) int64 { return integer(a.hash[field]) }

func (a *account) used(period string) string { return orZero(a.hash["u:"+period]) }

func (c *call) incr(id, field, delta string) (string, error) {
	return c.r.incr(c.akey(id), field, delta)
}

func neg(s string) string {
	switch {
	case s == "0":
		return s
	case strings.HasPrefix(s, "-"):
		return s[1:]
	}
	return "-" + s
}

func (c *call) fact(kind string, a *account, more ...string) {
	c.r.xadd(c.tag+":outbox", append([]string{"k", kind, "e", c.meta["epoch"], "id", a.id, "par", a.hash["par"], "at", str(c.now)}, more...)...)
}

// limit of an account, of which shares are told: by doubles, as in Lua.
type limit struct {
	kind, field, mark string
	used, whole       float64 //nolint:forbidigo // what Lua reckons with
}

// shares emits one alert for each share that was passed.
func (c *call) shares(a *account, alerts, period string, l limit) {
	if alerts == "" || l.whole <= 0 {
		return
	}
	from := 0
	if rest, ok := strings.CutPrefix(a.hash[l.field], l.mark+":"); ok {
		from, _ = strconv.Atoi(rest)
	}
	top := from
	for s := range strings.SplitSeq(alerts, ",") {
		share, _ := strconv.Atoi(s)
		if share > from && l.used*100 >= l.whole*double(int64(share)) {
			c.fact("alert", a, "limit", l.kind, "share", s, "mark", l.mark, "per", period)
			top = share
		}
	}
	if top > from {
		a.hash[l.field] = l.mark + ":" + strconv.Itoa(top)
	}
}

func (c *call) alert(a, p *account, used, period string) {
	alerts, own := p.hash["alerts"], a.hash["par"] == ""
	if own && a.hash["mode"] == "prepaid" || a.hash["src"] == "allocated" {
		if a.hash["base"] != "" {
			kind := "budget"
			if own {
				kind = "wallet"
			}
			c.shares(a, alerts, period, limit{kind, "as", a.hash["tn"], double(a.number("base")) - double(a.number("bal")), double(a.number("base"))})
		}
	}
	if own && a.hash["ceil"] != "" {
		c.shares(a, alerts, period, limit{"credit", "ac", period, double(integer(used)), double(a.number("ceil"))})
	}
	if a.hash["lim"] != "" {
		c.shares(a, alerts, period, limit{"monthly_limit", "am", period, double(integer(used)), double(a.number("lim"))})
	}
}

// own flags of an account that its sums call for, beside those set by hand.
func (a *account) flags(used string) int64 {
	broke := a.number("bal") <= 0
	reached := func(limit string) bool { return limit != "" && integer(used) >= integer(limit) }
	var f int64
	switch {
	case a.hash["par"] != "":
		if a.hash["src"] == "allocated" && broke {
			f |= flagBudget
		}
		if reached(a.hash["lim"]) {
			f |= flagMonthly
		}
	case a.hash["mode"] == "prepaid":
		if broke {
			f |= flagWallet
		}
	case reached(a.hash["ceil"]):
		f |= flagCeiling
	}
	return f
}

// why a state is judged, for its fact.
type why struct {
	cause, actor, note string
	born               bool
}

// evaluate is the state function.
func (c *call) evaluate(a *account, period, finish string, w why) int64 {
	p := a
	if a.hash["par"] != "" {
		p = c.account(a.hash["par"])
	}
	was := a.number("f")
	f := was & flagManual
	if a.manual != nil {
		f = *a.manual
	}
	used := a.used(period)
	f |= a.flags(used)
	if !w.born {
		c.alert(a, p, used, period)
	}
	silent := w.born && f&^(flagBudget|flagWallet) == 0
	f, held := c.effect(a, p, f, was, w)
	silent = silent && (was == 0 || f == was)
	c.lifted(a, was, f, held)
	changed := f != was
	back := held != a.number("h")
	if back {
		a.hash["h"] = str(held)
	}
	if changed || a.hash["fp"] != period {
		a.hash["f"], a.hash["fp"], a.hash["fe"] = str(f), period, finish
	}
	if silent {
		quiet := "0"
		if f != 0 {
			quiet = "1"
		}
		a.hash["quiet"] = quiet
		return f
	}
	behind := a.hash["quiet"] == "3"
	spoke := a.hash["quiet"] == "1" || a.hash["quiet"] == "2" || behind
	unheard := spoke && f != 0 || behind
	if spoke {
		a.hash["quiet"] = "0"
	}
	if changed || back || unheard {
		a.hash["n"] = str(a.number("n") + 1)
		a.hash["at"] = str(c.now)
		pn := "0"
		if a.hash["par"] != "" {
			pn = orZero(p.hash["n"])
		}
		only := ""
		if back && !changed && !unheard {
			only = "held"
		}
		if spoke && f != 0 {
			was = 0 // who has heard of it isn't known
		}
		c.fact("state", a, "f", str(f), "h", str(held), "was", str(was), "only", only, "n", a.hash["n"], "pn", pn, "per", period,
			"cause", w.cause, "actor", w.actor, "note", w.note)
	}
	return f
}

// suspendedKey holds the accounts that were suspended in the present minute.
func (c *call) suspendedKey() string { return c.tag + ":brk:" + str(c.now/60_000) }

// liftedKey holds those that a limit had suspended as the breaker opened and that
// were lifted since.
func (c *call) liftedKey() string { return c.tag + ":lifted" }

// breaks counts an account that is about to be suspended, once a minute, and tells
// whether the breaker holds that back.
func (c *call) breaks(a *account) bool {
	most := integer(c.meta["brkmax"])
	if most <= 0 {
		return false
	}
	key := c.suspendedKey()
	if c.has(key, a.id) {
		return false
	}
	if int64(len(read[members](c.r, key))) < most || c.r.Without == RuleBreaker {
		made[members](c.r, key)[a.id] = struct{}{}
		c.r.expires[key] = c.r.now().Add(2 * time.Minute)
		return false
	}
	c.meta["brk"] = str(c.now)
	c.fact("breaker", a, "most", str(most))
	return true
}

// effect splits the flags that hold into those in effect and those held back.
func (c *call) effect(a, p *account, f, was int64, w why) (effect, held int64) {
	auto := f & automatic
	back := p.hash["obs"] == "1"
	if !back && auto != 0 && was&automatic == 0 && !w.born && w.cause != "released" {
		if c.meta["brk"] != "" {
			back = read[hash](c.r, c.liftedKey())[a.id] == ""
		} else {
			before := a.hash["quiet"] == "3" || a.hash["quiet"] == "2" && w.cause != "usage"
			back = !before && c.breaks(a)
		}
	}
	if back {
		return f & flagManual, auto
	}
	return f, 0
}

// lifted notes whom a limit had suspended when the breaker opened, for effect.
func (c *call) lifted(a *account, was, f, held int64) {
	if c.meta["brk"] != "" && held == 0 && a.hash["quiet"] != "1" && was&automatic != 0 && f&automatic == 0 {
		made[hash](c.r, c.liftedKey())[a.id] = "1"
	}
}

// current is the month out of the nine arguments from i that holds now.
func (c *call) current(i int) (name, finish string) {
	for k := i; k <= i+6; k += 3 {
		if c.now >= integer(c.arg(k+1)) && c.now < integer(c.arg(k+2)) {
			return c.arg(k), c.arg(k + 2)
		}
	}
	return "", ""
}

// take is the next seq, with an answer open under it.
func (c *call) take(task string) string {
	seq := integer(c.meta["seq"]) + 1
	c.meta["seq"] = str(seq)
	made[zset](c.r, c.tag+":open")[task] = seq
	return str(seq)
}

// change is what a group does to a field.
type change struct{ field, held, by string }

// reach is how far the changes of a call take fields, those upwards and those
// downwards by themselves.
type reach map[string]*big.Int

// take a group's changes, unless one takes its field out of the range.
func (r reach) take(changes []change) bool {
	next := reach{}
	for _, c := range changes {
		by := amount(c.by)
		way := by.Sign()
		field := c.field + strconv.Itoa(way)
		if next[field] = by; r[field] != nil {
			next[field] = new(big.Int).Add(r[field], by)
		}
		if to := new(big.Int).Add(amount(c.held), next[field]); to.Sign() == way && beyond(to) {
			return false
		}
	}
	maps.Copy(r, next)
	return true
}

// beyond tells whether a sum is out of the range.
func beyond(n *big.Int) bool { return n.CmpAbs(big.NewInt(rangeMax)) > 0 }

// amount is one that may be beyond 64 bits.
func amount(s string) *big.Int {
	n, _ := new(big.Int).SetString(s, 10)
	return n
}

func minus(a, b string) string { return new(big.Int).Sub(amount(a), amount(b)).String() }

// done is how a task finished, "" if it hasn't.
func (c *call) done(task string) string {
	for day := c.day() - 1; day <= c.day()+1; day++ {
		key, field := c.doneAt(task, day)
		if how := read[hash](c.r, key)[field]; how != "" {
			return how
		}
	}
	return ""
}

// finished notes that a task is done.
func (c *call) finished(task, how string) {
	key, field := c.doneAt(task, c.day())
	made[hash](c.r, key)[field] = how
	c.r.expires[key] = time.Unix((c.day()+2)*secondsOfDay, 0)
}

const secondsOfDay = 86400

func (c *call) day() int64 { return c.now / 1000 / secondsOfDay }

func (c *call) doneAt(task string, day int64) (key, field string) {
	sum := digest(task)
	n, _ := strconv.ParseUint(sum[:4], 16, 64)
	return fmt.Sprintf("%s:done:%d:%d", c.tag, day, n%16384), sum[4:28]
}

func (c *call) has(set, member string) bool {
	_, ok := read[members](c.r, set)[member]
	return ok
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
