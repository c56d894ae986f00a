package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meterd/meterd/metering"
)

var now = time.Date(2026, 11, 5, 10, 0, 0, 0, time.UTC)

const base = `
plans:
  - id: eur
    currency: EUR
    versions:
      - effective_from: 2026-01-01T00:00:00Z
        rules: [{channel: sms, unit: segment, price: 0.04}]
      - effective_from: 2027-01-01T00:00:00Z
        rules: [{channel: sms, unit: segment, price: 0.05}]
  - id: eur2
    currency: EUR
    versions: [{effective_from: 2026-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: 0.04}]}]
  - id: usd
    currency: USD
    versions: [{effective_from: 2026-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: 0.04}]}]
parents:
  - id: p
    module: enterprise
    timezone: Europe/Rome
    plan: eur
    funding: {mode: prepaid}
    sub_accounts:
      - {id: s, channels: [sms, mms], funding: {source: allocated, monthly_limit: "5"}}
      - {id: r, channels: [sms], module: reseller, plan: eur2}
  - id: q
    module: reseller
    timezone: UTC
    plan: usd
    funding: {mode: postpaid, credit_limit: 100}
    sub_accounts:
      - {id: q1, channels: [sms]}
`

// plan parses src and compares it with cur.
func plan(src string, cur *metering.Snapshot, at time.Time) (*Changes, error) {
	f, err := ParseAccountsFile("f.yaml", []byte(src))
	if err != nil {
		return nil, err
	}
	return f.Plan(cur, at)
}

// apply is cur with the changes, as the ledger gives them back.
func apply(t *testing.T, cur *metering.Snapshot, c *Changes) *metering.Snapshot {
	t.Helper()
	accounts, plans := map[string]*metering.Account{}, map[string]*metering.Plan{}
	catalog := int64(1)
	if cur != nil {
		catalog = cur.Catalog + 1
		maps.Copy(accounts, cur.Accounts)
		maps.Copy(plans, cur.Plans)
	}
	for _, a := range c.Accounts {
		a.Catalog = catalog
		accounts[a.ID] = again(t, a)
	}
	for _, p := range c.Plans {
		plans[p.ID] = again(t, p)
	}
	s := metering.NewSnapshot(catalog, values(accounts), values(plans))
	if len(s.Faults) > 0 {
		t.Fatal(s.Faults)
	}
	return s
}

func values[T any](m map[string]*T) []*T {
	var out []*T
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// again is a document after a round trip through JSON.
func again[T any](t *testing.T, in *T) *T {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := new(T)
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// applied is the base file, applied at the instant.
func applied(t *testing.T, at time.Time) *metering.Snapshot {
	t.Helper()
	c, err := plan(base, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	return apply(t, nil, c)
}

func TestPlanFirst(t *testing.T) {
	t.Parallel()
	c, err := plan(base, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"plan:eur", "plan:eur2", "plan:usd", "p", "s", "r", "q", "q1"}
	if !slices.Equal(c.Created, want) || len(c.Updated)+len(c.Unchanged) > 0 {
		t.Errorf("%+v", c)
	}
	s := apply(t, nil, c)
	limit := metering.Micros(5_000_000)
	got, err := json.Marshal(s.Accounts["s"])
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(&metering.Account{
		ID: "s", ParentID: "p", Name: "s", Module: metering.Enterprise, Currency: "EUR", Mode: metering.Prepaid,
		Source: metering.SourceAllocated, MonthlyLimit: &limit, Zones: []metering.ZoneFrom{{Zone: "Europe/Rome"}},
		Channels: []metering.ChannelsFrom{{From: now, Channels: []string{"mms", "sms"}}},
		Plans:    []metering.PlanFrom{{From: now, Plan: "eur"}}, CreatedAt: now, Catalog: 1,
	})
	if err != nil || string(got) != string(doc) {
		t.Errorf("got  %s\nwant %s", got, doc)
	}
	r, q, q1, p := s.Accounts["r"], s.Accounts["q"], s.Accounts["q1"], s.Accounts["p"]
	if r.Module != metering.Reseller || r.OwnPlan != "eur2" || r.Source != metering.SourceShared || q1.Source != metering.SourceCredit ||
		q1.Module != metering.Reseller || *q.CreditLimit != 100_000_000 || q.Source != metering.SourceCredit || p.Source != metering.SourceWallet ||
		!p.ChannelEnabled("any", now) || fmt.Sprint(p.Alerts) != "[50 80 100]" {
		t.Errorf("%+v\n%+v\n%+v\n%+v", r, q, q1, p)
	}
}

func TestPlanAgain(t *testing.T) {
	t.Parallel()
	c, err := plan(base, applied(t, now), now.Add(time.Hour))
	if err != nil || !c.Empty() || len(c.Unchanged) != 8 || len(c.Created)+len(c.Updated) > 0 {
		t.Errorf("%+v %v", c, err)
	}
}

// TestPlanChanges applies edits of the base file and looks at what changed.
func TestPlanChanges(t *testing.T) {
	t.Parallel()
	later := now.Add(24 * time.Hour)
	for name, c := range map[string]struct {
		old, new string
		updated  string
		check    func(*metering.Snapshot) bool
	}{
		"channels": {"[sms, mms]", "[sms]", "s", func(s *metering.Snapshot) bool {
			a := s.Accounts["s"]
			return len(a.Channels) == 2 && a.ChannelEnabled("mms", later.Add(-1)) && !a.ChannelEnabled("mms", later) && a.CreatedAt.Equal(now)
		}},
		"plan of the parent": {"plan: eur\n", "plan: eur2\n", "p s", func(s *metering.Snapshot) bool {
			a := s.Accounts["s"]
			return a.PlanAt(later.Add(-1)) == "eur" && a.PlanAt(later) == "eur2" && len(s.Accounts["r"].Plans) == 1
		}},
		"zone": {"Europe/Rome", "Asia/Tokyo", "p s r", func(s *metering.Snapshot) bool {
			z := s.Accounts["r"].Zones
			return len(z) == 2 && z[1] == metering.ZoneFrom{From: "2026-12", Zone: "Asia/Tokyo"} && s.Accounts["s"].Calendar != nil
		}},
		"source": {"source: allocated, ", "", "s", func(s *metering.Snapshot) bool {
			return s.Accounts["s"].Source == metering.SourceShared
		}},
		"limit": {`, monthly_limit: "5"`, "", "s", func(s *metering.Snapshot) bool { return s.Accounts["s"].MonthlyLimit == nil }},
		"module, one left out": {"    module: enterprise", "    module: reseller", "p s", func(s *metering.Snapshot) bool {
			return s.Accounts["s"].Module == metering.Reseller
		}},
		"a version to come": {"price: 0.05", "price: 0.06", "plan:eur", func(s *metering.Snapshot) bool {
			return s.Plans["eur"].Versions[1].Rules[0].Price == 6_000_000
		}},
		"a new version": {"      - effective_from: 2027", "      - {effective_from: 2026-11-06T10:07:00Z, rules: [{unit: x, price: 1}]}\n      - effective_from: 2027", "plan:eur", func(s *metering.Snapshot) bool {
			return len(s.Plans["eur"].Versions) == 3
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cur := applied(t, now)
			before, err := json.Marshal([]any{cur.Accounts, cur.Plans})
			if err != nil {
				t.Fatal(err)
			}
			got, err := plan(edit(t, c.old, c.new), cur, later)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got.Updated, " ") != c.updated || len(got.Created) > 0 {
				t.Errorf("updated %v, created %v", got.Updated, got.Created)
			}
			if after, err := json.Marshal([]any{cur.Accounts, cur.Plans}); err != nil || string(after) != string(before) {
				t.Error("the snapshot was changed")
			}
			next := apply(t, cur, got)
			if !c.check(next) {
				t.Errorf("%+v", next)
			}
			if again, err := plan(edit(t, c.old, c.new), next, later.Add(time.Minute)); err != nil || !again.Empty() {
				t.Errorf("a second time changes %+v %v", again, err)
			}
		})
	}
}

// edit is the base file with one change.
func edit(t *testing.T, from, to string) string {
	t.Helper()
	if !strings.Contains(base, from) {
		t.Fatalf("no %q in the base file", from)
	}
	return strings.Replace(base, from, to, 1)
}

// TestPlanRefusals applies edits that what has been applied doesn't allow.
func TestPlanRefusals(t *testing.T) {
	t.Parallel()
	later := now.Add(24 * time.Hour)
	var all strings.Builder
	for _, c := range []struct{ name, from, to string }{
		{"in force", "price: 0.04", "price: 0.0400001"},
		{"dropped", "      - effective_from: 2026-01-01T00:00:00Z\n        rules: [{channel: sms, unit: segment, price: 0.04}]\n", ""},
		{"too early", "      - effective_from: 2027-01-01T00:00:00Z", "      - {effective_from: 2026-11-06T10:05:59Z, rules: [{unit: x, price: 1}]}\n      - effective_from: 2027-01-01T00:00:00Z"},
		{"moved to the past", "2027-01-01", "2026-02-01"},
		{"currency of a plan", "currency: USD", "currency: EUR"},
		{"currency of a parent", "plan: usd", "plan: eur"},
		{"moved", "id: q1", "id: s2}\n      - {id: s3"},
		{"parent as sub", "id: q1", "id: c"},
		{"sub as parent", "- id: q\n", "- id: x\n"},
		{"no plan", "plan: eur\n", "plan: none\n"},
		{"audience", "    timezone: UTC", "    reports: [{name: n, schedule: \"@daily\", formats: [csv], audiences: [s]}]\n    timezone: UTC"},
	} {
		cur := applied(t, now)
		src := edit(t, c.from, c.to)
		closed := now
		cur.Accounts["c"] = &metering.Account{ID: "c", ParentID: "q", ClosedAt: &closed}
		cur.Accounts["s2"] = &metering.Account{ID: "s2", ParentID: "p"}
		cur.Accounts["s3"] = &metering.Account{ID: "s3"}
		cur.Accounts["x"] = &metering.Account{ID: "x", ParentID: "p"}
		got, err := plan(src, cur, later)
		var e *AccountsFileError
		if !errors.As(err, &e) || !e.State {
			t.Errorf("%s: %+v %v", c.name, got, err)
			continue
		}
		fmt.Fprintf(&all, "%s\n%s\n\n", c.name, e)
	}
	golden(t, "testdata/refusals.txt", all.String())
}

// TestPlanZoneTakenBack changes a zone and changes it back in the same month.
func TestPlanZoneTakenBack(t *testing.T) {
	t.Parallel()
	cur := applied(t, now)
	for i, zone := range []string{"Asia/Tokyo", "Asia/Kolkata", "Europe/Rome"} {
		c, err := plan(edit(t, "Europe/Rome", zone), cur, now.Add(time.Duration(i)*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		cur = apply(t, cur, c)
		want := []int{2, 2, 1}[i]
		if z := cur.Accounts["p"].Zones; len(z) != want {
			t.Errorf("after %s: %v", zone, z)
		}
	}
}

// TestPlanLeftOut checks that a sub-account that a file leaves out keeps what is
// its own and follows its parent in the rest; a closed one stays as it was.
func TestPlanLeftOut(t *testing.T) {
	t.Parallel()
	cur := applied(t, now)
	src := strings.Replace(edit(t, "      - {id: s, channels: [sms, mms], funding: {source: allocated, monthly_limit: \"5\"}}\n", ""),
		"Europe/Rome", "Asia/Tokyo", 1)
	c, err := plan(src, cur, now)
	if err != nil || strings.Join(c.Updated, " ") != "p r s" {
		t.Fatalf("%+v %v", c, err)
	}
	next := apply(t, cur, c)
	s := next.Accounts["s"]
	if len(s.Zones) != 2 || s.Source != metering.SourceAllocated || *s.MonthlyLimit != 5_000_000 || len(s.Channels) != 1 {
		t.Errorf("%+v", s)
	}
	cur.Accounts["s"].ClosedAt = &now
	if c, err = plan(src, cur, now); err != nil || strings.Join(c.Updated, " ") != "p r" {
		t.Errorf("%+v %v", c, err)
	}
}

func TestPlanWarns(t *testing.T) {
	t.Parallel()
	c, err := plan(edit(t, "{id: q1, channels: [sms]}", "{id: q1}"), nil, now)
	if err != nil || len(c.Warnings) != 1 || !strings.HasPrefix(c.Warnings[0], "f.yaml:31:") {
		t.Fatalf("%+v %v", c, err)
	}
	if a := apply(t, nil, c).Accounts["q1"]; a.ChannelEnabled("sms", now) {
		t.Error("no channel was listed, but one is enabled")
	}
}

func TestParseTooLarge(t *testing.T) {
	t.Parallel()
	if _, err := ParseAccountsFile("f", make([]byte, accountsFileMax+1)); err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Error(err)
	}
}

func FuzzParseAccountsFile(f *testing.F) {
	f.Add([]byte(base))
	for _, name := range []string{"full.good", "values.bad", "plans.bad", "syntax.bad", "example.good"} {
		src, err := os.ReadFile("testdata/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte("a: &a [*a, *b]\nparents: *a"))
	f.Add([]byte("parents: &a\n  - sub_accounts: *a"))
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := ParseAccountsFile("f", src)
		if err != nil {
			var e *AccountsFileError
			if file != nil || !errors.As(err, &e) || len(e.Errors) == 0 || e.Errors[0].Line < 1 || e.Errors[0].Column < 1 {
				t.Fatalf("%v %#v", file, err)
			}
			return
		}
		c, err := file.Plan(nil, now)
		if err != nil {
			return
		}
		for _, p := range c.Plans {
			if err := p.Validate(); err != nil {
				t.Fatalf("a plan was taken that isn't valid: %v", err)
			}
		}
		next, err := file.Plan(apply(t, nil, c), now)
		if err != nil || !next.Empty() {
			t.Fatalf("a second time: %+v %v", next, err)
		}
	})
}
