package metering

import (
	"fmt"
	"slices"
	"time"
)

// Snapshot is what a worker knows of accounts and plans: immutable, numbered.
// Make it with NewSnapshot.
type Snapshot struct {
	Catalog  int64
	Accounts map[string]*Account
	Plans    map[string]*Plan
	Subs     map[string][]string // parent → sub-accounts, sorted
	Parents  []string            // sorted
	// RowsFrom: rows that occurred before are gone, or about to go, so that nothing of
	// that time can be told from a copy. Zero: all are there. RowsGone: those before it
	// have gone.
	RowsFrom, RowsGone time.Time

	// Faults says which accounts have no Calendar: they are without a parent,
	// or this machine doesn't know the parent's zone. Such a snapshot must not
	// be put to use; it never comes from an apply that succeeded.
	Faults []error

	// Prefixes: a plan has a rule with a prefix, so that Record.International matters.
	Prefixes bool

	indexes map[string][]*ruleIndex // plan → version → rules
}

// Family is a parent and its sub-accounts.
func (s *Snapshot) Family(parent string) []string { return append([]string{parent}, s.Subs[parent]...) }

// NewSnapshot indexes accounts and plans, compiles the plans' rules, and gives
// each account its parent's calendar. Accounts are copied (not their lists),
// so that the same documents may be in several snapshots; plans are shared.
func NewSnapshot(catalog int64, accounts []*Account, plans []*Plan) *Snapshot {
	s := &Snapshot{
		Catalog:  catalog,
		Accounts: make(map[string]*Account, len(accounts)),
		Plans:    make(map[string]*Plan, len(plans)),
		Subs:     map[string][]string{},
		indexes:  make(map[string][]*ruleIndex, len(plans)),
	}
	copies := make([]Account, len(accounts))
	for i, a := range accounts {
		copies[i] = *a
		s.Accounts[a.ID] = &copies[i]
		if a.IsParent() {
			s.Parents = append(s.Parents, a.ID)
		} else {
			s.Subs[a.ParentID] = append(s.Subs[a.ParentID], a.ID)
		}
	}
	for _, p := range plans {
		s.Plans[p.ID] = p
		s.indexes[p.ID] = compile(p)
		s.Prefixes = s.Prefixes || p.prefixed()
	}
	s.price(copies)
	slices.Sort(s.Parents)
	for _, subs := range s.Subs {
		slices.Sort(subs)
	}
	s.calendars(copies)
	return s
}

// price tells each account which channels its present plan prices.
func (s *Snapshot) price(accounts []Account) {
	channels := map[string][]string{}
	for id, p := range s.Plans {
		channels[id] = p.channels()
	}
	for i := range accounts {
		a := &accounts[i]
		a.Priced = []string{}
		if n := len(a.Plans); n > 0 {
			if p := s.Plans[a.Plans[n-1].Plan]; p != nil {
				a.Priced, a.PlanCatalog = channels[p.ID], p.Catalog
			}
		}
	}
}

// Gone tells whether rows of a bill are gone: they go with the month of UTC of its name,
// those of a bill that is kept stay, whenever they occurred.
func (s *Snapshot) Gone(period string) bool {
	return !s.RowsFrom.IsZero() && period < s.RowsFrom.UTC().Format("2006-01")
}

// TooOld refuses a record of a time whose rows are gone; nil: they are there.
func (s *Snapshot) TooOld(r *Record) *Refusal {
	if !r.OccurredAt.Before(s.RowsFrom) {
		return nil
	}
	return refuse(ReasonTooOld, "occurred_at: before the oldest rows that are kept, so it can't be told from a copy; book it as a wallet adjustment, or discard it")
}

// calendars gives each account its parent's calendar, equal ones sharing one.
func (s *Snapshot) calendars(accounts []Account) {
	made := map[string]*Calendar{}
	for _, id := range s.Parents {
		parent := s.Accounts[id]
		key := fmt.Sprint(parent.Zones, parent.Opened)
		if made[key] == nil {
			c, err := NewCalendar(parent.Zones)
			if err == nil {
				err = c.open(parent.Opened)
			}
			if err != nil {
				s.Faults = append(s.Faults, fmt.Errorf("account %s: %w", id, err))
				continue
			}
			made[key] = c
		}
		parent.Calendar = made[key]
	}
	for i := range accounts {
		a := &accounts[i]
		if a.IsParent() {
			continue
		}
		parent := s.Accounts[a.ParentID]
		if parent == nil {
			s.Faults = append(s.Faults, fmt.Errorf("account %s: its parent is missing", a.ID))
			continue
		}
		a.Calendar = parent.Calendar
	}
}

func compile(p *Plan) []*ruleIndex {
	out := make([]*ruleIndex, len(p.Versions))
	for i := range p.Versions {
		out[i] = newRuleIndex(p.Versions[i].Rules)
	}
	return out
}

// index has the compiled rules of version v, counted from 0, of a plan.
func (s *Snapshot) index(p *Plan, v int) *ruleIndex {
	if x := s.indexes[p.ID]; v < len(x) {
		return x[v]
	}
	return newRuleIndex(p.Versions[v].Rules) // a snapshot that was made by hand
}
