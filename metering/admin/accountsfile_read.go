package admin

import (
	"cmp"
	"errors"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/meterd/meterd/metering"
)

const needID = "1 to 64 of A-Z a-z 0-9 . _ -"

// file reads the whole file into f.
func (r *fileReader) file(root ast.Node, f *AccountsFile) {
	m, ok := r.mapping(root, at(start(root), ""), "issuer", "plans", "parents")
	if !ok {
		return
	}
	plans, places, _ := m.items("plans")
	for i, n := range plans {
		if p, ok := r.plan(n, places[i]); ok {
			f.plans = append(f.plans, p)
		}
	}
	issuer := r.issuer(&m)
	parents, places, _ := m.items("parents")
	for i, n := range parents {
		if p, ok := r.parent(n, places[i]); ok {
			if p.issuer == nil {
				p.issuer = issuer
			}
			f.parents = append(f.parents, p)
		}
	}
	if len(r.list) == 0 && len(f.plans) == 0 && len(f.parents) == 0 {
		r.fail(m.at, "no plans and no parents; see examples/accounts.yaml")
	}
	r.unique(f)
}

// unique refuses ids that stand there twice. A sub-account's is unique among
// all accounts.
func (r *fileReader) unique(f *AccountsFile) {
	check := func(seen map[string]int, what, id string, where place) {
		where.field = join(where.field, "id")
		if line, twice := seen[id]; twice && id != "" {
			r.fail(where, "%s %q is there twice, first in line %d; an id is unique over the whole installation", what, id, line)
		} else {
			seen[id] = where.line
		}
	}
	plans, accounts := map[string]int{}, map[string]int{}
	for i := range f.plans {
		check(plans, "plan", f.plans[i].id, f.plans[i].at)
	}
	for i := range f.parents {
		check(accounts, "account", f.parents[i].id, f.parents[i].at)
		for j := range f.parents[i].subs {
			check(accounts, "account", f.parents[i].subs[j].id, f.parents[i].subs[j].at)
		}
	}
}

// id reads an account's or plan's id.
func (m *mapping) id() string {
	id := m.required("id", needID)
	if id.set && !metering.ValidID(id.v) {
		m.r.fail(id.at, "not an id; give %s", needID)
	}
	return id.v
}

func (r *fileReader) plan(n ast.Node, where place) (filePlan, bool) {
	m, ok := r.mapping(n, where, "id", "currency", "versions")
	if !ok {
		return filePlan{}, false
	}
	p := filePlan{at: where, id: m.id(), currency: m.required("currency", "an ISO 4217 code such as EUR")}
	if p.currency.set && !metering.KnownCurrency(p.currency.v) {
		r.fail(p.currency.at, "unknown currency %q; give an ISO 4217 code such as EUR", p.currency.v)
	}
	versions, places, _ := m.items("versions")
	if len(versions) == 0 {
		r.fail(m.place("versions"), "no version; give at least one")
	}
	for i, v := range versions {
		if v, ok := r.version(v, places[i]); ok {
			p.versions = append(p.versions, v)
		}
	}
	slices.SortStableFunc(p.versions, func(a, b fileVersion) int { return a.EffectiveFrom.Compare(b.EffectiveFrom) })
	for i := 1; i < len(p.versions); i++ {
		if v := p.versions[i]; v.EffectiveFrom.Equal(p.versions[i-1].EffectiveFrom) && !v.EffectiveFrom.IsZero() {
			v.at.field = join(v.at.field, "effective_from")
			r.fail(v.at, "the same as that of the version in line %d; give each its own", p.versions[i-1].at.line)
		}
	}
	return p, true
}

func (r *fileReader) version(n ast.Node, where place) (fileVersion, bool) {
	m, ok := r.mapping(n, where, "effective_from", "refund_on", "refund_after", "rules")
	if !ok {
		return fileVersion{}, false
	}
	before := len(r.list)
	v := fileVersion{at: where}
	from := m.required("effective_from", "an RFC 3339 time with its offset")
	if from.set {
		t, err := time.Parse(time.RFC3339Nano, from.v)
		if err != nil || t.Year() < 1970 || t.Year() > 2261 {
			r.fail(from.at, "not an instant; give an RFC 3339 time with its offset, such as 2026-01-01T00:00:00Z")
		}
		v.EffectiveFrom = instant(t)
	}
	statuses, _ := m.texts("refund_on")
	for _, s := range statuses {
		v.RefundOn = append(v.RefundOn, s.v)
	}
	slices.Sort(v.RefundOn)
	v.RefundOn = slices.Compact(v.RefundOn)
	if after := m.text("refund_after"); after.set {
		d, err := time.ParseDuration(after.v)
		if err != nil {
			r.fail(after.at, "not a duration; give one such as 10m")
		}
		v.RefundAfter = d
	}
	rules, places, _ := m.items("rules")
	for i, n := range rules {
		rule, ok := r.rule(n, places[i])
		if ok {
			v.Rules, v.rules = append(v.Rules, rule), append(v.rules, places[i])
		}
	}
	if len(r.list) == before {
		r.wholeVersion(&m, &v)
	}
	return v, true
}

// wholeVersion judges a version whose parts are right.
func (r *fileReader) wholeVersion(m *mapping, v *fileVersion) {
	if i, j, ok := metering.AmbiguousPair(v.Rules); ok {
		r.fail(v.rules[j], "as specific as the rule in line %d for the same record; make one more specific, or drop it", v.rules[i].line)
		return
	}
	var f *metering.FieldError
	if err := v.Validate(); errors.As(err, &f) {
		r.fail(m.place(f.Field), "%s", f.Detail)
	}
}

func (r *fileReader) rule(n ast.Node, where place) (metering.Rule, bool) {
	m, ok := r.mapping(n, where, "channel", "direction", "country", "network", "prefix", "category",
		"unit", "price", "increment", "minimum", "fee")
	if !ok {
		return metering.Rule{}, false
	}
	before := len(r.list)
	rule := metering.Rule{
		Channel:   m.selector("channel"),
		Direction: m.selector("direction"),
		Country:   m.selector("country"),
		Network:   m.selector("network"),
		Prefix:    strings.TrimPrefix(m.selector("prefix"), "+"),
		Category:  m.selector("category"),
		Unit:      m.required("unit", "segment, message, second, minute, recipient or another lower-case word").v,
		Minimum:   m.money("minimum").v,
		Fee:       m.money("fee").v,
	}
	if net, ok := metering.NetworkDigits(rule.Network); ok {
		rule.Network = net
	}
	if price := m.required("price", "a decimal of 0 or more with at most eight decimals"); price.set {
		v, err := metering.ParsePrice(price.v)
		if err != nil {
			r.fail(price.at, "%q isn't a price; give a decimal from 0 to below 10^10 with at most eight decimals after a point", price.v)
		}
		rule.Price = v
	}
	if inc := m.text("increment"); inc.set {
		v, ok := metering.ParseIncrement(inc.v)
		if !ok {
			r.fail(inc.at, "%q isn't an increment; give first/next seconds such as 60/60 or 30/6", inc.v)
		}
		rule.Increment = v
	}
	var f *metering.FieldError
	if err := rule.Validate(); errors.As(err, &f) && len(r.list) == before {
		r.fail(m.place(f.Field), "%s", f.Detail)
	}
	return rule, len(r.list) == before
}

// selector is the text of a rule's selector; an empty one would match all
// without saying so.
func (m *mapping) selector(key string) string {
	s := m.text(key)
	if s.set && (s.v == "" || s.v == "+") {
		m.r.fail(s.at, "empty; give a value, or leave it out to match all")
	}
	return s.v
}

// money reads an amount of 0 or more with at most six decimals.
func (m *mapping) money(key string) located[metering.Micros] {
	t := m.text(key)
	out := located[metering.Micros]{at: t.at, set: t.set}
	if !t.set {
		return out
	}
	v, err := metering.ParseMicros(t.v)
	switch {
	case errors.Is(err, metering.ErrOverflow):
		m.r.fail(t.at, "too large; give less than 10^12")
	case err != nil:
		m.r.fail(t.at, "%q isn't an amount; give a decimal with at most six decimals after a point", t.v)
	case v < 0 || strings.HasPrefix(t.v, "-"):
		m.r.fail(t.at, "negative; give 0 or more")
	}
	out.v = v
	return out
}

// account reads what parents and sub-accounts have in common.
func (m *mapping) account() fileAccount {
	a := fileAccount{at: m.at, id: m.id(), zone: m.text("timezone"), plan: m.text("plan")}
	if metering.ReservedID(a.id) {
		m.r.fail(m.place("id"), "%q is a word of meterd's own, which stands for others than this account; give another id", a.id)
	}
	name := m.text("name")
	a.name = cmp.Or(name.v, a.id)
	if len(a.name) > 256 || strings.ContainsFunc(a.name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		m.r.fail(name.at, "give one line of at most 256 bytes")
	}
	if module := m.text("module"); module.set {
		a.module = located[metering.Module]{metering.Module(module.v), true, module.at}
		if a.module.v != metering.Enterprise && a.module.v != metering.Reseller {
			m.r.fail(module.at, "%q isn't a module; give enterprise or reseller", module.v)
		}
	}
	if a.zone.set {
		if _, err := metering.LoadZone(a.zone.v); err != nil {
			m.r.fail(a.zone.at, "%s", err)
		}
	}
	if a.plan.set && !metering.ValidID(a.plan.v) {
		m.r.fail(a.plan.at, "not a plan's id; give %s", needID)
	}
	addresses, set := m.texts("alert_mail")
	a.mail = located[[]string]{at: m.place("alert_mail"), set: set}
	for _, x := range addresses {
		if _, err := mail.ParseAddress(x.v); err != nil || strings.ContainsAny(x.v, "<>") {
			m.r.fail(x.at, "not a mail address; give one such as finance@acme.example")
		}
		a.mail.v = append(a.mail.v, x.v)
	}
	channels, set := m.texts("channels")
	a.channels = located[[]string]{at: m.place("channels"), set: set}
	for _, c := range channels {
		if !metering.ValidWord(c.v) {
			m.r.fail(c.at, "%q isn't a channel; give a lower-case word such as sms", c.v)
		}
		a.channels.v = append(a.channels.v, c.v)
	}
	slices.Sort(a.channels.v)
	a.channels.v = slices.Compact(a.channels.v)
	return a
}

// alerts reads shares of the limit in percent; 50, 80 and 100 unless given.
func (m *mapping) alerts() []int {
	texts, set := m.texts("alerts")
	if !set {
		return []int{50, 80, 100}
	}
	out := []int{}
	for _, t := range texts {
		v, err := strconv.Atoi(t.v)
		if err != nil || v < 1 || v > 1000 || len(out) > 0 && v <= out[len(out)-1] {
			m.r.fail(t.at, "give whole percentages from 1 to 1000, rising, such as [50, 80, 100]")
			return out
		}
		out = append(out, v)
	}
	return out
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
