package admin

import (
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/robfig/cron/v3"

	"github.com/meterd/meterd/metering"
)

func (r *fileReader) parent(n ast.Node, where place) (fileParent, bool) {
	m, ok := r.mapping(n, where, "id", "name", "module", "timezone", "plan", "channels", "funding",
		"enforcement", "alerts", "alert_mail", "hooks", "reports", "sub_accounts")
	if !ok {
		return fileParent{}, false
	}
	p := fileParent{fileAccount: m.account(), alerts: m.alerts(), observe: r.observe(&m)}
	for _, need := range []struct{ key, what string }{
		{"module", "enterprise or reseller"},
		{"timezone", "an IANA name such as Europe/Rome"},
		{"plan", "the id of a price plan"},
		{"funding", "{mode: prepaid} or {mode: postpaid}"},
	} {
		if m.values[need.key] == nil {
			r.fail(m.place(need.key), "missing; give %s", need.what)
		}
	}
	r.parentFunding(&m, &p)
	hooks, places, _ := m.items("hooks")
	for i, n := range hooks {
		p.hooks = append(p.hooks, r.hook(n, places[i]))
	}
	reports, places, _ := m.items("reports")
	names := map[string]bool{}
	for i, n := range reports {
		s := r.report(n, places[i])
		if names[s.Name] && s.Name != "" {
			r.fail(places[i], "a report named %q is there twice; give each its own name", s.Name)
		}
		names[s.Name] = true
		p.reports = append(p.reports, s)
	}
	subs, places, _ := m.items("sub_accounts")
	for i, n := range subs {
		if s, ok := r.sub(n, places[i], p.mode); ok {
			p.subs = append(p.subs, s)
		}
	}
	return p, true
}

// observe reads whether the parent's limits only tell.
func (r *fileReader) observe(m *mapping) bool {
	e := m.text("enforcement")
	if e.set && e.v != "enforce" && e.v != "observe" {
		r.fail(e.at, "%q isn't a way of enforcement; give enforce, or observe to suspend nobody", e.v)
	}
	return e.v == "observe"
}

func (r *fileReader) parentFunding(m *mapping, p *fileParent) {
	n := m.values["funding"]
	if n == nil {
		return
	}
	f, ok := r.mapping(n, m.place("funding"), "mode", "credit_limit")
	if !ok {
		return
	}
	mode := f.required("mode", "prepaid or postpaid")
	p.mode = metering.Mode(mode.v)
	if mode.set && p.mode != metering.Prepaid && p.mode != metering.Postpaid {
		r.fail(mode.at, "%q isn't a mode; give prepaid or postpaid", mode.v)
	}
	p.limit = f.money("credit_limit")
	if p.limit.set && p.mode == metering.Prepaid {
		r.fail(p.limit.at, "is for mode postpaid; a prepaid parent spends its wallet: leave it out")
	}
}

func (r *fileReader) sub(n ast.Node, where place, mode metering.Mode) (fileSub, bool) {
	m, ok := r.mapping(n, where, "id", "name", "module", "timezone", "plan", "channels", "funding",
		"monthly_limit", "alert_mail", "sub_accounts")
	if !ok {
		return fileSub{}, false
	}
	s := fileSub{fileAccount: m.account()}
	if m.values["sub_accounts"] != nil {
		r.fail(m.place("sub_accounts"), "a sub-account can have no sub-accounts; put them beside it, under the parent")
	}
	s.limit = m.money("monthly_limit")
	s.source.at = m.place("funding")
	if n := m.values["funding"]; n != nil {
		r.subFunding(n, m.place("funding"), mode, &s)
	}
	return s, true
}

func (r *fileReader) subFunding(n ast.Node, where place, mode metering.Mode, s *fileSub) {
	f, ok := r.mapping(n, where, "source", "monthly_limit")
	if !ok {
		return
	}
	if limit := f.money("monthly_limit"); limit.set {
		if s.limit.set && s.limit.v != limit.v {
			r.fail(limit.at, "differs from the monthly_limit beside funding, in line %d; keep one", s.limit.at.line)
		}
		s.limit = limit
	}
	source := f.text("source")
	if !source.set {
		return
	}
	s.source = located[metering.Source]{metering.Source(source.v), true, source.at}
	switch s.source.v {
	case metering.SourceAllocated, metering.SourceShared:
		if mode == metering.Postpaid {
			r.fail(source.at, "the parent is postpaid, so its sub-accounts always draw on its credit; leave source out")
		}
	case metering.SourceCredit:
		if mode == metering.Prepaid {
			r.fail(source.at, "the parent is prepaid; give allocated or shared")
		}
	case metering.SourceWallet: // a parent's
		fallthrough
	default:
		r.fail(source.at, "%q isn't a source; give allocated or shared", source.v)
	}
}

func (r *fileReader) hook(n ast.Node, where place) metering.Hook {
	m, ok := r.mapping(n, where, "url", "secret_env", "events")
	if !ok {
		return metering.Hook{}
	}
	target := m.required("url", "an http or https address")
	if u, err := url.Parse(target.v); target.set && (err != nil || !webURL(u)) {
		r.fail(target.at, "give an http or https address with a host and without a user")
	}
	secret := m.required("secret_env", "the name of the environment variable that holds the hook's secret")
	if secret.set && !envName.MatchString(secret.v) {
		r.fail(secret.at, "not the name of an environment variable; give one such as ACME_HOOK_SECRET")
	}
	h := metering.Hook{URL: target.v, SecretEnv: secret.v}
	events, _ := m.texts("events")
	for _, e := range events {
		if !slices.Contains([]string{"suspend", "resume", "alert"}, e.v) {
			r.fail(e.at, "%q isn't an event; give suspend, resume or alert", e.v)
		}
		h.Events = append(h.Events, e.v)
	}
	return h
}

func webURL(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

func (r *fileReader) report(n ast.Node, where place) fileReport {
	m, ok := r.mapping(n, where, "name", "schedule", "period", "audiences", "redacted", "kind", "formats", "deliver")
	if !ok {
		return fileReport{}
	}
	name := m.required("name", needID)
	if name.set && !metering.ValidID(name.v) {
		r.fail(name.at, "not a name; give %s", needID)
	}
	s := fileReport{Schedule: metering.Schedule{Name: name.v, Cron: r.cron(&m), Period: "last_month"}}
	if p := m.text("period"); p.set {
		s.Period = p.v
		if !slices.Contains([]string{"last_month", "last_week", "yesterday", "month_to_date"}, p.v) {
			r.fail(p.at, "%q isn't a report's period; give last_month, last_week, yesterday or month_to_date", p.v)
		}
	}
	s.audiences, _ = m.texts("audiences")
	for _, a := range s.audiences {
		s.Audiences = append(s.Audiences, a.v)
	}
	if red := m.text("redacted"); red.set {
		s.Redacted = red.v == "true"
		if red.v != "true" && red.v != "false" {
			r.fail(red.at, "give true or false")
		}
	}
	r.kind(&m, &s)
	r.deliver(&m, &s)
	return s
}

// kind of a report, and the formats that it comes in.
func (r *fileReader) kind(m *mapping, s *fileReport) {
	may := []string{"csv", "json", "html", "xlsx", "pdf"}
	if k := m.text("kind"); k.set {
		switch s.Kind = k.v; k.v {
		case "statement", "wallet":
		case "messages":
			may = []string{"csv", "json", "xlsx", "parquet"}
		default:
			r.fail(k.at, "%q isn't a kind of report; give statement, messages or wallet", k.v)
		}
	}
	formats, set := m.texts("formats")
	for _, f := range formats {
		if !slices.Contains(may, f.v) {
			r.fail(f.at, "%q isn't a format of this kind of report; give some of %s", f.v, strings.Join(may, ", "))
		}
		s.Formats = append(s.Formats, f.v)
	}
	if !set || len(formats) == 0 {
		r.fail(m.place("formats"), "missing; give some of %s", strings.Join(may, ", "))
	}
}

// cron reads a schedule of five fields, or a preset. It runs in the parent's
// zone, so none may be named.
func (r *fileReader) cron(m *mapping) string {
	const need = `five fields such as "0 6 1 * *", or @daily, @weekly or @monthly`
	s := m.required("schedule", need)
	if !s.set {
		return ""
	}
	preset := slices.Contains([]string{"@daily", "@weekly", "@monthly"}, s.v)
	if !preset && (strings.HasPrefix(s.v, "@") || strings.Contains(s.v, "TZ=")) {
		r.fail(s.at, "give %s; it runs in the parent's time zone", need)
		return s.v
	}
	schedule, err := cron.ParseStandard(s.v)
	if err != nil {
		r.fail(s.at, "not a schedule; give %s", need)
	} else if schedule.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		r.fail(s.at, "a schedule that never comes; give %s", need)
	}
	return s.v
}

// deliver reads destinations, each {to: URI} or just the URI.
func (r *fileReader) deliver(m *mapping, s *fileReport) {
	nodes, places, _ := m.items("deliver")
	for i, n := range nodes {
		to, ok := scalar(n)
		if !ok {
			d, ok := r.mapping(n, places[i], "to")
			if !ok {
				continue
			}
			v := d.required("to", "mailto:ADDRESS, file:DIR or an https address")
			if !v.set {
				continue
			}
			to, places[i] = v.v, v.at
		}
		if !destination(to) {
			r.fail(places[i], "not a destination; give mailto:ADDRESS, file:DIR, or an http or https address")
		}
		s.Deliver = append(s.Deliver, to)
	}
}

func destination(to string) bool {
	u, err := url.Parse(to)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "mailto":
		list, err := mail.ParseAddressList(u.Opaque)
		return err == nil && len(list) > 0
	case "file":
		return u.Opaque != "" || u.Path != "" && u.Host == ""
	}
	return webURL(u)
}
