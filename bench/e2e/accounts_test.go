package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The accounts of the workload: four parents, one for each way of paying and
// showing, each in a zone whose days begin elsewhere. They are written down
// once, for the file that meterd is given and for the oracle.

type rule struct {
	channel, direction, country, network, prefix, category string
	unit, price, minimum, fee                              string
	first, next                                            int64
}

type version struct {
	from  time.Time
	rules []rule
}

type plan struct {
	id, currency string
	versions     []version
}

type account struct {
	id, parent   string // parent is empty for a parent
	module, zone string
	plan         string
	mode         string // of a parent
	credit       string // of a postpaid parent
	source       string // of a prepaid parent's sub-account
	monthly      string
	channels     []string
	hook         string // of a parent: address
}

type book struct {
	plans    []plan
	accounts []account
}

func (b *book) account(id string) *account {
	for i := range b.accounts {
		if b.accounts[i].id == id {
			return &b.accounts[i]
		}
	}
	return nil
}

func (b *book) plan(id string) *plan {
	for i := range b.plans {
		if b.plans[i].id == id {
			return &b.plans[i]
		}
	}
	return nil
}

// parentOf an account, itself for a parent.
func (b *book) parentOf(a *account) *account {
	if a.parent == "" {
		return a
	}
	return b.account(a.parent)
}

// file writes the book as an accounts file.
func (b *book) file(tb testing.TB) string {
	tb.Helper()
	out := []string{"plans:"}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, p := range b.plans {
		add("  - id: %s", p.id)
		add("    currency: %s", p.currency)
		add("    versions:")
		for _, v := range p.versions {
			add("      - effective_from: %s", v.from.UTC().Format(time.RFC3339))
			add("        rules:")
			for _, r := range v.rules {
				add("          - {%s}", r.yaml())
			}
		}
	}
	add("parents:")
	for i := range b.accounts {
		p := &b.accounts[i]
		if p.parent != "" {
			continue
		}
		add("  - id: %s", p.id)
		add("    module: %s", p.module)
		add("    timezone: %s", p.zone)
		add("    plan: %s", p.plan)
		funding := "mode: " + p.mode
		if p.credit != "" {
			funding += fmt.Sprintf(", credit_limit: %q", p.credit)
		}
		add("    funding: {%s}", funding)
		if p.hook != "" {
			add("    hooks: [{url: %q, secret_env: HOOK_SECRET, events: [suspend, resume]}]", p.hook)
		}
		add("    sub_accounts:")
		for _, a := range b.accounts {
			if a.parent == p.id {
				add("      - {%s}", a.yaml())
			}
		}
	}
	return write(tb, out)
}

func (r *rule) yaml() string {
	var parts []string
	for _, f := range [][2]string{
		{"channel", r.channel},
		{"direction", r.direction},
		{"country", r.country},
		{"network", r.network},
		{"prefix", r.prefix},
		{"category", r.category},
		{"unit", r.unit},
		{"price", r.price},
		{"minimum", r.minimum},
		{"fee", r.fee},
	} {
		if f[1] != "" {
			parts = append(parts, fmt.Sprintf("%s: %q", f[0], f[1]))
		}
	}
	if r.first > 0 {
		parts = append(parts, fmt.Sprintf("increment: %d/%d", r.first, r.next))
	}
	return strings.Join(parts, ", ")
}

func (a *account) yaml() string {
	parts := []string{"id: " + a.id}
	if len(a.channels) > 0 {
		parts = append(parts, "channels: ["+strings.Join(a.channels, ", ")+"]")
	}
	var funding []string
	if a.source != "" {
		funding = append(funding, "source: "+a.source)
	}
	if a.monthly != "" {
		funding = append(funding, fmt.Sprintf("monthly_limit: %q", a.monthly))
	}
	if len(funding) > 0 {
		parts = append(parts, "funding: {"+strings.Join(funding, ", ")+"}")
	}
	return strings.Join(parts, ", ")
}

// fourParents is the book of the large workload. Each plan's prices change
// forty days and three hours before now.
func fourParents(now time.Time) *book {
	at := []time.Time{time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), now.AddDate(0, 0, -40), now.Add(-3 * time.Hour)}
	versions := func(sets ...[]rule) []version {
		out := make([]version, len(sets))
		for i, rules := range sets {
			out[i] = version{at[i], rules}
		}
		return out
	}
	euro := func(sms, voice string) []rule {
		return []rule{
			{channel: "sms", unit: "segment", price: "0.075"},
			{channel: "sms", country: "IT", unit: "segment", price: sms},
			{channel: "sms", country: "IT", category: "authentication", unit: "segment", price: "0.04451"},
			{channel: "sms", country: "IT", direction: "inbound", unit: "segment", price: "0.00500005"},
			{channel: "sms", prefix: "3932", unit: "segment", price: "0.0385", fee: "0.001"},
			{channel: "sms", network: "22210", unit: "segment", price: "0.0398"},
			{channel: "voice", country: "IT", unit: "second", price: voice, first: 60, next: 60},
			{channel: "voice", unit: "second", price: "0.00041667", first: 30, next: 6, minimum: "0.02"},
			{channel: "email", unit: "recipient", price: "0.00032001"},
			{channel: "whatsapp", category: "marketing", unit: "message", price: "0.0691", fee: "0.0100"},
			{channel: "whatsapp", unit: "message", price: "0"},
		}
	}
	dollar := func(sms string) []rule {
		return []rule{
			{channel: "sms", unit: "segment", price: sms, fee: "0.0030"},
			{channel: "sms", country: "CA", unit: "segment", price: "0.0087"},
			{channel: "voice", unit: "minute", price: "0.0142857", first: 60, next: 60},
			{channel: "email", unit: "recipient", price: "0.00035", minimum: "0.0007"},
		}
	}
	asia := func(sms string) []rule {
		return []rule{
			{channel: "sms", unit: "segment", price: "4.25"},
			{channel: "sms", country: "IN", unit: "segment", price: sms},
			{channel: "sms", country: "NP", unit: "segment", price: sms},
			{channel: "voice", unit: "second", price: "0.01166667", first: 30, next: 6},
			{channel: "whatsapp", unit: "message", price: "0.7846", fee: "0.05"},
		}
	}
	all := []string{"sms", "voice", "email", "whatsapp"}
	asian := []string{"sms", "voice", "whatsapp"}
	return &book{
		plans: []plan{
			{"eur", "EUR", versions(euro("0.0412", "0.0003"), euro("0.04333333", "0.00033333"), euro("0.045", "0.0004"))},
			{"usd", "USD", versions(dollar("0.0083"), dollar("0.0091"))},
			{"inr", "INR", versions(asia("0.145"), asia("0.155"), asia("0.16123456"))},
			{"npr", "NPR", versions(asia("1.2"))},
		},
		accounts: []account{
			{id: "rom", module: "enterprise", zone: "Europe/Rome", plan: "eur", mode: "prepaid"},
			{id: "rom-budget", parent: "rom", source: "allocated", channels: all},
			{id: "rom-poor", parent: "rom", source: "allocated", channels: []string{"sms", "voice"}},
			{id: "rom-shared", parent: "rom", source: "shared", monthly: "150.00", channels: all},
			{id: "rom-closed", parent: "rom", source: "shared", channels: all},
			{id: "nyc", module: "reseller", zone: "America/New_York", plan: "usd", mode: "postpaid", credit: "100.00"},
			{id: "nyc-shop", parent: "nyc", channels: []string{"sms", "email"}},
			{id: "nyc-clinic", parent: "nyc", monthly: "1000000", channels: []string{"sms", "voice", "email"}},
			{id: "ccu", module: "reseller", zone: "Asia/Kolkata", plan: "inr", mode: "prepaid"},
			{id: "ccu-pay", parent: "ccu", source: "allocated", channels: asian},
			{id: "ccu-store", parent: "ccu", source: "shared", channels: asian},
			{id: "ktm", module: "enterprise", zone: "Asia/Kathmandu", plan: "npr", mode: "postpaid"},
			{id: "ktm-bank", parent: "ktm", monthly: "500", channels: append(asian, "push")},
			{id: "ktm-trek", parent: "ktm", channels: append(asian, "push")},
		},
	}
}
