package traffic

import (
	"cmp"
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

// Usage is a usage record as the workload means it, with the line that it is
// sent as.
type Usage struct {
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

	At      time.Time `json:"-"`
	derived string    // the country that the number tells
}

// Line is the record as it is sent.
func (u *Usage) Line() string {
	b, err := json.Marshal(u)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Outcome of a line.
type Outcome int

// Outcomes.
const (
	Stored Outcome = iota
	Duplicate
	Quarantined
	Waiting
)

// Figures of one group of usage.
type Figures struct {
	Records         int64
	Units, Billed   *big.Rat
	Amount, Refunds int64 // micro-units
}

// Kept is a charged record.
type Kept struct {
	U           *Usage
	Amount, Fee int64
	Rule        int
	Version     int
	Status      string
	statusAt    time.Time
	statusRank  int
	statusID    string
}

// Oracle knows what was sent, and what must come of it.
type Oracle struct {
	Book   *Book
	Zones  map[string]*time.Location
	Closed map[string]time.Time
	now    time.Time

	Rows    map[string]*Kept // account, kind and identity
	Content map[string]string
	Refused map[string]string // raw line → reason
	Use     map[string]*Figures
	Used    map[string]map[string]int64 // account → month
	Balance map[string]int64
	Totals  [4]int64
}

// NewOracle returns one that has taken nothing.
func NewOracle(tb testing.TB, b *Book, now time.Time) *Oracle {
	tb.Helper()
	o := &Oracle{
		Book: b, Zones: map[string]*time.Location{}, Closed: map[string]time.Time{}, now: now,
		Rows: map[string]*Kept{}, Content: map[string]string{}, Refused: map[string]string{},
		Use: map[string]*Figures{}, Used: map[string]map[string]int64{}, Balance: map[string]int64{},
	}
	for i := range b.Accounts {
		p := b.ParentOf(&b.Accounts[i])
		loc, err := time.LoadLocation(p.Zone)
		if err != nil {
			tb.Fatal(err)
		}
		o.Zones[b.Accounts[i].ID] = loc
		o.Used[b.Accounts[i].ID] = map[string]int64{}
	}
	return o
}

func (o *Oracle) count(x Outcome) Outcome {
	o.Totals[x]++
	return x
}

// raw takes a line that isn't a record.
func (o *Oracle) raw(line string) Outcome { return o.refuse(line, "malformed") }

func (o *Oracle) refuse(line, reason string) Outcome {
	o.Refused[line] = reason
	return o.count(Quarantined)
}

// Take decides one record.
func (o *Oracle) Take(u *Usage) Outcome {
	line := u.Line()
	if reason := o.admit(u); reason != "" {
		return o.refuse(line, reason)
	}
	switch u.Kind {
	case "refund":
		return o.refund(u, line)
	case "status":
		return o.statusOf(u, line)
	}
	k := &Kept{U: u, Status: u.Status, statusAt: u.At, statusRank: rank(u.Status), statusID: u.ID}
	var units, billed *big.Rat
	if u.Amount != "" {
		k.Amount = Micros(Rat(u.Amount))
		units = Rat(or(u.Units, "1"))
		billed = units
	} else {
		reason := ""
		if units, billed, reason = o.rate(u, k); reason != "" {
			return o.refuse(line, reason)
		}
	}
	if x, done := o.again(u, u.ID, line); done {
		if x == Duplicate && u.Status != "" {
			o.Rows[Key(u.AccountID, "usage", u.ID)].told(u, "")
		}
		return x
	}
	o.Rows[Key(u.AccountID, "usage", u.ID)] = k
	o.move(u, k.Amount)
	g := o.group(u.AccountID, u.Channel, o.day(u))
	g.Records++
	g.Amount += k.Amount
	g.Units.Add(g.Units, units)
	g.Billed.Add(g.Billed, micro(billed))
	return o.count(Stored)
}

// again tells copies: the same content is a duplicate, other a conflict.
func (o *Oracle) again(u *Usage, id, line string) (Outcome, bool) {
	c := *u
	c.OccurredAt, c.Status, c.ErrorCode = "", "", ""
	if u.Kind == "status" {
		c.Status = u.Status
		c.ErrorCode = u.ErrorCode
	}
	return o.known(Key(u.AccountID, or(u.Kind, "usage"), id), c.Line(), line)
}

// known tells copies of what has this key and content.
func (o *Oracle) known(k, content, line string) (Outcome, bool) {
	had, ok := o.Content[k]
	if !ok {
		o.Content[k] = content
		return 0, false
	}
	if had == content {
		return o.count(Duplicate), true
	}
	return o.refuse(line, "conflict"), true
}

func (o *Oracle) admit(u *Usage) string {
	a := o.Book.Account(u.AccountID)
	if a == nil {
		return "unknown_account"
	}
	if at, ok := o.Closed[a.ID]; ok && !u.At.Before(at) {
		return "account_closed"
	}
	if u.At.After(o.now.Add(30 * time.Minute)) {
		return "from_future" // the workload has none between now and then but the closed
	}
	if u.Kind == "" && (a.Parent != "" || len(a.Channels) > 0) && !slices.Contains(a.Channels, u.Channel) {
		return "channel_not_enabled"
	}
	if u.Currency != "" && u.Currency != o.Currency(a) {
		return "currency_mismatch"
	}
	return ""
}

// Currency of an account.
func (o *Oracle) Currency(a *Account) string { return o.Book.plan(o.Book.ParentOf(a).Plan).Currency }

// rate prices a record by the most specific rule of the version in force.
func (o *Oracle) rate(u *Usage, k *Kept) (units, billed *big.Rat, reason string) {
	p := o.Book.plan(o.Book.ParentOf(o.Book.Account(u.AccountID)).Plan)
	for i := range p.Versions {
		if !p.Versions[i].From.After(u.At) {
			k.Version = i + 1
		}
	}
	if k.Version == 0 {
		return nil, nil, "no_price"
	}
	best, bestScore := -1, -1
	for i := range p.Versions[k.Version-1].Rules {
		if score := p.Versions[k.Version-1].Rules[i].score(u); score > bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 {
		return nil, nil, "no_price"
	}
	k.Rule = best + 1
	r := &p.Versions[k.Version-1].Rules[best]
	units = Rat(or(u.Units, "1"))
	unit := or(u.Unit, r.Unit)
	billed = new(big.Rat).Set(units)
	if unit != r.Unit || r.First > 0 {
		timed := func(s string) bool { return s == "second" || s == "minute" }
		if !timed(unit) || !timed(r.Unit) {
			return nil, nil, "unit_mismatch"
		}
		seconds := new(big.Rat).Set(units)
		if unit == "minute" {
			seconds.Mul(seconds, big.NewRat(60, 1))
		}
		if r.First > 0 && seconds.Sign() > 0 {
			seconds = increments(seconds, r.First, r.Next)
		}
		billed = seconds
		if r.Unit == "minute" {
			billed = new(big.Rat).Quo(seconds, big.NewRat(60, 1))
		}
	}
	if billed.Sign() == 0 {
		return units, billed, ""
	}
	cost := new(big.Rat).Mul(billed, Rat(r.Price))
	if least := Rat(or(r.Minimum, "0")); cost.Cmp(least) < 0 {
		cost = least
	}
	cost.Add(cost, Rat(or(r.Fee, "0")))
	k.Amount, k.Fee = Micros(cost), Micros(Rat(or(r.Fee, "0")))
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
func (r *Rule) score(u *Usage) int {
	far := u.To
	if u.Direction == "inbound" {
		far = u.From
	}
	country := or(u.Country, u.derived)
	switch {
	case r.Channel != u.Channel,
		r.Direction != "" && r.Direction != or(u.Direction, "outbound"),
		r.Country != "" && r.Country != country,
		r.Network != "" && r.Network != u.Network,
		r.Category != "" && r.Category != u.Category,
		r.Prefix != "" && !strings.HasPrefix(strings.TrimPrefix(far, "+"), r.Prefix):
		return -1
	}
	score := 0
	switch {
	case r.Network != "":
		score = 10000
	case r.Prefix != "":
		score = 1000 + 10*len(r.Prefix)
	case r.Country != "":
		score = 500
	}
	if r.Category != "" {
		score += 2
	}
	if r.Direction != "" {
		score++
	}
	return score
}

// move books money: usage of account and parent, and the purse.
func (o *Oracle) move(u *Usage, amount int64) {
	a := o.Book.Account(u.AccountID)
	p := o.Book.ParentOf(a)
	month := u.At.In(o.Zones[a.ID]).Format("2006-01")
	o.Used[a.ID][month] += amount
	if p != a {
		o.Used[p.ID][month] += amount
	}
	if p.Mode != "prepaid" {
		return
	}
	if a.Source == "allocated" {
		o.Balance[a.ID] -= amount
	} else {
		o.Balance[p.ID] -= amount
	}
}

func (o *Oracle) day(u *Usage) string { return u.At.In(o.Zones[u.AccountID]).Format("2006-01-02") }

func (o *Oracle) group(account, channel, day string) *Figures {
	k := Key(account, channel, day)
	if o.Use[k] == nil {
		o.Use[k] = &Figures{Units: new(big.Rat), Billed: new(big.Rat)}
	}
	return o.Use[k]
}

func (o *Oracle) refund(u *Usage, line string) Outcome {
	m := o.Rows[Key(u.AccountID, "usage", u.RefersTo)]
	if m == nil {
		return o.count(Waiting)
	}
	amount := m.Amount - m.Fee
	if u.Amount != "" {
		named := Micros(Rat(u.Amount))
		if named > amount {
			return o.refuse(line, "over_refund")
		}
		amount = named
	}
	// A refund is what it gives back of which message: its own id says nothing.
	if x, done := o.known(Key(u.AccountID, "refund", u.RefersTo), Decimals(amount), line); done {
		return x
	}
	o.move(u, -amount)
	o.group(u.AccountID, m.U.Channel, o.day(u)).Refunds += amount
	return o.count(Stored)
}

func rank(status string) int {
	return slices.Index([]string{"", "accepted", "queued", "sent", "undelivered", "failed", "delivered", "read"}, status)
}

// told takes a status of a message, from a record of its own (id) or a copy (""),
// which counts if it is the latest.
func (k *Kept) told(u *Usage, id string) {
	newer := cmp.Or(u.At.Compare(k.statusAt), rank(u.Status)-k.statusRank, strings.Compare(id, k.statusID))
	if newer > 0 {
		k.Status, k.statusAt, k.statusRank, k.statusID = u.Status, u.At, rank(u.Status), id
	}
}

func (o *Oracle) statusOf(u *Usage, line string) Outcome {
	if x, done := o.again(u, u.ID, line); done {
		return x
	}
	if m := o.Rows[Key(u.AccountID, "usage", u.RefersTo)]; m != nil {
		m.told(u, u.ID)
	}
	return o.count(Stored)
}

// State of an account and its reasons, in a month.
func (o *Oracle) State(id, month string) (string, []string) {
	a := o.Book.Account(id)
	p := o.Book.ParentOf(a)
	reasons := []string{}
	if a.Source == "allocated" && o.Balance[id] <= 0 {
		reasons = append(reasons, "budget_exhausted")
	}
	if p.Mode == "prepaid" && a.Source != "allocated" && o.Balance[p.ID] <= 0 {
		reasons = append(reasons, "wallet_exhausted")
	}
	if p.Credit != "" && o.Used[p.ID][month] >= Micros(Rat(p.Credit)) {
		reasons = append(reasons, "credit_ceiling")
	}
	if a.Monthly != "" && o.Used[id][month] >= Micros(Rat(a.Monthly)) {
		reasons = append(reasons, "monthly_limit")
	}
	state := "active"
	if len(reasons) > 0 {
		state = "suspended"
	}
	if _, ok := o.Closed[id]; ok {
		state = "closed"
	}
	return state, reasons
}

// Key joins what names a row or a group.
func Key(parts ...string) string { return strings.Join(parts, "|") }

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Rat is a decimal string as a fraction.
func Rat(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic(fmt.Sprintf("%q is no number", s))
	}
	return r
}

// Micros rounds half to even to 1e-6.
func Micros(r *big.Rat) int64 {
	scaled := new(big.Rat).Mul(r, big.NewRat(1_000_000, 1))
	q, rem := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	twice := new(big.Int).Lsh(new(big.Int).Abs(rem), 1)
	if c := twice.Cmp(scaled.Denom()); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(int64(rem.Sign())))
	}
	return q.Int64()
}

// micro is r rounded to 1e-6, as a fraction.
func micro(r *big.Rat) *big.Rat { return big.NewRat(Micros(r), 1_000_000) }

// Decimals prints micro-units exactly.
func Decimals(v int64) string { return big.NewRat(v, 1_000_000).FloatString(6) }
