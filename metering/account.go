package metering

import (
	"slices"
	"time"
)

// Module decides what a sub-account sees (DOMAIN.md, Who sees what).
type Module string

// The modules.
const (
	Enterprise Module = "enterprise"
	Reseller   Module = "reseller"
)

// Mode is how a parent pays.
type Mode string

// The funding modes of a parent.
const (
	Prepaid  Mode = "prepaid"
	Postpaid Mode = "postpaid"
)

// Source is what a sub-account's records draw on.
type Source string

// The sources. A parent's own is SourceWallet or SourceCredit.
const (
	SourceAllocated Source = "allocated"
	SourceShared    Source = "shared"
	SourceCredit    Source = "credit"
	SourceWallet    Source = "wallet"
)

// Purse is the store of money that a charge drew on. Credit keeps no balance.
type Purse string

// The purses; External is the world outside, the other side of a top-up.
const (
	PurseExternal Purse = "external"
	PurseWallet   Purse = "wallet"
	PurseBudget   Purse = "budget"
	PurseCredit   Purse = "credit"
)

// Account is a parent or a sub-account at one catalog number. It is immutable
// once in a snapshot.
type Account struct {
	ID       string
	ParentID string // empty for a parent
	Name     string
	Module   Module // resolved: a sub-account's own or its parent's
	Currency string // the parent's plan's

	Mode         Mode    // the parent's
	Source       Source  // see Source
	CreditLimit  *Micros // postpaid parent: monthly ceiling, nil means none
	MonthlyLimit *Micros // sub-account's own monthly cap, nil means none
	Alerts       []int   // parent: shares of the limit in percent, ascending

	Zones    []ZoneFrom     // the parent's, first has an empty From
	OwnZone  string         // sub-account: zone of its own reports' days
	Channels []ChannelsFrom // judged at occurred_at; none, or a nil list: all
	Plans    []PlanFrom     // judged at occurred_at; a sub-account's own or its parent's

	Hooks   []Hook
	Reports []Schedule

	CreatedAt time.Time  // when it was first applied
	ClosedAt  *time.Time // what occurs after is refused
	Catalog   int64      // number of the apply that made this version
}

// ZoneFrom gives the zone from a period on: "2026-11" or "" for ever.
type ZoneFrom struct {
	From string
	Zone string
}

// ChannelsFrom lists the channels enabled from an instant on; nil means all.
type ChannelsFrom struct {
	From     time.Time
	Channels []string
}

// PlanFrom names the plan in use from an instant on.
type PlanFrom struct {
	From time.Time
	Plan string
}

// Hook is a webhook destination of a parent. The secret is only a reference.
type Hook struct {
	URL       string
	SecretEnv string
	Events    []string // suspend, resume, alert; empty: all
}

// Schedule is a report that a parent gets by itself.
type Schedule struct {
	Name      string
	Cron      string
	Period    string   // last_month, last_week, yesterday, month_to_date
	Audiences []string // parent, sub-account ids; empty: parent
	Redacted  bool
	Formats   []string
	Deliver   []string // destinations: file:DIR, mailto:…, https://…
}

// IsParent tells parents from sub-accounts.
func (a *Account) IsParent() bool { return a.ParentID == "" }

// Parent is the id of the parent, its own for a parent.
func (a *Account) Parent() string {
	if a.ParentID == "" {
		return a.ID
	}
	return a.ParentID
}

// Purse that the account's records draw on, and whose it is.
func (a *Account) Purse() (Purse, string) {
	switch a.Source {
	case SourceAllocated:
		return PurseBudget, a.ID
	case SourceShared, SourceWallet:
		return PurseWallet, a.Parent()
	default:
		return PurseCredit, a.Parent()
	}
}

// ChannelEnabled at the instant t.
func (a *Account) ChannelEnabled(channel string, t time.Time) bool {
	c := at(a.Channels, t, func(c ChannelsFrom) time.Time { return c.From })
	return c == nil || c.Channels == nil || slices.Contains(c.Channels, channel)
}

// PlanAt is the plan in use at t.
func (a *Account) PlanAt(t time.Time) string {
	if p := at(a.Plans, t, func(p PlanFrom) time.Time { return p.From }); p != nil {
		return p.Plan
	}
	return ""
}

// at finds the last element whose from is not after t, else the first: what
// was first applied is taken to have held before, so that a backfill rates.
func at[T any](s []T, t time.Time, from func(T) time.Time) *T {
	for i := len(s) - 1; i >= 0; i-- {
		if i == 0 || !from(s[i]).After(t) {
			return &s[i]
		}
	}
	return nil
}

// Snapshot is what a worker knows of accounts and plans: immutable, numbered.
type Snapshot struct {
	Catalog  int64
	Accounts map[string]*Account
	Plans    map[string]*Plan
	Subs     map[string][]string // parent → sub-accounts, sorted
	Parents  []string            // sorted
}

// NewSnapshot indexes accounts and plans.
func NewSnapshot(catalog int64, accounts []*Account, plans []*Plan) *Snapshot {
	s := &Snapshot{
		Catalog:  catalog,
		Accounts: make(map[string]*Account, len(accounts)),
		Plans:    make(map[string]*Plan, len(plans)),
		Subs:     map[string][]string{},
	}
	for _, a := range accounts {
		s.Accounts[a.ID] = a
		if a.IsParent() {
			s.Parents = append(s.Parents, a.ID)
		} else {
			s.Subs[a.ParentID] = append(s.Subs[a.ParentID], a.ID)
		}
	}
	for _, p := range plans {
		s.Plans[p.ID] = p
	}
	slices.Sort(s.Parents)
	for _, subs := range s.Subs {
		slices.Sort(subs)
	}
	return s
}
