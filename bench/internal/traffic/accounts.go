package traffic

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The accounts of the workload: four parents, one for each way of paying and
// showing, each in a zone whose days begin elsewhere. They are written down
// once, for the file that meterd is given and for the oracle.

// Rule prices what it matches.
type Rule struct {
	Channel, Direction, Country, Network, Prefix, Category string
	Unit, Price, Minimum, Fee                              string
	First, Next                                            int64
}

// Version of a plan.
type Version struct {
	From  time.Time
	Rules []Rule
}

// Plan is a price plan.
type Plan struct {
	ID, Currency string
	Versions     []Version
}

// Account is a parent or a sub-account.
type Account struct {
	ID, Parent   string // parent is empty for a parent
	Module, Zone string
	Plan         string
	Mode         string // of a parent
	Credit       string // of a postpaid parent
	Source       string // of a prepaid parent's sub-account
	Monthly      string
	Channels     []string
	Hook         string // of a parent: address
}

// Book is all there is: plans and accounts.
type Book struct {
	Plans    []Plan
	Accounts []Account
}

// Account of an id, nil if there is none.
func (b *Book) Account(id string) *Account {
	for i := range b.Accounts {
		if b.Accounts[i].ID == id {
			return &b.Accounts[i]
		}
	}
	return nil
}

func (b *Book) plan(id string) *Plan {
	for i := range b.Plans {
		if b.Plans[i].ID == id {
			return &b.Plans[i]
		}
	}
	return nil
}

// ParentOf an account, itself for a parent.
func (b *Book) ParentOf(a *Account) *Account {
	if a.Parent == "" {
		return a
	}
	return b.Account(a.Parent)
}

// File writes the book as an accounts file.
func (b *Book) File(tb testing.TB) string {
	tb.Helper()
	out := []string{"plans:"}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, p := range b.Plans {
		add("  - id: %s", p.ID)
		add("    currency: %s", p.Currency)
		add("    versions:")
		for _, v := range p.Versions {
			add("      - effective_from: %s", v.From.UTC().Format(time.RFC3339))
			add("        rules:")
			for _, r := range v.Rules {
				add("          - {%s}", r.yaml())
			}
		}
	}
	add("parents:")
	for i := range b.Accounts {
		p := &b.Accounts[i]
		if p.Parent != "" {
			continue
		}
		add("  - id: %s", p.ID)
		add("    module: %s", p.Module)
		add("    timezone: %s", p.Zone)
		add("    plan: %s", p.Plan)
		funding := "mode: " + p.Mode
		if p.Credit != "" {
			funding += fmt.Sprintf(", credit_limit: %q", p.Credit)
		}
		add("    funding: {%s}", funding)
		if p.Hook != "" {
			add("    hooks: [{url: %q, secret_env: HOOK_SECRET, events: [suspend, resume]}]", p.Hook)
		}
		add("    sub_accounts:")
		for _, a := range b.Accounts {
			if a.Parent == p.ID {
				add("      - {%s}", a.yaml())
			}
		}
	}
	path := filepath.Join(tb.TempDir(), "accounts.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(out, "\n")+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func (r *Rule) yaml() string {
	var parts []string
	for _, f := range [][2]string{
		{"channel", r.Channel},
		{"direction", r.Direction},
		{"country", r.Country},
		{"network", r.Network},
		{"prefix", r.Prefix},
		{"category", r.Category},
		{"unit", r.Unit},
		{"price", r.Price},
		{"minimum", r.Minimum},
		{"fee", r.Fee},
	} {
		if f[1] != "" {
			parts = append(parts, fmt.Sprintf("%s: %q", f[0], f[1]))
		}
	}
	if r.First > 0 {
		parts = append(parts, fmt.Sprintf("increment: %d/%d", r.First, r.Next))
	}
	return strings.Join(parts, ", ")
}

func (a *Account) yaml() string {
	parts := []string{"id: " + a.ID}
	if len(a.Channels) > 0 {
		parts = append(parts, "channels: ["+strings.Join(a.Channels, ", ")+"]")
	}
	var funding []string
	if a.Source != "" {
		funding = append(funding, "source: "+a.Source)
	}
	if a.Monthly != "" {
		funding = append(funding, fmt.Sprintf("monthly_limit: %q", a.Monthly))
	}
	if len(funding) > 0 {
		parts = append(parts, "funding: {"+strings.Join(funding, ", ")+"}")
	}
	return strings.Join(parts, ", ")
}

// FourParents is the book of the large workload. Each plan's prices change
// forty days and three hours before now.
func FourParents(now time.Time) *Book {
	at := []time.Time{time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), now.AddDate(0, 0, -40), now.Add(-3 * time.Hour)}
	versions := func(sets ...[]Rule) []Version {
		out := make([]Version, len(sets))
		for i, rules := range sets {
			out[i] = Version{at[i], rules}
		}
		return out
	}
	euro := func(sms, voice string) []Rule {
		return []Rule{
			{Channel: "sms", Unit: "segment", Price: "0.075"},
			{Channel: "sms", Country: "IT", Unit: "segment", Price: sms},
			{Channel: "sms", Country: "IT", Category: "authentication", Unit: "segment", Price: "0.04451"},
			{Channel: "sms", Country: "IT", Direction: "inbound", Unit: "segment", Price: "0.00500005"},
			{Channel: "sms", Prefix: "3932", Unit: "segment", Price: "0.0385", Fee: "0.001"},
			{Channel: "sms", Network: "22210", Unit: "segment", Price: "0.0398"},
			{Channel: "voice", Country: "IT", Unit: "second", Price: voice, First: 60, Next: 60},
			{Channel: "voice", Unit: "second", Price: "0.00041667", First: 30, Next: 6, Minimum: "0.02"},
			{Channel: "email", Unit: "recipient", Price: "0.00032001"},
			{Channel: "whatsapp", Category: "marketing", Unit: "message", Price: "0.0691", Fee: "0.0100"},
			{Channel: "whatsapp", Unit: "message", Price: "0"},
		}
	}
	dollar := func(sms string) []Rule {
		return []Rule{
			{Channel: "sms", Unit: "segment", Price: sms, Fee: "0.0030"},
			{Channel: "sms", Country: "CA", Unit: "segment", Price: "0.0087"},
			{Channel: "voice", Unit: "minute", Price: "0.0142857", First: 60, Next: 60},
			{Channel: "email", Unit: "recipient", Price: "0.00035", Minimum: "0.0007"},
		}
	}
	asia := func(sms string) []Rule {
		return []Rule{
			{Channel: "sms", Unit: "segment", Price: "4.25"},
			{Channel: "sms", Country: "IN", Unit: "segment", Price: sms},
			{Channel: "sms", Country: "NP", Unit: "segment", Price: sms},
			{Channel: "voice", Unit: "second", Price: "0.01166667", First: 30, Next: 6},
			{Channel: "whatsapp", Unit: "message", Price: "0.7846", Fee: "0.05"},
		}
	}
	all := []string{"sms", "voice", "email", "whatsapp"}
	asian := []string{"sms", "voice", "whatsapp"}
	return &Book{
		Plans: []Plan{
			{"eur", "EUR", versions(euro("0.0412", "0.0003"), euro("0.04333333", "0.00033333"), euro("0.045", "0.0004"))},
			{"usd", "USD", versions(dollar("0.0083"), dollar("0.0091"))},
			{"inr", "INR", versions(asia("0.145"), asia("0.155"), asia("0.16123456"))},
			{"npr", "NPR", versions(asia("1.2"))},
		},
		Accounts: []Account{
			{ID: "rom", Module: "enterprise", Zone: "Europe/Rome", Plan: "eur", Mode: "prepaid"},
			{ID: "rom-budget", Parent: "rom", Source: "allocated", Channels: all},
			{ID: "rom-poor", Parent: "rom", Source: "allocated", Channels: []string{"sms", "voice"}},
			{ID: "rom-shared", Parent: "rom", Source: "shared", Monthly: "150.00", Channels: all},
			{ID: "rom-closed", Parent: "rom", Source: "shared", Channels: all},
			{ID: "nyc", Module: "reseller", Zone: "America/New_York", Plan: "usd", Mode: "postpaid", Credit: "100.00"},
			{ID: "nyc-shop", Parent: "nyc", Channels: []string{"sms", "email"}},
			{ID: "nyc-clinic", Parent: "nyc", Monthly: "1000000", Channels: []string{"sms", "voice", "email"}},
			{ID: "ccu", Module: "reseller", Zone: "Asia/Kolkata", Plan: "inr", Mode: "prepaid"},
			{ID: "ccu-pay", Parent: "ccu", Source: "allocated", Channels: asian},
			{ID: "ccu-store", Parent: "ccu", Source: "shared", Channels: asian},
			{ID: "ktm", Module: "enterprise", Zone: "Asia/Kathmandu", Plan: "npr", Mode: "postpaid"},
			{ID: "ktm-bank", Parent: "ktm", Monthly: "500", Channels: append(asian, "push")},
			{ID: "ktm-trek", Parent: "ktm", Channels: append(asian, "push")},
		},
	}
}
