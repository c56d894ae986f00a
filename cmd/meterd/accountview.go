package main

import (
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
)

// accountView is what the operator, a parent, and an enterprise sub-account are
// shown of an account. A field that doesn't apply, or isn't for the reader, is
// absent.
type accountView struct {
	ID        string   `json:"id"`
	Parent    string   `json:"parent,omitempty"`
	Name      string   `json:"name"`
	Module    string   `json:"module,omitempty"`
	State     string   `json:"state"`
	Reasons   []string `json:"reasons"`
	HeldBack  []string `json:"held_back,omitempty"` // reasons without effect
	Observe   bool     `json:"observe,omitempty"`
	Epoch     int64    `json:"epoch"`
	Period    string   `json:"period,omitempty"`
	Used      string   `json:"used,omitempty"`
	Limit     string   `json:"limit,omitempty"`
	Balance   string   `json:"balance,omitempty"`
	Budget    string   `json:"budget,omitempty"`
	Available string   `json:"available,omitempty"`
	Currency  string   `json:"currency,omitempty"`
	Channels  []string `json:"channels,omitempty"`
	share     int      // of the limit, percent; -1: none
}

// memberView is all that a reseller sub-account is shown of itself: nothing
// economic, no reasons, no epoch.
type memberView struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	State    string   `json:"state"`
	Channels []string `json:"channels,omitempty"`
}

// memberOf builds a reseller sub-account's view of itself.
func memberOf(a *metering.Account, st *balance.State, now time.Time) memberView {
	own, inherited := st.Flags(now.UnixMilli())
	return memberView{ID: a.ID, Name: a.Name, State: stateOf(a, own|inherited), Channels: channelsOf(a)}
}

// stateOf an account for which the flags hold.
func stateOf(a *metering.Account, flags metering.Flags) string {
	switch {
	case a.ClosedAt != nil:
		return string(metering.StateClosed)
	case flags != 0:
		return string(metering.StateSuspended)
	default:
		return string(metering.StateActive)
	}
}

// channelsOf an account now; none: all.
func channelsOf(a *metering.Account) []string {
	if n := len(a.Channels); n > 0 {
		return a.Channels[n-1].Channels
	}
	return nil
}

// viewOf builds what aud may see: a memberView for a reseller sub-account, an
// accountView for all others. parent is the state of a sub-account's parent.
func (e *engines) viewOf(aud metering.Audience, a *metering.Account, st, parent *balance.State) any {
	now := e.clock.Now()
	if aud == metering.AudienceReseller {
		return memberOf(a, st, now)
	}
	return e.accountOf(aud, a, st, parent)
}

func (e *engines) accountOf(aud metering.Audience, a *metering.Account, st, parent *balance.State) accountView {
	now := e.clock.Now()
	own, inherited := st.Flags(now.UnixMilli())
	v := accountView{
		ID: a.ID, Parent: a.ParentID, Name: a.Name, Module: string(a.Module), State: stateOf(a, own|inherited),
		Reasons: metering.VisibleReasons(aud, own, inherited), Epoch: st.Epoch, Period: a.Calendar.Of(now).Name,
		Currency: a.Currency, Channels: channelsOf(a), share: -1,
	}
	if aud == metering.AudienceEnterprise {
		v.Parent = "" // a sub-account sees nothing of its parent
	} else if back := st.HeldBack(now.UnixMilli()); back != 0 {
		v.HeldBack = back.Reasons()
	}
	v.Observe = a.Observe
	v.Used = st.Used[v.Period].Format(a.Currency)
	money(&v, aud, a, e.snapshots.Current().Accounts[a.Parent()].CreditLimit, st, parent)
	return v
}

// shared stands for a purse whose figures aren't the reader's.
const shared = "shared"

// money fills limit, balance, budget and available.
func money(v *accountView, aud metering.Audience, a *metering.Account, ceiling *metering.Micros, st, parent *balance.State) {
	used := st.Used[v.Period]
	left := []metering.Micros{}
	hidden := false
	limit := func(l *metering.Micros) {
		if l != nil {
			v.Limit = l.Format(a.Currency)
			left = append(left, *l-used)
			if *l > 0 {
				v.share = int(used.Decimal().Shift(2).Div(l.Decimal()).IntPart()) // percent; 100 × used may leave 64 bits
			}
		}
	}
	switch {
	case a.IsParent() && a.Mode == metering.Prepaid:
		v.Balance = st.Balance.Format(a.Currency)
		left = append(left, st.Balance)
	case a.IsParent():
		limit(a.CreditLimit)
		if st.Balance != 0 { // of a wallet that is drawn on no more
			v.Balance = st.Balance.Format(a.Currency)
		}
	case a.Source == metering.SourceAllocated:
		v.Budget = st.Balance.Format(a.Currency)
		left = append(left, st.Balance)
	case aud == metering.AudienceEnterprise:
		v.Budget, hidden = shared, true
	case parent != nil && a.Source == metering.SourceShared:
		left = append(left, parent.Balance)
	case parent != nil && ceiling != nil:
		left = append(left, *ceiling-parent.Used[v.Period])
	}
	if !a.IsParent() {
		limit(a.MonthlyLimit)
	}
	if len(left) > 0 {
		least := left[0]
		for _, l := range left {
			least = min(least, l)
		}
		v.Available = least.Format(a.Currency)
	} else if hidden {
		v.Available = shared
	}
}
