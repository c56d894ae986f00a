package admin

import (
	"maps"
	"slices"
	"time"

	"github.com/meterd/meterd/metering"
)

// planner compares a file with what has been applied.
type planner struct {
	faults
	cur     *metering.Snapshot
	now     time.Time // UTC, milliseconds
	plans   map[string]*metering.Plan
	changes Changes
}

// Plan works out what applying the file at now changes from cur; nil is a new
// installation. The error is a *AccountsFileError with State set, and nothing changes:
// it holds what is right in the file by itself but not against cur.
//
// Documents in the result are new; those of cur aren't touched.
func (f *AccountsFile) Plan(cur *metering.Snapshot, now time.Time) (*Changes, error) {
	if cur == nil {
		cur = metering.NewSnapshot(0, nil, nil)
	}
	p := &planner{
		faults: faults{file: f.name},
		cur:    cur,
		now:    instant(now),
		plans:  make(map[string]*metering.Plan, len(cur.Plans)+len(f.plans)),
	}
	maps.Copy(p.plans, cur.Plans)
	for i := range f.plans {
		p.plan(&f.plans[i])
	}
	for i := range f.parents {
		p.parent(&f.parents[i])
	}
	if err := p.err(true); err != nil {
		return nil, err
	}
	return &p.changes, nil
}

// note puts an id into the list that fits.
func (c *Changes) note(id string, isNew, changed bool) {
	switch {
	case isNew:
		c.Created = append(c.Created, id)
	case changed:
		c.Updated = append(c.Updated, id)
	default:
		c.Unchanged = append(c.Unchanged, id)
	}
}

// plan compares one price plan.
func (p *planner) plan(f *filePlan) {
	next := &metering.Plan{ID: f.id, Currency: f.currency.v}
	for i := range f.versions {
		next.Versions = append(next.Versions, f.versions[i].PlanVersion)
	}
	old := p.cur.Plans[f.id]
	p.plans[f.id] = next
	if old == nil {
		p.changes.Plans = append(p.changes.Plans, next)
		p.changes.note("plan:"+f.id, true, true)
		return
	}
	if old.Currency != next.Currency {
		p.fail(f.currency.at, "the plan is in %s, which never changes; make another plan for %s", old.Currency, next.Currency)
		return
	}
	p.inForce(f, old)
	p.newVersions(f, old)
	changed := !slices.EqualFunc(old.Versions, next.Versions, sameVersion)
	if changed {
		p.changes.Plans = append(p.changes.Plans, next)
	} else {
		p.plans[f.id] = old
	}
	p.changes.note("plan:"+f.id, false, changed)
}

// frozen tells whether a version that was applied is in force, or so nearly
// that workers may rate by it: it is never edited.
func (p *planner) frozen(v *metering.PlanVersion) bool {
	return !v.EffectiveFrom.After(p.now.Add(metering.VersionLead))
}

// inForce refuses to edit or drop a version in force.
func (p *planner) inForce(f *filePlan, old *metering.Plan) {
	for i := range old.Versions {
		o := &old.Versions[i]
		if !p.frozen(o) {
			continue
		}
		from := o.EffectiveFrom.Format(time.RFC3339Nano)
		j := slices.IndexFunc(f.versions, func(v fileVersion) bool { return v.EffectiveFrom.Equal(o.EffectiveFrom) })
		switch {
		case j < 0:
			where := f.at
			where.field = join(where.field, "versions")
			p.fail(where, "the version from %s is in force and missing here; put it back", from)
		case !sameVersion(*o, f.versions[j].PlanVersion):
			p.fail(f.versions[j].at, "the version from %s is in force and can't be edited; "+
				"restore it, and add a version that starts at least %.0f minutes from now", from, metering.VersionLead.Minutes())
		}
	}
}

// newVersions refuses versions that would start before every worker knows them.
func (p *planner) newVersions(f *filePlan, old *metering.Plan) {
	for i := range f.versions {
		v := &f.versions[i]
		applied := slices.ContainsFunc(old.Versions, func(o metering.PlanVersion) bool {
			return o.EffectiveFrom.Equal(v.EffectiveFrom)
		})
		if !applied && v.EffectiveFrom.Before(p.now.Add(metering.VersionLead)) {
			where := v.at
			where.field = join(where.field, "effective_from")
			p.fail(where, "a new version must start at least %.0f minutes after it is applied; give a later instant", metering.VersionLead.Minutes())
		}
	}
}

func sameVersion(a, b metering.PlanVersion) bool {
	return a.EffectiveFrom.Equal(b.EffectiveFrom) && a.RefundAfter == b.RefundAfter &&
		slices.Equal(a.RefundOn, b.RefundOn) && slices.Equal(a.Rules, b.Rules)
}

// find is the account that has been applied, and refuses an id that belongs to
// another kind of account, to another parent, or to a closed one.
func (p *planner) find(f *fileAccount, parent string) (old *metering.Account, ok bool) {
	old = p.cur.Accounts[f.id]
	where := f.at
	where.field = join(where.field, "id")
	switch {
	case old == nil:
		return nil, true
	case old.ParentID == parent:
	case old.IsParent():
		p.fail(where, "%q has been applied as a parent; give the sub-account another id", f.id)
		return nil, false
	case parent == "":
		p.fail(where, "%q has been applied as a sub-account; give the parent another id", f.id)
		return nil, false
	default:
		p.fail(where, "%q has been applied under another parent, which never changes; give the sub-account another id", f.id)
		return nil, false
	}
	if old.ClosedAt != nil {
		p.fail(where, "%q has been closed and can't be opened again; give another id, or leave it out", f.id)
		return nil, false
	}
	return old, true
}

// planOf finds the price plan that an account names.
func (p *planner) planOf(name located[string]) *metering.Plan {
	plan := p.plans[name.v]
	if plan == nil {
		p.fail(name.at, "no plan %q, in the file or applied; add it under plans", name.v)
	}
	return plan
}
