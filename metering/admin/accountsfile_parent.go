package admin

import (
	"net/url"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/meterd/meterd/metering"
)

func (r *fileReader) parent(n ast.Node, where place) (fileParent, bool) {
	m, ok := r.mapping(n, where, "id", "name", "module", "timezone", "plan", "channels", "funding",
		"issuer", "enforcement", "alerts", "alert_mail", "hooks", "reports", "sub_accounts")
	if !ok {
		return fileParent{}, false
	}
	p := fileParent{fileAccount: m.account(), alerts: m.alerts(), observe: r.observe(&m), issuer: r.issuer(&m)}
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
	p.reports = r.reports(&m)
	for i := range p.reports {
		if p.reports[i].Kind == "wallet" && p.mode == metering.Postpaid {
			r.fail(m.place("reports"), "report %s: a postpaid parent has no wallet; give another kind", p.reports[i].Name)
		}
	}
	subs, places, _ := m.items("sub_accounts")
	for i, n := range subs {
		if s, ok := r.sub(n, places[i], p.mode); ok {
			p.subs = append(p.subs, s)
		}
	}
	return p, true
}

// Bounds of an issuer's texts, in bytes.
const (
	issuerNameMax    = 256
	issuerAddressMax = 1024
)

// issuer reads who bills, of one parent or of all in the file.
func (r *fileReader) issuer(m *mapping) *metering.Issuer {
	n := m.values["issuer"]
	if n == nil {
		return nil
	}
	f, ok := r.mapping(n, m.place("issuer"), "name", "address")
	if !ok {
		return nil
	}
	name, address := f.required("name", "the name that stands on statements"), f.text("address")
	control := func(c rune) bool { return c < ' ' || c == 0x7f }
	if name.set && (strings.TrimSpace(name.v) == "" || len(name.v) > issuerNameMax || strings.ContainsFunc(name.v, control)) {
		r.fail(name.at, "give one line of 1 to %d bytes", issuerNameMax)
	}
	lines := strings.TrimRight(address.v, "\n")
	if len(lines) > issuerAddressMax || strings.ContainsFunc(strings.ReplaceAll(lines, "\n", ""), control) {
		r.fail(address.at, "give at most %d bytes of plain lines", issuerAddressMax)
	}
	return &metering.Issuer{Name: name.v, Address: lines}
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
		"monthly_limit", "alert_mail", "reports", "sub_accounts")
	if !ok {
		return fileSub{}, false
	}
	s := fileSub{fileAccount: m.account()}
	if m.values["sub_accounts"] != nil {
		r.fail(m.place("sub_accounts"), "a sub-account can have no sub-accounts; put them beside it, under the parent")
	}
	s.limit = m.money("monthly_limit")
	s.reports = r.ownReports(&m, s.id)
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
