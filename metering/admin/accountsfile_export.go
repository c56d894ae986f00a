package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/meterd/meterd/metering"
)

// exportedFile and the types below are an accounts file as it is written
// (docs/interface.md, The accounts file); how one is read is in accountsfile_read.go and its
// neighbours.
type exportedFile struct {
	Plans   []exportedPlan   `yaml:"plans,omitempty"`
	Parents []exportedParent `yaml:"parents,omitempty"`
}

type exportedPlan struct {
	ID       string            `yaml:"id"`
	Currency string            `yaml:"currency"`
	Versions []exportedVersion `yaml:"versions"`
}

type exportedVersion struct {
	EffectiveFrom string         `yaml:"effective_from"`
	RefundOn      []string       `yaml:"refund_on,omitempty,flow"`
	RefundAfter   string         `yaml:"refund_after,omitempty"`
	Rules         []exportedRule `yaml:"rules"`
}

type exportedRule struct {
	Channel   string `yaml:"channel,omitempty"`
	Direction string `yaml:"direction,omitempty"`
	Country   string `yaml:"country,omitempty"`
	Network   string `yaml:"network,omitempty"`
	Prefix    string `yaml:"prefix,omitempty"`
	Category  string `yaml:"category,omitempty"`
	Unit      string `yaml:"unit"`
	Price     string `yaml:"price"`
	Increment string `yaml:"increment,omitempty"`
	Minimum   string `yaml:"minimum,omitempty"`
	Fee       string `yaml:"fee,omitempty"`
}

// MarshalYAML puts a rule in one line, as people write them.
func (r exportedRule) MarshalYAML() ([]byte, error) {
	type plain exportedRule
	return yaml.MarshalWithOptions(plain(r), yaml.Flow(true))
}

// anyText is what somebody called something. The library leaves some texts bare that
// YAML reads otherwise ("? a").
type anyText string

// plainText is what needs no quotes, unless it is a word of YAML's, which the library knows.
var plainText = regexp.MustCompile(`^\p{L}([\p{L}\p{N} .,&()_-]*[\p{L}\p{N}.)])?$`)

// MarshalYAML puts all but simple texts in double quotes.
func (t anyText) MarshalYAML() ([]byte, error) {
	if plainText.MatchString(string(t)) {
		return yaml.Marshal(string(t))
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b) // a JSON text is one of YAML
	e.SetEscapeHTML(false)
	if err := e.Encode(string(t)); err != nil {
		return nil, fmt.Errorf("write %q: %w", string(t), err)
	}
	return b.Bytes(), nil
}

type exportedAccount struct {
	ID       string    `yaml:"id"`
	Name     anyText   `yaml:"name,omitempty"`
	Module   string    `yaml:"module,omitempty"`
	Timezone string    `yaml:"timezone,omitempty"`
	Plan     string    `yaml:"plan,omitempty"`
	Channels *[]string `yaml:"channels,omitempty,flow"` // nil: all of a parent's
}

type exportedParent struct {
	exportedAccount `yaml:",inline"`

	Funding     exportedFunding  `yaml:"funding"`
	Issuer      *exportedIssuer  `yaml:"issuer,omitempty"`
	Enforcement string           `yaml:"enforcement,omitempty"`
	Alerts      []int            `yaml:"alerts,flow"`
	AlertMail   []string         `yaml:"alert_mail,omitempty"`
	Hooks       []exportedHook   `yaml:"hooks,omitempty"`
	Reports     []exportedReport `yaml:"reports,omitempty"`
	SubAccounts []exportedSub    `yaml:"sub_accounts,omitempty"`
}

type exportedFunding struct {
	Mode        string `yaml:"mode,omitempty"`
	CreditLimit string `yaml:"credit_limit,omitempty"`
	Source      string `yaml:"source,omitempty"`
}

type exportedIssuer struct {
	Name    anyText `yaml:"name"`
	Address anyText `yaml:"address,omitempty"`
}

type exportedSub struct {
	exportedAccount `yaml:",inline"`

	Funding      *exportedFunding `yaml:"funding,omitempty"`
	MonthlyLimit string           `yaml:"monthly_limit,omitempty"`
	AlertMail    []string         `yaml:"alert_mail,omitempty"`
	Reports      []exportedReport `yaml:"reports,omitempty"`
}

type exportedHook struct {
	URL       string   `yaml:"url"`
	SecretEnv string   `yaml:"secret_env"`
	Events    []string `yaml:"events,omitempty,flow"`
}

type exportedReport struct {
	Name      string                `yaml:"name"`
	Schedule  string                `yaml:"schedule"`
	Period    string                `yaml:"period"`
	Audiences []string              `yaml:"audiences,omitempty,flow"`
	Redacted  bool                  `yaml:"redacted,omitempty"`
	Detail    bool                  `yaml:"detail,omitempty"`
	Kind      string                `yaml:"kind,omitempty"`
	Formats   []string              `yaml:"formats,flow"`
	Deliver   []exportedDestination `yaml:"deliver,omitempty"`
}

type exportedDestination struct {
	To         string `yaml:"to"`
	SecretEnv  string `yaml:"secret_env,omitempty"`
	SecretFile string `yaml:"secret_file,omitempty"`
}

// ExportAccounts writes the accounts file that would make what a snapshot holds: all
// of it, or one parent ("": all) with the plans that its accounts use. Applied where
// it comes from it changes nothing; applied to an empty installation it makes the same
// accounts and plans. What a file can't say isn't in it: money, suspensions, and
// sub-accounts that are closed, which can't be opened again. A comment says which zone
// a parent has until the one in the file holds.
func ExportAccounts(snap *metering.Snapshot, parent string, now time.Time) ([]byte, error) {
	parents, plans := snap.Parents, map[string]bool{}
	if parent != "" {
		parents = []string{parent}
	}
	var f exportedFile
	closed, later := 0, yaml.CommentMap{}
	for _, id := range parents {
		p := exportParent(snap.Accounts[id], snap)
		if until := zoneUntil(snap.Accounts[id], now); until != "" {
			later[fmt.Sprintf("$.parents[%d].timezone", len(f.Parents))] = []*yaml.Comment{yaml.LineComment(until)}
		}
		plans[p.Plan] = true
		for _, sub := range snap.Subs[id] {
			a := snap.Accounts[sub]
			if a.ClosedAt != nil {
				closed++
				continue
			}
			s := exportSub(a, snap)
			plans[s.Plan] = true
			p.SubAccounts = append(p.SubAccounts, s)
		}
		f.Parents = append(f.Parents, p)
	}
	ids := make([]string, 0, len(snap.Plans))
	for id := range snap.Plans {
		if parent == "" || plans[id] {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		f.Plans = append(f.Plans, exportPlan(snap.Plans[id]))
	}
	body, err := yaml.MarshalWithOptions(f, yaml.IndentSequence(true), yaml.WithComment(later))
	if err != nil {
		return nil, fmt.Errorf("write the accounts file: %w", err)
	}
	head := fmt.Sprintf("# Accounts and plans as of %s.", now.UTC().Format(time.RFC3339))
	if closed > 0 {
		head += fmt.Sprintf(" Sub-accounts that are closed aren't here: %d.", closed)
	}
	if len(later) > 0 {
		head += fmt.Sprintf("\n# Time zones that don't hold yet: %d. Applied to an empty installation each holds at once; to have this month\n# too as it is, apply the file first with the zone that stands beside it.", len(later))
	}
	return append([]byte(head+"\n"), body...), nil
}

// zoneUntil says which zone a parent has until its newest one holds, "" where that
// does. A file names one zone, of which a change holds from the next month on: the
// newest is what changes nothing here, and what any later month has elsewhere.
func zoneUntil(a *metering.Account, now time.Time) string {
	newest := a.Zones[len(a.Zones)-1]
	if is := a.Calendar.Location(now).String(); is != newest.Zone {
		return fmt.Sprintf(" from %s on, %s until then", newest.From, is)
	}
	return ""
}

func exportPlan(p *metering.Plan) exportedPlan {
	out := exportedPlan{ID: p.ID, Currency: p.Currency}
	for i := range p.Versions {
		v := &p.Versions[i]
		x := exportedVersion{EffectiveFrom: v.EffectiveFrom.UTC().Format(time.RFC3339Nano), RefundOn: v.RefundOn, Rules: make([]exportedRule, 0, len(v.Rules))}
		if v.RefundAfter != 0 {
			x.RefundAfter = v.RefundAfter.String()
		}
		for j := range v.Rules {
			x.Rules = append(x.Rules, exportRule(&v.Rules[j]))
		}
		out.Versions = append(out.Versions, x)
	}
	return out
}

func exportRule(r *metering.Rule) exportedRule {
	x := exportedRule{
		Channel: r.Channel, Direction: r.Direction, Country: r.Country, Network: r.Network, Category: r.Category,
		Unit: r.Unit, Price: metering.PriceDecimal(r.Price).String(),
	}
	if r.Prefix != "" {
		x.Prefix = "+" + r.Prefix
	}
	if r.Increment != [2]int64{} {
		x.Increment = strconv.FormatInt(r.Increment[0], 10) + "/" + strconv.FormatInt(r.Increment[1], 10)
	}
	if r.Minimum != 0 {
		x.Minimum = r.Minimum.String()
	}
	if r.Fee != 0 {
		x.Fee = r.Fee.String()
	}
	return x
}

// exportAccount has what parents and sub-accounts have in common.
func exportAccount(a *metering.Account) exportedAccount {
	out := exportedAccount{ID: a.ID}
	if a.Name != a.ID {
		out.Name = anyText(a.Name)
	}
	if n := len(a.Channels); n > 0 && a.Channels[n-1].Channels != nil {
		out.Channels = &a.Channels[n-1].Channels
	}
	return out
}

func exportParent(a *metering.Account, snap *metering.Snapshot) exportedParent {
	out := exportedParent{
		exportedAccount: exportAccount(a), Alerts: a.Alerts, AlertMail: a.AlertMail, Reports: exportReports(a.Reports, snap),
		Funding: exportedFunding{Mode: string(a.Mode), CreditLimit: optionalAmount(a.CreditLimit)},
	}
	out.Module = string(a.Module)
	out.Timezone = a.Zones[len(a.Zones)-1].Zone
	out.Plan = a.Plans[len(a.Plans)-1].Plan
	if a.Observe {
		out.Enforcement = "observe"
	}
	if a.Issuer != nil {
		out.Issuer = &exportedIssuer{anyText(a.Issuer.Name), anyText(a.Issuer.Address)}
	}
	for i := range a.Hooks {
		h := &a.Hooks[i]
		out.Hooks = append(out.Hooks, exportedHook{h.URL, h.SecretEnv, h.Events})
	}
	return out
}

func exportSub(a *metering.Account, snap *metering.Snapshot) exportedSub {
	out := exportedSub{
		exportedAccount: exportAccount(a), MonthlyLimit: optionalAmount(a.MonthlyLimit), AlertMail: a.AlertMail, Reports: exportReports(a.Reports, snap),
	}
	out.Module, out.Timezone, out.Plan = string(a.OwnModule), a.OwnZone, a.OwnPlan
	if a.Mode == metering.Prepaid {
		out.Funding = &exportedFunding{Source: string(a.Source)}
	}
	return out
}

// optionalAmount is "" where there is none.
func optionalAmount(m *metering.Micros) string {
	if m == nil {
		return ""
	}
	return m.String()
}

// exportReports has schedules without audiences that are closed, who aren't in the
// file, and none that is for them alone.
func exportReports(list []metering.Schedule, snap *metering.Snapshot) []exportedReport {
	var out []exportedReport
	for i := range list {
		s := &list[i]
		audiences := slices.DeleteFunc(slices.Clone(s.Audiences), func(id string) bool {
			sub := snap.Accounts[id]
			return sub != nil && sub.ClosedAt != nil
		})
		if len(s.Audiences) > 0 && len(audiences) == 0 {
			continue
		}
		x := exportedReport{Name: s.Name, Schedule: s.Cron, Period: s.Period, Audiences: audiences, Redacted: s.Redacted, Detail: s.Detail, Kind: s.Kind, Formats: s.Formats}
		for _, to := range s.Deliver {
			secret := s.Secrets[to]
			x.Deliver = append(x.Deliver, exportedDestination{to, secret.Env, secret.File})
		}
		out = append(out, x)
	}
	return out
}
