package metering

import (
	"slices"
	"time"
)

// Module decides what a sub-account sees (docs/domain.md, Who sees what).
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
// once in a snapshot. Its JSON form is what the ledger keeps: lossless, with
// money in micro-units.
type Account struct {
	ID        string `json:"id"`
	ParentID  string `json:"parent_id"` // empty for a parent
	Name      string `json:"name"`
	Module    Module `json:"module"`     // resolved: a sub-account's own or its parent's
	OwnModule Module `json:"own_module"` // sub-account: its own, empty when it is its parent's
	Currency  string `json:"currency"`   // the parent's plan's

	Mode         Mode    `json:"mode"`                 // the parent's
	Source       Source  `json:"source"`               // see Source
	CreditLimit  *Micros `json:"credit_limit_micros"`  // postpaid parent: monthly ceiling, nil means none
	MonthlyLimit *Micros `json:"monthly_limit_micros"` // sub-account's own monthly cap, nil means none
	Alerts       []int   `json:"alerts"`               // parent: shares of the limit in percent, ascending
	Observe      bool    `json:"observe,omitempty"`    // parent: everything is computed and shown, nobody is suspended by itself

	Zones    []ZoneFrom     `json:"zones"`    // the parent's, first has an empty From
	OwnZone  string         `json:"own_zone"` // sub-account: zone of its own reports' days
	Channels []ChannelsFrom `json:"channels"` // judged at occurred_at; none, or a nil list: all
	Plans    []PlanFrom     `json:"plans"`    // judged at occurred_at; a sub-account's own or its parent's
	OwnPlan  string         `json:"own_plan"` // sub-account: its present own plan, empty when it is its parent's

	Hooks []Hook `json:"hooks"`
	// AlertMail are addresses that alerts go to: a parent's of all its accounts,
	// an enterprise sub-account's of its own budget and limit.
	AlertMail []string `json:"alert_mail,omitempty"`
	// Issuer is who bills a parent, on its statements; nil: not said.
	Issuer *Issuer `json:"issuer,omitempty"`
	// Reports that come by themselves: a parent's, or a sub-account's own.
	Reports []Schedule `json:"reports"`

	CreatedAt time.Time  `json:"created_at"` // when it was first applied
	ClosedAt  *time.Time `json:"closed_at"`  // what occurs after is refused
	Catalog   int64      `json:"catalog"`    // number of the apply that made this version

	// First is the number of the apply that made the account: who reads a snapshot of the
	// ledger knows it.
	First int64 `json:"-"`

	// Opened are the months of a parent that have been opened; they stand beside
	// its versions, not in them.
	Opened MonthStarts `json:"-"`
	// Calendar has the parent's months. NewSnapshot sets it from the parent's
	// Zones and Opened; nil outside a snapshot.
	Calendar *Calendar `json:"-"`
	// Priced are the channels that some version of the present plan has a rule
	// for; nil: all. NewSnapshot sets it.
	Priced []string `json:"-"`
	// PlanCatalog is the number of the present plan's newest version. NewSnapshot
	// sets it.
	PlanCatalog int64 `json:"-"`
}

// Issuer is whoever a bill comes from.
type Issuer struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"` // lines
}

// ZoneFrom gives the zone from a period on: "2026-11" or "" for ever.
type ZoneFrom struct {
	From string `json:"from"`
	Zone string `json:"zone"`
}

// ChannelsFrom lists the channels enabled from an instant on; nil means all.
type ChannelsFrom struct {
	From     time.Time `json:"from"`
	Channels []string  `json:"channels"`
}

// PlanFrom names the plan in use from an instant on.
type PlanFrom struct {
	From time.Time `json:"from"`
	Plan string    `json:"plan"`
}

// Hook is a webhook destination of a parent. The secret is only a reference.
type Hook struct {
	URL       string   `json:"url"`
	SecretEnv string   `json:"secret_env"`
	Events    []string `json:"events"` // suspend, resume, alert; empty: all
}

// Wants tells whether the hook is to be told of an event.
func (h *Hook) Wants(event string) bool {
	return len(h.Events) == 0 || slices.Contains(h.Events, event)
}

// Schedule is a report that comes by itself.
type Schedule struct {
	Name      string   `json:"name"`
	Cron      string   `json:"cron"`
	Period    string   `json:"period"`    // last_month, last_week, yesterday, month_to_date
	Audiences []string `json:"audiences"` // parent, each, sub-account ids; empty: whose schedule it is
	Redacted  bool     `json:"redacted"`
	Detail    bool     `json:"detail,omitempty"` // a PDF has the details of accounts, however many
	Formats   []string `json:"formats"`
	Kind      string   `json:"kind,omitempty"` // statement (or empty), messages, wallet
	Deliver   []string `json:"deliver"`        // destinations: file:DIR, s3://…, mailto:ADDRESS, https://…
	// Secrets refer to what signs the webhooks among them, by destination.
	Secrets map[string]SecretRef `json:"secrets,omitempty"`
}

// SecretRef says where a secret is; it never holds one.
type SecretRef struct {
	Env  string `json:"env,omitempty"`  // an environment variable
	File string `json:"file,omitempty"` // a file
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

// Purse that the account's records draw on, and whose it is. What a closed
// sub-account's late usage costs is its parent's: the budget has been swept.
func (a *Account) Purse() (Purse, string) {
	switch a.Source {
	case SourceAllocated:
		if a.ClosedAt != nil {
			return PurseWallet, a.Parent()
		}
		return PurseBudget, a.ID
	case SourceShared, SourceWallet:
		return PurseWallet, a.Parent()
	case SourceCredit:
	}
	return PurseCredit, a.Parent()
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
