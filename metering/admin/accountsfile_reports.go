package admin

import (
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/robfig/cron/v3"

	"github.com/meterd/meterd/internal/destination"
	"github.com/meterd/meterd/metering"
)

// reports reads schedules, a parent's or a sub-account's own.
func (r *fileReader) reports(m *mapping) (out []fileReport) {
	nodes, places, _ := m.items("reports")
	names := map[string]bool{}
	for i, n := range nodes {
		s := r.report(n, places[i])
		if names[s.Name] && s.Name != "" {
			r.fail(places[i], "a report named %q is there twice; give each its own name", s.Name)
		}
		names[s.Name] = true
		out = append(out, s)
	}
	return out
}

// ownReports reads a sub-account's schedules: of its own statement only.
func (r *fileReader) ownReports(m *mapping, id string) []fileReport {
	list := r.reports(m)
	for i := range list {
		if list[i].Kind == "wallet" {
			r.fail(m.place("reports"), "a wallet's movements are its parent's alone; give another kind")
		}
		for _, a := range list[i].audiences {
			if a.v != id {
				r.fail(a.at, "a sub-account's schedule is for its own statement; leave audiences out")
			}
		}
	}
	return list
}

func (r *fileReader) report(n ast.Node, where place) fileReport {
	m, ok := r.mapping(n, where, "name", "schedule", "period", "audiences", "redacted", "detail", "kind", "formats", "deliver")
	if !ok {
		return fileReport{}
	}
	name := m.required("name", needID)
	if name.set && !metering.ValidID(name.v) {
		r.fail(name.at, "not a name; give %s", needID)
	}
	s := fileReport{Schedule: metering.Schedule{Name: name.v}}
	s.Cron, s.Period = r.cron(&m)
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
	s.Redacted, s.Detail = m.yes("redacted"), m.yes("detail")
	r.kind(&m, &s)
	r.deliver(&m, &s)
	return s
}

// yes reads true or false, which it is unless said.
func (m *mapping) yes(key string) bool {
	t := m.text(key)
	if t.set && t.v != "true" && t.v != "false" {
		m.r.fail(t.at, "give true or false")
	}
	return t.v == "true"
}

// kind of a report, and the formats that it comes in.
func (r *fileReader) kind(m *mapping, s *fileReport) {
	may := []string{"csv", "json", "html", "xlsx", "pdf"}
	if k := m.text("kind"); k.set {
		switch s.Kind = k.v; k.v {
		case "statement":
		case "wallet":
			for _, a := range s.audiences {
				if a.v != "parent" {
					r.fail(a.at, "a wallet's movements are its parent's alone; leave audiences out")
				}
			}
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

// preset is a schedule that needs no cron expression: its time of the parent's
// clock, and what it reports on unless said.
type preset struct{ cron, period string }

var presets = map[string]preset{ //nolint:gochecknoglobals // a table
	"daily":    {"0 6 * * *", "yesterday"},
	"weekly":   {"0 6 * * 1", "last_week"},
	"monthly":  {"0 6 1 * *", "last_month"},
	"@daily":   {"@daily", "yesterday"},
	"@weekly":  {"@weekly", "last_week"},
	"@monthly": {"@monthly", "last_month"},
}

// cron reads a schedule of five fields, or a preset. It runs in the parent's
// zone, so none may be named.
func (r *fileReader) cron(m *mapping) (expression, period string) {
	const need = `daily, weekly or monthly, or five fields such as "0 6 1 * *"`
	s := m.required("schedule", need)
	if !s.set {
		return "", "last_month"
	}
	if p, ok := presets[s.v]; ok {
		return p.cron, p.period
	}
	if strings.HasPrefix(s.v, "@") || strings.Contains(s.v, "TZ=") {
		r.fail(s.at, "give %s; it runs in the parent's time zone", need)
		return s.v, "last_month"
	}
	schedule, err := cron.ParseStandard(s.v)
	if err != nil {
		r.fail(s.at, "not a schedule; give %s", need)
	} else if schedule.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		r.fail(s.at, "a schedule that never comes; give %s", need)
	}
	return s.v, "last_month"
}

// deliver reads destinations, each {to: URI} or just the URI. Each address of a
// mailto is a destination of its own.
func (r *fileReader) deliver(m *mapping, s *fileReport) {
	nodes, places, _ := m.items("deliver")
	for i, n := range nodes {
		to, ok := scalar(n)
		var secret metering.SecretRef
		at := places[i]
		if !ok {
			d, ok := r.mapping(n, places[i], "to", "secret_env", "secret_file")
			if !ok {
				continue
			}
			v := d.required("to", "mailto:ADDRESS, file:DIR, s3://BUCKET/PREFIX or an https address")
			secret = r.secret(&d)
			if !v.set {
				continue
			}
			to, at = v.v, v.at
		}
		r.destination(to, secret, at, s)
	}
}

func (r *fileReader) destination(to string, secret metering.SecretRef, at place, s *fileReport) {
	a, err := destination.Parse(to)
	if err != nil {
		r.fail(at, "%s", err)
		return
	}
	signed := secret != (metering.SecretRef{})
	switch {
	case a.Kind == destination.Hook && !signed:
		r.fail(at, "a webhook is signed; give {to: …, secret_env: NAME} or secret_file")
	case a.Kind != destination.Hook && signed:
		r.fail(at, "only a webhook takes a secret here; a bucket's credentials and the mail server's password are the worker's")
	}
	for _, part := range a.Split() {
		if slices.Contains(s.Deliver, part) {
			r.fail(at, "the same destination is there twice")
			continue
		}
		s.Deliver = append(s.Deliver, part)
		if signed {
			if s.Secrets == nil {
				s.Secrets = map[string]metering.SecretRef{}
			}
			s.Secrets[part] = secret
		}
	}
}

// secret reads a reference to one.
func (r *fileReader) secret(d *mapping) metering.SecretRef {
	env, file := d.text("secret_env"), d.text("secret_file")
	if env.set && !envName.MatchString(env.v) {
		r.fail(env.at, "not the name of an environment variable; give one such as ACME_REPORT_SECRET")
	}
	if env.set && file.set {
		r.fail(file.at, "give secret_env or secret_file, not both")
	}
	if file.set && file.v == "" {
		r.fail(file.at, "give the name of the file that holds the secret")
	}
	return metering.SecretRef{Env: env.v, File: file.v}
}
