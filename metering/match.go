package metering

import (
	"cmp"
	"slices"
	"strings"
)

// The most specific selector of a rule's destination (docs/domain.md, Price plans).
const (
	classNone = iota
	classCountry
	classPrefix
	classNetwork
)

// class is the rule's most specific selector, with its value.
func (r *Rule) class() (class int, value string) {
	switch {
	case r.Network != "":
		return classNetwork, r.Network
	case r.Prefix != "":
		return classPrefix, r.Prefix
	case r.Country != "":
		return classCountry, r.Country
	}
	return classNone, ""
}

// ruleIndex finds the rule of a plan version for a record: by channel, then by
// destination. It is built once and only read.
type ruleIndex struct {
	rules    []Rule
	channels map[string]*channelIndex
	others   *channelIndex // rules without a channel, for all other channels
}

// channelIndex holds the candidates for one channel: indexes into rules, each
// list in the order in which they are tried.
type channelIndex struct {
	networks  map[string][]int
	prefixes  map[string][]int
	lengths   []int // of the prefixes, longest first
	countries map[string][]int
	rest      []int
}

// newRuleIndex compiles the rules of one plan version.
func newRuleIndex(rules []Rule) *ruleIndex {
	x := &ruleIndex{rules: rules, channels: map[string]*channelIndex{}}
	x.others = x.channel("")
	for i := range rules {
		if c := rules[i].Channel; c != "" && x.channels[c] == nil {
			x.channels[c] = x.channel(c)
		}
	}
	return x
}

// channel compiles the rules that apply to one channel.
func (x *ruleIndex) channel(name string) *channelIndex {
	c := &channelIndex{
		networks:  map[string][]int{},
		prefixes:  map[string][]int{},
		countries: map[string][]int{},
	}
	for i := range x.rules {
		r := &x.rules[i]
		if r.Channel != "" && r.Channel != name {
			continue
		}
		switch class, value := r.class(); class {
		case classNetwork:
			c.networks[value] = append(c.networks[value], i)
		case classPrefix:
			c.prefixes[value] = append(c.prefixes[value], i)
			if !slices.Contains(c.lengths, len(value)) {
				c.lengths = append(c.lengths, len(value))
			}
		case classCountry:
			c.countries[value] = append(c.countries[value], i)
		default:
			c.rest = append(c.rest, i)
		}
	}
	slices.SortFunc(c.lengths, func(a, b int) int { return b - a })
	for _, m := range []map[string][]int{c.networks, c.prefixes, c.countries} {
		for _, list := range m {
			x.sort(list)
		}
	}
	x.sort(c.rest)
	return c
}

// sort puts rules of one destination in their order: with a category before
// without, then with a direction, then with a channel.
func (x *ruleIndex) sort(list []int) {
	slices.SortStableFunc(list, func(a, b int) int {
		p, q := &x.rules[a], &x.rules[b]
		return cmp.Or(
			-cmp.Compare(min(len(p.Category), 1), min(len(q.Category), 1)),
			-cmp.Compare(min(len(p.Direction), 1), min(len(q.Direction), 1)),
			-cmp.Compare(min(len(p.Channel), 1), min(len(q.Channel), 1)),
		)
	})
}

// of a channel; the others' where no rule names it.
func (x *ruleIndex) of(channel string) *channelIndex {
	if c := x.channels[channel]; c != nil {
		return c
	}
	return x.others
}

// match is the index of the rule for r, -1 for none.
func (x *ruleIndex) match(r *Record) int {
	c := x.of(r.Channel)
	if r.Network != "" && len(c.networks) > 0 {
		if i := x.first(c.networks[r.Network], r); i >= 0 {
			return i
		}
	}
	if len(c.lengths) > 0 {
		var space [prefixMax]byte
		number := r.number(space[:0], c.lengths[0])
		for _, n := range c.lengths {
			if n > len(number) {
				continue
			}
			if i := x.first(c.prefixes[string(number[:n])], r); i >= 0 {
				return i
			}
		}
	}
	if r.Country != "" && len(c.countries) > 0 {
		if i := x.first(c.countries[r.Country], r); i >= 0 {
			return i
		}
	}
	return x.first(c.rest, r)
}

// first of the candidates whose further selectors match r, -1 for none.
func (x *ruleIndex) first(candidates []int, r *Record) int {
	for _, i := range candidates {
		p := &x.rules[i]
		if p.fits(r) && (p.Prefix == "" || r.hasPrefix(p.Prefix)) {
			return i
		}
	}
	return -1
}

// fits tells whether the selectors beside destination and prefix match r.
func (p *Rule) fits(r *Record) bool {
	return (p.Category == "" || p.Category == r.Category) &&
		(p.Direction == "" || p.Direction == r.Direction) &&
		(p.Country == "" || p.Country == r.Country)
}

// needsNumber tells whether the rule for r depends on the far end's number.
func (x *ruleIndex) needsNumber(r *Record) bool {
	c := x.of(r.Channel)
	if r.Network != "" {
		for _, i := range c.networks[r.Network] {
			if p := &x.rules[i]; p.fits(r) {
				return p.Prefix != ""
			}
		}
	}
	for _, list := range c.prefixes {
		for _, i := range list {
			if x.rules[i].fits(r) {
				return true
			}
		}
	}
	return false
}

// prefixMax is the length of the longest E.164 number.
const prefixMax = 15

// number appends up to limit leading digits of the far end's number, none unless
// it is an international one: a word or a short code may begin with the digits of
// a country and still goes somewhere else. Separators are passed over.
func (r *Record) number(b []byte, limit int) []byte {
	s, plus := strings.CutPrefix(r.FarEnd(), "+")
	if !plus && !r.International {
		return b
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			if len(b) < limit {
				b = append(b, c)
			}
		case strings.IndexByte(" -./()", c) < 0:
			return b[:0] // not a number after all
		}
	}
	return b
}

// hasPrefix tells whether the far end's number begins with the digits.
func (r *Record) hasPrefix(prefix string) bool {
	var space [prefixMax]byte
	return string(r.number(space[:0], len(prefix))) == prefix
}

// AmbiguousPair finds two rules that are equally specific and can match the
// same record, as indexes with i < j. Equally specific are rules with the same
// network, else the same prefix, else the same country, else none of these,
// that both name or both leave out category, direction and channel; a country
// or prefix beside a network, or a country beside a prefix, adds nothing.
func AmbiguousPair(rules []Rule) (i, j int, ok bool) {
	type key struct {
		class                               int
		value, category, direction, channel string
	}
	seen := make(map[key][]int, len(rules))
	for j := range rules {
		r := &rules[j]
		class, value := r.class()
		k := key{class, value, r.Category, r.Direction, r.Channel}
		for _, i := range seen[k] {
			if compatible(&rules[i], r) {
				return i, j, true
			}
		}
		seen[k] = append(seen[k], j)
	}
	return 0, 0, false
}

// compatible tells whether one record can match the country and prefix of both
// rules.
func compatible(p, q *Rule) bool {
	return (p.Country == "" || q.Country == "" || p.Country == q.Country) &&
		(strings.HasPrefix(p.Prefix, q.Prefix) || strings.HasPrefix(q.Prefix, p.Prefix))
}
