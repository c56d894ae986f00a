package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/phone"
)

// The demo tells a story: which account runs out of what. These tests price the
// committed traffic with a small rating of their own, so that neither a price
// nor a top-up nor the generator can change without the story being kept.

// rule, plan, account and catalog mirror as much of accounts.yaml as matters.
type rule struct {
	Channel, Direction, Country, Network, Prefix, Category string
	Unit, Price, Increment, Minimum, Fee                   string
}

type plan struct {
	ID       string
	Currency string
	Versions []struct {
		RefundOn []string `yaml:"refund_on"`
		Rules    []rule
	}
}

type account struct {
	ID, Plan string
	Channels []string
	Limit    string `yaml:"monthly_limit"`
	Funding  struct {
		Mode, Source string
		Limit        string `yaml:"monthly_limit"`
		Credit       string `yaml:"credit_limit"`
	}
	Subs   []account `yaml:"sub_accounts"`
	parent string
}

type catalog struct {
	Plans    []plan
	Parents  []account
	accounts map[string]*account
	plans    map[string]*plan
}

func loadCatalog(t *testing.T) *catalog {
	t.Helper()
	text, err := os.ReadFile("../accounts.yaml")
	require.NoError(t, err)
	c := &catalog{accounts: map[string]*account{}, plans: map[string]*plan{}}
	require.NoError(t, yaml.Unmarshal(text, c))
	for i := range c.Plans {
		c.plans[c.Plans[i].ID] = &c.Plans[i]
	}
	for i := range c.Parents {
		p := &c.Parents[i]
		p.parent = p.ID
		c.accounts[p.ID] = p
		for j := range p.Subs {
			s := &p.Subs[j]
			s.parent, s.Plan = p.ID, cmp.Or(s.Plan, p.Plan)
			c.accounts[s.ID] = s
		}
	}
	return c
}

// rank orders rules by how specific they are.
func (r *rule) rank() int {
	place := 0
	switch {
	case r.Network != "":
		place = 30
	case r.Prefix != "":
		place = 2 + len(r.Prefix)
	case r.Country != "":
		place = 1
	}
	n := place * 4
	if r.Category != "" {
		n += 2
	}
	if r.Direction != "" {
		n++
	}
	return n
}

// matches tells whether the rule selects the record.
func (r *rule) matches(m *record, country string) bool {
	ok := func(want, have string) bool { return want == "" || want == have }
	other := m.To
	if m.Direction == "inbound" {
		other = m.From
	}
	return r.Channel == m.Channel && ok(r.Direction, cmp.Or(m.Direction, "outbound")) && ok(r.Country, country) &&
		ok(r.Network, m.Network) && ok(r.Category, m.Category) && strings.HasPrefix(strings.TrimPrefix(other, "+"), r.Prefix)
}

// priced is a message with its price.
type priced struct {
	reason       string // why it has none
	amount, fee  decimal.Decimal
	at           time.Time
	parent       string
	autoRefunded bool // where its plan says so
	failing      bool
	refunded     bool
}

func dec(t *testing.T, s string) decimal.Decimal {
	t.Helper()
	d, err := decimal.NewFromString(cmp.Or(s, "0"))
	require.NoError(t, err)
	return d
}

// rate works out a message's price as docs/domain.md, Price plans, says.
func (c *catalog) rate(t *testing.T, m *record) priced {
	t.Helper()
	a := c.accounts[m.AccountID]
	if a == nil {
		return priced{reason: "unknown_account"}
	}
	p := priced{parent: a.parent}
	if len(a.Channels) > 0 && !slices.Contains(a.Channels, m.Channel) {
		p.reason = "channel_not_enabled"
		return p
	}
	pl := c.plans[a.Plan]
	if m.Currency != "" && m.Currency != pl.Currency {
		p.reason = "currency_mismatch"
		return p
	}
	if m.Amount != "" {
		p.amount = dec(t, m.Amount)
		return p
	}
	best, ties := c.best(pl, m)
	if best == nil {
		p.reason = "no_price"
		return p
	}
	require.Equal(t, 1, ties, "%s: ambiguous rules for %+v", a.Plan, m)
	units := dec(t, cmp.Or(strings.Trim(string(m.Units), `"`), "1"))
	unit := cmp.Or(m.Unit, best.Unit)
	if unit == "minute" {
		unit, units = "second", units.Mul(decimal.NewFromInt(60))
	}
	inMinutes := best.Unit == "minute"
	if unit != best.Unit && (!inMinutes || unit != "second") {
		p.reason = "unit_mismatch"
		return p
	}
	p.autoRefunded = len(pl.Versions[0].RefundOn) > 0
	if units.IsZero() {
		return p
	}
	units = increment(t, units, best.Increment)
	if inMinutes {
		units = units.Div(decimal.NewFromInt(60))
	}
	p.fee = dec(t, best.Fee)
	p.amount = decimal.Max(units.Mul(dec(t, best.Price)), dec(t, best.Minimum)).Add(p.fee).RoundBank(6)
	return p
}

// best returns the most specific rule and how many are as specific.
func (c *catalog) best(pl *plan, m *record) (*rule, int) {
	other := m.To
	if m.Direction == "inbound" {
		other = m.From
	}
	country := cmp.Or(m.Country, phone.Country(other))
	var best *rule
	ties := 0
	for i := range pl.Versions[0].Rules {
		r := &pl.Versions[0].Rules[i]
		switch {
		case !r.matches(m, country):
		case best == nil || r.rank() > best.rank():
			best, ties = r, 1
		case r.rank() == best.rank():
			ties++
		}
	}
	return best, ties
}

// increment rounds seconds up to first/next.
func increment(t *testing.T, seconds decimal.Decimal, inc string) decimal.Decimal {
	t.Helper()
	if inc == "" {
		return seconds
	}
	firstText, nextText, ok := strings.Cut(inc, "/")
	require.True(t, ok)
	first, next := dec(t, firstText), dec(t, nextText)
	if seconds.LessThanOrEqual(first) {
		return first
	}
	return first.Add(seconds.Sub(first).Div(next).Ceil().Mul(next))
}

// story is the money of the demo: what each account is charged at least (all
// refunds taken off) and at most (none), in all and within the last burst.
type story struct {
	least, most, burst map[string]decimal.Decimal
	reasons            map[string]int
	messages           map[string]int
}

func tell(t *testing.T, c *catalog) *story {
	t.Helper()
	f, err := os.Open(usageFile)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	s := &story{map[string]decimal.Decimal{}, map[string]decimal.Decimal{}, map[string]decimal.Decimal{}, map[string]int{}, map[string]int{}}
	seen := map[[2]string]*priced{}
	var others []record
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		var m record
		if err := json.Unmarshal(scan.Bytes(), &m); err != nil || strings.HasPrefix(m.ID, "brk-") || m.ID == "" {
			s.reasons["malformed"]++
			continue
		}
		at, err := time.Parse(time.RFC3339, m.OccurredAt)
		require.NoError(t, err)
		require.False(t, at.After(newest()), "%s is newer than the newest", m.ID)
		if m.Kind != "" {
			others = append(others, m)
			continue
		}
		key := [2]string{m.AccountID, m.ID}
		if seen[key] != nil {
			s.reasons["seen"]++
			continue
		}
		p := c.rate(t, &m)
		if p.at = at; p.reason != "" {
			s.reasons[p.reason]++
			continue
		}
		p.failing = m.Status == "failed" || m.Status == "undelivered"
		seen[key] = &p
		s.messages[m.AccountID]++
	}
	require.NoError(t, scan.Err())
	s.settle(t, seen, others)
	return s
}

// settle takes refunds off and adds everything up.
func (s *story) settle(t *testing.T, seen map[[2]string]*priced, others []record) {
	t.Helper()
	for _, o := range others {
		p := seen[[2]string{o.AccountID, o.RefersTo}]
		switch {
		case p == nil:
			require.Equal(t, "refund", o.Kind)
			s.reasons["waiting"]++
		case o.Kind == "status":
			p.failing = p.failing || o.Status == "failed" || o.Status == "undelivered"
		case dec(t, o.Amount).GreaterThan(p.amount.Sub(p.fee)):
			s.reasons["over_refund"]++
		default:
			require.False(t, p.refunded, "%s is refunded twice", o.RefersTo)
			require.True(t, p.amount.Sub(p.fee).IsPositive(), "%s cost nothing", o.RefersTo)
			p.refunded = true
		}
	}
	for key, p := range seen {
		id := key[0]
		s.most[id] = s.most[id].Add(p.amount)
		auto := p.failing && p.autoRefunded
		require.False(t, auto && p.refunded, "%s is refunded by hand and by its plan", key[1])
		if !auto && !p.refunded {
			s.least[id] = s.least[id].Add(p.amount)
			if p.at.After(newest().Add(-burstFor)) {
				s.burst[id] = s.burst[id].Add(p.amount)
			}
		}
	}
}

// funds reads the demo's top-ups and allocations from run.sh.
func funds(t *testing.T, verb string) map[string]decimal.Decimal {
	t.Helper()
	script, err := os.ReadFile("../run.sh")
	require.NoError(t, err)
	found := map[string]decimal.Decimal{}
	for _, m := range regexp.MustCompile(`(?m)^"\$meterd" wallet `+verb+` (\S+) (\S+) --ref`).FindAllStringSubmatch(string(script), -1) {
		found[m[1]] = dec(t, m[2])
	}
	return found
}

// sum adds up some accounts.
func sum(of map[string]decimal.Decimal, ids ...string) decimal.Decimal {
	total := decimal.Zero
	for _, id := range ids {
		total = total.Add(of[id])
	}
	return total
}

func TestStory(t *testing.T) {
	t.Parallel()
	c := loadCatalog(t)
	s := tell(t, c)
	topup, budget := funds(t, "topup"), funds(t, "allocate")
	acmeShares := []string{"acme", "acme-support", "acme-loyalty", "acme-franchise"}
	saffronShares := []string{"saffron", "saffron-store"}
	himalAll := []string{"himal", "himal-bank", "himal-trek"}
	for id := range c.accounts {
		t.Logf("%-16s %5d messages, %s to %s, %s in the burst", id, s.messages[id], s.least[id], s.most[id], s.burst[id])
	}
	// Over means by a fifth even with every refund; under, that a fifth is left.
	over := func(what string, used, limit decimal.Decimal) {
		require.True(t, used.GreaterThan(limit.Mul(dec(t, "1.2"))), "%s: %s does not pass %s by a fifth", what, used, limit)
	}
	under := func(what string, used, limit decimal.Decimal) {
		require.True(t, used.LessThan(limit.Mul(dec(t, "0.8"))), "%s: %s leaves less than a fifth of %s", what, used, limit)
	}
	over("acme-marketing: budget_exhausted", s.least["acme-marketing"], budget["acme-marketing"])
	under("acme's wallet lasts", sum(s.most, acmeShares...), topup["acme"].Sub(budget["acme-marketing"]))
	over("acme-loyalty: monthly_limit", s.burst["acme-loyalty"], dec(t, c.accounts["acme-loyalty"].Funding.Limit))
	under("acme-support stays below its limit", s.most["acme-support"], dec(t, c.accounts["acme-support"].Funding.Limit))
	under("globex stays below its ceiling", sum(s.most, "globex", "globex-shop", "globex-clinic"), dec(t, c.accounts["globex"].Funding.Credit))
	under("globex-clinic stays below its limit", s.most["globex-clinic"], dec(t, c.accounts["globex-clinic"].Limit))
	over("saffron: wallet_exhausted", sum(s.least, saffronShares...), topup["saffron"].Sub(budget["saffron-pay"]))
	under("saffron-pay's budget lasts", s.most["saffron-pay"], budget["saffron-pay"])
	over("himal: credit_ceiling", sum(s.burst, himalAll...), dec(t, c.accounts["himal"].Funding.Credit))
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	c := loadCatalog(t)
	s := tell(t, c)
	networks, err := readNetworks()
	require.NoError(t, err)
	_, n, err := newGenerator(1, networks).traffic(20_000)
	require.NoError(t, err)
	require.Equal(t, map[string]int{
		"malformed": n.Junk, "unknown_account": n.Unknown, "channel_not_enabled": n.NotEnabled, "no_price": n.NoPrice,
		"unit_mismatch": n.UnitMismatch, "currency_mismatch": n.Currency, "over_refund": n.OverRefunds,
		"waiting": n.Waiting, "seen": n.Copies + n.Restamped + n.Conflicts,
	}, s.reasons)
	total := 0
	for _, m := range s.messages {
		total += m
	}
	require.Equal(t, n.Messages, total)
	require.Len(t, s.messages, len(c.accounts), "every account sends")
	// Each channel and country of the example is worth its rule.
	for _, p := range c.Plans {
		for i, r := range p.Versions[0].Rules {
			price := dec(t, r.Price)
			require.False(t, price.IsNegative(), p.ID+" rule "+strconv.Itoa(i+1))
			require.GreaterOrEqual(t, price.Exponent(), int32(-8), p.ID+" rule "+strconv.Itoa(i+1))
		}
	}
}
