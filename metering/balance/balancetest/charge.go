package balancetest

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/meterd/meterd/metering"
)

// slice is a charge call, laid out as charge.lua's header says.
type slice struct {
	*call

	accounts []*account
	parents  []parent
	groups   []*group
	runs     []run
	items    []item
	at       int // ARGV read so far
	gen      int64
	edge     int64  // what occurred before it is cold
	upTo     string // see horizon
	fresh    int
	changes  []string // hashes of messages that new records change
}

type parent struct {
	*account

	month, finish string
}

type group struct {
	a, purse *account
	p        *parent
	period   string
	sum      string
	some     bool
}

type run struct {
	key, before string
	items       []item
}

type item struct {
	line, group int
	amount      string
	occurred    int64
	member      string
	dup         bool
	inSet       bool
}

func charge(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	if held := c.held(); held != nil {
		return held, nil
	}
	switch {
	case integer(c.arg(2)) < integer(c.meta["catalog"]):
		return []any{"catalog", c.meta["catalog"]}, nil
	case integer(c.meta["openn"]) > metering.OpenMax:
		return []any{"full"}, nil
	case c.arg(4) == "found" && c.now-integer(c.arg(6)) > metering.LookedMax.Milliseconds():
		return []any{"stale"}, nil
	}
	s := &slice{call: c}
	for _, step := range []func() []any{s.known, s.dedup, s.standings, s.sums} {
		if refusal := step(); refusal != nil {
			return refusal, nil
		}
	}
	return s.change()
}

// held is the answer that the task has already.
func (c *call) held() []any {
	t := read[hash](c.r, c.keys[1])
	switch {
	case t["k"] == "o" && c.r.Without != RuleAnswer:
		t["at"] = str(c.now)
		return []any{"open", t["s"], t["o"], t["g"], t["r"]}
	case t["k"] == "m" && c.r.Without != RuleMarker:
		return []any{"mark", t["s"], t["o"]}
	case t["k"] == "" && c.done(c.arg(3)) != "" && c.r.Without != RuleDone:
		return []any{"done"}
	}
	return nil
}

// known reads accounts, parents and groups.
func (s *slice) known() []any {
	s.at = 26
	missing := []any{"accounts"}
	for range s.num(7) {
		s.at++
		a := s.account(s.arg(s.at))
		if a == nil {
			missing = append(missing, s.arg(s.at))
		}
		s.accounts = append(s.accounts, a)
	}
	if len(missing) > 1 {
		return missing
	}
	var months [][2]string
	for range s.num(23) {
		month, finish := s.current(s.at + 1)
		if month == "" {
			return []any{"clock"}
		}
		months = append(months, [2]string{month, finish})
		s.at += 9
	}
	for i := range s.num(8) {
		b := []byte(s.arg(22)[8*i:])
		m := months[binary.LittleEndian.Uint32(b[4:])-1]
		s.parents = append(s.parents, parent{s.accounts[binary.LittleEndian.Uint32(b)-1], m[0], m[1]})
	}
	large := listed(s.arg(20))
	for i := range s.num(9) {
		b := []byte(s.arg(19)[24*i:])
		n := func(at int) int { return int(binary.LittleEndian.Uint32(b[4*at:])) }
		g := &group{a: s.accounts[n(0)-1], p: &s.parents[n(1)-1], period: s.arg(s.at + n(3)), sum: amountOf(b[16:])}
		if v, ok := large[i]; ok {
			g.sum = v
		}
		if n(2) > 0 {
			g.purse = s.accounts[n(2)-1]
		}
		if thr := g.p.hash["thr"]; thr != "" && g.period <= thr && s.r.Without != RuleClosed {
			g.period = g.p.month
		}
		s.groups = append(s.groups, g)
	}
	s.at += s.num(21)
	return nil
}

// listed are amounts that a double doesn't hold: place, from 0, to amount.
func listed(text string) map[int]string {
	out := map[int]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if i, v, ok := strings.Cut(pair, "="); ok {
			out[int(integer(i))-1] = v
		}
	}
	return out
}

func amountOf(b []byte) string {
	return str(int64(math.Float64frombits(binary.LittleEndian.Uint64(b))))
}

// horizon of dedup: the generation, since when records are cold, and the seq after
// which all charges stand in the sets.
func (c *call) horizon(seconds int64) (gen, edge int64, upTo string) {
	gen = max(c.now/1000/seconds, integer(c.meta["gen"]))
	edge = c.now - integer(c.meta["window"])
	if c.r.Without != RuleFloor {
		edge = max(edge, integer(c.meta["floor"]))
	}
	switch {
	case c.r.Without == RuleSettled:
		upTo = "0"
	case str(gen) == c.meta["gen"]:
		upTo = str(integer(c.meta["genseq"]) - 1)
	default:
		upTo = c.meta["seq"]
	}
	return gen, edge, upTo
}

func edge(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	if read[hash](c.r, c.keys[1])["k"] != "" || c.done(c.arg(2)) != "" {
		return []any{"held"}, nil
	}
	_, edge, upTo := c.horizon(integer(c.arg(3)))
	return []any{"edge", str(c.now), upTo, str(edge)}, nil
}

// dedup tells new from known.
func (s *slice) dedup() []any {
	s.gen, s.edge, s.upTo = s.horizon(integer(s.arg(17)))
	packed := s.arg(12)
	for range s.num(10) {
		r := run{
			key:    s.tag + ":d:" + str(s.gen) + ":" + s.arg(s.at+1),
			before: s.tag + ":d:" + str(s.gen-1) + ":" + s.arg(s.at+1),
		}
		n := s.num(s.at + 2)
		for i := range n {
			it := unpack(packed[24*(len(s.items)+i):])
			it.member = s.arg(s.at + 3 + i)
			it.inSet = s.has(r.key, it.member) || s.has(r.before, it.member)
			it.dup = it.inSet
			r.items = append(r.items, it)
		}
		s.items = append(s.items, r.items...)
		s.runs = append(s.runs, r)
		s.at += 2 + n
	}
	if s.arg(4) == "force" {
		return s.forced()
	}
	return s.cold()
}

func unpack(b string) item {
	raw := []byte(b[:24])
	return item{
		line: int(binary.LittleEndian.Uint32(raw)), group: int(binary.LittleEndian.Uint32(raw[4:])),
		amount:   amountOf(raw[8:]),
		occurred: int64(math.Float64frombits(binary.LittleEndian.Uint64(raw[16:]))),
	}
}

// forced: all are charged although they stand in their sets.
func (s *slice) forced() []any {
	upTo := integer(s.arg(5))
	for i := range s.items {
		if !s.items[i].inSet && s.r.Without != RuleInSet && (upTo >= 0 || s.r.Without != RuleJudged) {
			return []any{"restart"}
		}
		s.items[i].dup = false
	}
	if s.r.Without == RuleGeneration && str(s.gen) != s.meta["gen"] {
		return []any{"judge_again", s.meta["seq"]}
	}
	if upTo < 0 || s.r.Without != RuleForced && integer(s.meta["forced"]) > upTo ||
		s.r.Without != RuleInSet && integer(s.meta["genseq"]) > upTo {
		return []any{"judge_again", s.meta["seq"]}
	}
	return nil
}

// cold identities are asked for, or known by now.
func (s *slice) cold() []any {
	ask := []any{"cold", str(s.now), s.upTo}
	for i := range s.items {
		it := &s.items[i]
		old := it.occurred < s.edge
		if old && s.r.Without == RuleColdSet {
			it.dup = false
		}
		if it.dup || !old {
			continue
		}
		answer := byte('-')
		if s.arg(4) == "found" {
			answer = s.arg(14)[i]
		}
		switch answer {
		case '-':
			ask = append(ask, int64(i+1))
		case '1':
			it.dup = true
		}
	}
	if len(ask) > 3 {
		return ask
	}
	return nil
}

// changed is the key of what was changed in the hour before some hours.
func (s *slice) changed(hours int64) string {
	return s.tag + ":ch:" + s.arg(1) + ":" + str(s.now/metering.ChangesMax.Milliseconds()-hours)
}

// standings: whether messages that new records change are as they were read.
func (s *slice) standings() []any {
	if s.arg(25) == "" || s.r.Without == RuleChanged {
		return nil
	}
	for i, h := range strings.Split(s.arg(25), ",") {
		if s.items[i].dup {
			continue
		}
		s.changes = append(s.changes, h)
		if d := s.now - integer(s.arg(26)); max(d, -d) > metering.ChangesMax.Milliseconds() {
			return []any{"changed"}
		}
		for _, n := range []int64{-1, 0, 1} {
			if at := read[hash](s.r, s.changed(n))[h]; at != "" && integer(at) > integer(s.arg(24)) {
				return []any{"changed"}
			}
		}
	}
	return nil
}

// sums: what each group adds, and whether it would overflow.
func (s *slice) sums() []any {
	for i, v := range listed(s.arg(15)) {
		s.items[i].amount = v
	}
	for i := range s.items {
		it := &s.items[i]
		g := s.groups[it.group]
		if it.dup {
			g.sum = minus(g.sum, it.amount)
			continue
		}
		g.some = true
		s.fresh++
	}
	over, far := []any{"overflow"}, reach{}
	for i, g := range s.groups {
		if !g.some {
			continue
		}
		changes := []change{{g.a.id + " " + g.period, g.a.used(g.period), g.sum}}
		if g.a.id != g.p.id {
			changes = append(changes, change{g.p.id + " " + g.period, g.p.used(g.period), g.sum})
		}
		if g.purse != nil {
			changes = append(changes, change{g.purse.id, orZero(g.purse.hash["bal"]), neg(g.sum)})
		}
		if !far.take(changes) {
			over = append(over, int64(i+1))
		}
	}
	if len(over) > 1 {
		return over
	}
	return nil
}

// change does everything at once.
func (s *slice) change() ([]any, error) {
	force := s.arg(4) == "force"
	if str(s.gen) != s.meta["gen"] {
		s.meta["gen"], s.meta["genseq"] = str(s.gen), str(integer(s.meta["seq"])+1)
	}
	for _, r := range s.runs {
		for _, it := range r.items {
			if s.r.Without == RuleColdSet && it.occurred < s.edge {
				continue
			}
			made[members](s.r, r.key)[it.member] = struct{}{}
		}
	}
	touched := map[string]*parent{}
	booked := make([]string, len(s.groups))
	for i, g := range s.groups {
		booked[i] = g.period
		if !g.some {
			continue
		}
		if err := s.add(g, g.sum); err != nil {
			return nil, err
		}
		touched[g.a.id], touched[g.p.id] = g.p, g.p
		if g.purse != nil {
			touched[g.purse.id] = g.p
		}
	}
	seq := s.take(s.arg(3))
	outcome := s.outcome()
	s.r.keys[s.keys[1]] = hash{
		"k": "o", "s": seq, "o": outcome, "g": strings.Join(booked, ","), "r": s.arg(13), "c": str(int64(s.fresh)), "at": str(s.now),
	}
	s.meta["openn"] = str(integer(s.meta["openn"]) + int64(s.fresh))
	if force {
		s.meta["forced"] = seq
	}
	for _, h := range s.changes {
		made[hash](s.r, s.changed(0))[h] = seq
		s.r.expires[s.changed(0)] = s.r.now().Add(2 * metering.ChangesMax)
	}
	for _, a := range s.accounts {
		if p := touched[a.id]; p != nil {
			s.evaluate(a, p.month, p.finish, why{cause: "usage"})
		}
	}
	return []any{"ok", seq, outcome, strings.Join(booked, ","), str(s.now)}, nil
}

// add books a sum of a group.
func (s *slice) add(g *group, sum string) error {
	if sum == "0" {
		return nil
	}
	if _, err := s.incr(g.a.id, "u:"+g.period, sum); err != nil {
		return err
	}
	if g.a.id != g.p.id {
		if _, err := s.incr(g.p.id, "u:"+g.period, sum); err != nil {
			return err
		}
	}
	if g.purse != nil {
		if _, err := s.incr(g.purse.id, "bal", neg(sum)); err != nil {
			return err
		}
	}
	return nil
}

func (s *slice) outcome() string {
	line := []byte(s.arg(18))
	for _, it := range s.items {
		line[it.line] = 'n'
		if it.dup {
			line[it.line] = 'd'
		}
	}
	return string(line)
}
