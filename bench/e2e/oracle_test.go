package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// The oracle works out what meterd must answer, in exact fractions and with no
// code of meterd's. Lines are given to it in the order that decides.

// usage is a usage record as the workload means it, with the line that it is
// sent as.
type usage struct {
	Kind       string            `json:"kind,omitempty"`
	ID         string            `json:"id"`
	AccountID  string            `json:"account_id"`
	Channel    string            `json:"channel,omitempty"`
	Direction  string            `json:"direction,omitempty"`
	Status     string            `json:"status,omitempty"`
	ErrorCode  string            `json:"error_code,omitempty"`
	To         string            `json:"to,omitempty"`
	From       string            `json:"from,omitempty"`
	Country    string            `json:"country,omitempty"`
	Network    string            `json:"network,omitempty"`
	Category   string            `json:"category,omitempty"`
	Units      string            `json:"units,omitempty"`
	Unit       string            `json:"unit,omitempty"`
	Amount     string            `json:"amount,omitempty"`
	Currency   string            `json:"currency,omitempty"`
	RefersTo   string            `json:"refers_to,omitempty"`
	OccurredAt string            `json:"occurred_at"`
	Tags       map[string]string `json:"tags,omitempty"`

	at      time.Time
	derived string // the country that the number tells
}

func (u *usage) line() string {
	b, err := json.Marshal(u)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// outcome of a line.
type outcome int

const (
	stored outcome = iota
	duplicate
	quarantined
	waiting
)

// figures of one group of usage.
type figures struct {
	records         int64
	units, billed   *big.Rat
	amount, refunds int64 // micro-units
}

// kept is a charged record.
type kept struct {
	u           *usage
	amount, fee int64
	rule        int
	version     int
	status      string
	statusAt    time.Time
	statusRank  int
	statusID    string
}

type oracle struct {
	book   *book
	zones  map[string]*time.Location
	closed map[string]time.Time
	now    time.Time

	rows    map[string]*kept // account, kind and identity
	content map[string]string
	refused map[string]string // raw line → reason
	use     map[string]*figures
	used    map[string]map[string]int64 // account → month
	balance map[string]int64
	totals  [4]int64
}

func newOracle(tb testing.TB, b *book, now time.Time) *oracle {
	tb.Helper()
	o := &oracle{
		book: b, zones: map[string]*time.Location{}, closed: map[string]time.Time{}, now: now,
		rows: map[string]*kept{}, content: map[string]string{}, refused: map[string]string{},
		use: map[string]*figures{}, used: map[string]map[string]int64{}, balance: map[string]int64{},
	}
	for i := range b.accounts {
		p := b.parentOf(&b.accounts[i])
		loc, err := time.LoadLocation(p.zone)
		if err != nil {
			tb.Fatal(err)
		}
		o.zones[b.accounts[i].id] = loc
		o.used[b.accounts[i].id] = map[string]int64{}
	}
	return o
}

func (o *oracle) count(x outcome) outcome {
	o.totals[x]++
	return x
}

// raw takes a line that isn't a record.
func (o *oracle) raw(line string) outcome { return o.refuse(line, "malformed") }

func (o *oracle) refuse(line, reason string) outcome {
	o.refused[line] = reason
	return o.count(quarantined)
}

// take decides one record.
func (o *oracle) take(u *usage) outcome {
	line := u.line()
	if reason := o.admit(u); reason != "" {
		return o.refuse(line, reason)
	}
	switch u.Kind {
	case "refund":
		return o.refund(u, line)
	case "status":
		return o.statusOf(u, line)
	}
	k := &kept{u: u, status: u.Status, statusAt: u.at, statusRank: rank(u.Status), statusID: u.ID}
	var units, billed *big.Rat
	if u.Amount != "" {
		k.amount = micros(rat(u.Amount))
		units = rat(or(u.Units, "1"))
		billed = units
	} else {
		reason := ""
		if units, billed, reason = o.rate(u, k); reason != "" {
			return o.refuse(line, reason)
		}
	}
	if x, done := o.again(u, u.ID, line); done {
		return x
	}
	o.rows[key(u.AccountID, "usage", u.ID)] = k
	o.move(u, k.amount)
	g := o.group(u.AccountID, u.Channel, o.day(u))
	g.records++
	g.amount += k.amount
	g.units.Add(g.units, units)
	g.billed.Add(g.billed, micro(billed))
	return o.count(stored)
}

// again tells copies: the same content is a duplicate, other a conflict.
func (o *oracle) again(u *usage, id, line string) (outcome, bool) {
	c := *u
	c.OccurredAt, c.Status, c.ErrorCode = "", "", ""
	if u.Kind == "status" {
		c.Status = u.Status
		c.ErrorCode = u.ErrorCode
	}
	content := c.line()
	k := key(u.AccountID, or(u.Kind, "usage"), id)
	had, ok := o.content[k]
	if !ok {
		o.content[k] = content
		return 0, false
	}
	if had == content {
		return o.count(duplicate), true
	}
	return o.refuse(line, "conflict"), true
}

func (o *oracle) admit(u *usage) string {
	a := o.book.account(u.AccountID)
	if a == nil {
		return "unknown_account"
	}
	if at, ok := o.closed[a.id]; ok && !u.at.Before(at) {
		return "account_closed"
	}
	if u.at.After(o.now.Add(30 * time.Minute)) {
		return "from_future" // the workload has none between now and then but the closed
	}
	if u.Kind == "" && (a.parent != "" || len(a.channels) > 0) && !slices.Contains(a.channels, u.Channel) {
		return "channel_not_enabled"
	}
	if u.Currency != "" && u.Currency != o.currency(a) {
		return "currency_mismatch"
	}
	return ""
}

func (o *oracle) currency(a *account) string { return o.book.plan(o.book.parentOf(a).plan).currency }

// rate prices a record by the most specific rule of the version in force.
func (o *oracle) rate(u *usage, k *kept) (units, billed *big.Rat, reason string) {
	p := o.book.plan(o.book.parentOf(o.book.account(u.AccountID)).plan)
	for i := range p.versions {
		if !p.versions[i].from.After(u.at) {
			k.version = i + 1
		}
	}
	if k.version == 0 {
		return nil, nil, "no_price"
	}
	best, bestScore := -1, -1
	for i := range p.versions[k.version-1].rules {
		if score := p.versions[k.version-1].rules[i].score(u); score > bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 {
		return nil, nil, "no_price"
	}
	k.rule = best + 1
	r := &p.versions[k.version-1].rules[best]
	units = rat(or(u.Units, "1"))
	unit := or(u.Unit, r.unit)
	billed = new(big.Rat).Set(units)
	if unit != r.unit || r.first > 0 {
		timed := func(s string) bool { return s == "second" || s == "minute" }
		if !timed(unit) || !timed(r.unit) {
			return nil, nil, "unit_mismatch"
		}
		seconds := new(big.Rat).Set(units)
		if unit == "minute" {
			seconds.Mul(seconds, big.NewRat(60, 1))
		}
		if r.first > 0 && seconds.Sign() > 0 {
			seconds = increments(seconds, r.first, r.next)
		}
		billed = seconds
		if r.unit == "minute" {
			billed = new(big.Rat).Quo(seconds, big.NewRat(60, 1))
		}
	}
	if billed.Sign() == 0 {
		return units, billed, ""
	}
	cost := new(big.Rat).Mul(billed, rat(r.price))
	if least := rat(or(r.minimum, "0")); cost.Cmp(least) < 0 {
		cost = least
	}
	cost.Add(cost, rat(or(r.fee, "0")))
	k.amount, k.fee = micros(cost), micros(rat(or(r.fee, "0")))
	return units, billed, ""
}

// increments rounds seconds up to the first, and past it to whole next ones.
func increments(s *big.Rat, first, next int64) *big.Rat {
	total := big.NewRat(first, 1)
	for total.Cmp(s) < 0 {
		total.Add(total, big.NewRat(next, 1))
	}
	return total
}

// score is how specific a rule is for a record, -1 where it doesn't match.
func (r *rule) score(u *usage) int {
	far := u.To
	if u.Direction == "inbound" {
		far = u.From
	}
	country := or(u.Country, u.derived)
	switch {
	case r.channel != u.Channel,
		r.direction != "" && r.direction != or(u.Direction, "outbound"),
		r.country != "" && r.country != country,
		r.network != "" && r.network != u.Network,
		r.category != "" && r.category != u.Category,
		r.prefix != "" && !strings.HasPrefix(strings.TrimPrefix(far, "+"), r.prefix):
		return -1
	}
	score := 0
	switch {
	case r.network != "":
		score = 10000
	case r.prefix != "":
		score = 1000 + 10*len(r.prefix)
	case r.country != "":
		score = 500
	}
	if r.category != "" {
		score += 2
	}
	if r.direction != "" {
		score++
	}
	return score
}

// move books money: usage of account and parent, and the purse.
func (o *oracle) move(u *usage, amount int64) {
	a := o.book.account(u.AccountID)
	p := o.book.parentOf(a)
	month := u.at.In(o.zones[a.id]).Format("2006-01")
	o.used[a.id][month] += amount
	if p != a {
		o.used[p.id][month] += amount
	}
	if p.mode != "prepaid" {
		return
	}
	if a.source == "allocated" {
		o.balance[a.id] -= amount
	} else {
		o.balance[p.id] -= amount
	}
}

func (o *oracle) day(u *usage) string { return u.at.In(o.zones[u.AccountID]).Format("2006-01-02") }

func (o *oracle) group(account, channel, day string) *figures {
	k := key(account, channel, day)
	if o.use[k] == nil {
		o.use[k] = &figures{units: new(big.Rat), billed: new(big.Rat)}
	}
	return o.use[k]
}

func (o *oracle) refund(u *usage, line string) outcome {
	m := o.rows[key(u.AccountID, "usage", u.RefersTo)]
	if m == nil {
		return o.count(waiting)
	}
	amount := m.amount - m.fee
	if u.Amount != "" {
		named := micros(rat(u.Amount))
		if named > amount {
			return o.refuse(line, "over_refund")
		}
		amount = named
	}
	if x, done := o.again(u, u.RefersTo, line); done {
		return x
	}
	o.move(u, -amount)
	o.group(u.AccountID, m.u.Channel, o.day(u)).refunds += amount
	return o.count(stored)
}

func rank(status string) int {
	return slices.Index([]string{"", "accepted", "queued", "sent", "undelivered", "failed", "delivered", "read"}, status)
}

func (o *oracle) statusOf(u *usage, line string) outcome {
	if x, done := o.again(u, u.ID, line); done {
		return x
	}
	if m := o.rows[key(u.AccountID, "usage", u.RefersTo)]; m != nil {
		newer := u.at.Compare(m.statusAt)
		if newer == 0 {
			newer = rank(u.Status) - m.statusRank
		}
		if newer == 0 {
			newer = strings.Compare(u.ID, m.statusID)
		}
		if newer > 0 {
			m.status, m.statusAt, m.statusRank, m.statusID = u.Status, u.at, rank(u.Status), u.ID
		}
	}
	return o.count(stored)
}

// state of an account and its reasons, in a month.
func (o *oracle) state(id, month string) (string, []string) {
	a := o.book.account(id)
	p := o.book.parentOf(a)
	reasons := []string{}
	if a.source == "allocated" && o.balance[id] <= 0 {
		reasons = append(reasons, "budget_exhausted")
	}
	if p.mode == "prepaid" && a.source != "allocated" && o.balance[p.id] <= 0 {
		reasons = append(reasons, "wallet_exhausted")
	}
	if p.credit != "" && o.used[p.id][month] >= micros(rat(p.credit)) {
		reasons = append(reasons, "credit_ceiling")
	}
	if a.monthly != "" && o.used[id][month] >= micros(rat(a.monthly)) {
		reasons = append(reasons, "monthly_limit")
	}
	state := "active"
	if len(reasons) > 0 {
		state = "suspended"
	}
	if _, ok := o.closed[id]; ok {
		state = "closed"
	}
	return state, reasons
}

func key(parts ...string) string { return strings.Join(parts, "|") }

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func rat(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic(fmt.Sprintf("%q is no number", s))
	}
	return r
}

// micros rounds half to even to 1e-6.
func micros(r *big.Rat) int64 {
	scaled := new(big.Rat).Mul(r, big.NewRat(1_000_000, 1))
	q, rem := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	twice := new(big.Int).Lsh(new(big.Int).Abs(rem), 1)
	if c := twice.Cmp(scaled.Denom()); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(int64(rem.Sign())))
	}
	return q.Int64()
}

// micro is r rounded to 1e-6, as a fraction.
func micro(r *big.Rat) *big.Rat { return big.NewRat(micros(r), 1_000_000) }

// decimals prints micro-units exactly.
func decimals(v int64) string { return big.NewRat(v, 1_000_000).FloatString(6) }
