package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/phone"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// Impact is what an accounts file would have meant for the last days: every
// message that a plan rated, rated anew by the plans and channels of the file as
// if they had been in force.
type Impact struct {
	Since    time.Time       // the first of those days of which there are rows
	Accounts []AccountImpact // with a message, by parent and id
	Unpriced []Unpriced      // what would have no price, or no channel
	Suspend  []WouldSuspend  // who would be suspended and isn't
}

// AccountImpact is what it means for one account.
type AccountImpact struct {
	Account, Currency  string
	Messages, Unpriced int64
	Before, Difference metering.Sum // of all its messages, net of refunds; what has no charge any more loses all of it
}

// Unpriced counts messages that the file leaves without a charge.
type Unpriced struct {
	Account, Channel, Country string
	Reason                    metering.Reason
	Messages                  int64
}

// WouldSuspend is an account, with its reasons, as the current month stands.
type WouldSuspend struct {
	Account string
	Reasons []string
}

// Impact works it out for the parents that the file changes, and changes
// nothing.
func (s *Service) Impact(ctx context.Context, f *AccountsFile, days int) (*Impact, error) {
	if err := s.ensureAll(ctx); err != nil {
		return nil, err
	}
	now := s.clock.Now().UTC()
	cur := s.snapshots.Current()
	changes, err := f.Plan(cur, now)
	if err != nil {
		return nil, err
	}
	next := overlay(cur, changes)
	out := &Impact{Since: now.AddDate(0, 0, -days)}
	if cur.RowsFrom.After(out.Since) {
		out.Since = cur.RowsFrom // what is older is past its retention
	}
	for _, parent := range touched(cur, next, changes) {
		w := &impactOf{service: s, cur: cur, next: next, impact: out, now: now, month: map[string]metering.Sum{}}
		if err := w.parent(ctx, parent); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// overlay is the snapshot as it would be.
func overlay(cur *metering.Snapshot, c *Changes) *metering.Snapshot {
	accounts, plans := map[string]*metering.Account{}, map[string]*metering.Plan{}
	maps.Copy(accounts, cur.Accounts)
	for _, a := range c.Accounts {
		accounts[a.ID] = a
	}
	for id, p := range cur.Plans {
		plans[id] = newest(p)
	}
	for _, p := range c.Plans {
		plans[p.ID] = newest(p)
	}
	var al []*metering.Account
	for _, a := range accounts {
		al = append(al, a)
	}
	var pl []*metering.Plan
	for _, p := range plans {
		pl = append(pl, p)
	}
	return metering.NewSnapshot(cur.Catalog+1, al, pl)
}

// newest is a plan as if its last version had always been in force.
func newest(p *metering.Plan) *metering.Plan {
	q := *p
	if n := len(p.Versions); n > 0 {
		q.Versions = []metering.PlanVersion{p.Versions[n-1]}
		q.Versions[0].EffectiveFrom = time.Time{}
	}
	return &q
}

// touched are the parents that are there already and that the changes concern.
func touched(cur, next *metering.Snapshot, c *Changes) []string {
	set := map[string]bool{}
	for _, a := range c.Accounts {
		set[a.Parent()] = true
	}
	changed := map[string]bool{}
	for _, p := range c.Plans {
		changed[p.ID] = true
	}
	for _, a := range next.Accounts {
		if n := len(a.Plans); n > 0 && changed[a.Plans[n-1].Plan] {
			set[a.Parent()] = true
		}
	}
	var out []string
	for id := range set {
		if cur.Accounts[id] != nil {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// impactOf is one parent's in the making.
type impactOf struct {
	service   *Service
	cur, next *metering.Snapshot
	impact    *Impact
	now       time.Time
	month     map[string]metering.Sum // account → difference of the current month
}

func (w *impactOf) parent(ctx context.Context, parent string) error {
	period := w.next.Accounts[parent].Calendar.Of(w.now).Name
	unpriced := map[Unpriced]int64{}
	q := ledger.RatedQuery{Parent: parent, From: w.impact.Since}
	if err := w.service.ledger.RatedMessages(ctx, q, func(m *ledger.RatedMessage) error {
		return w.message(m, period, unpriced)
	}); err != nil {
		return err
	}
	var list []Unpriced
	for u, n := range unpriced {
		u.Messages = n
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b Unpriced) int {
		return strings.Compare(a.Account+"\x00"+a.Channel+"\x00"+a.Country, b.Account+"\x00"+b.Channel+"\x00"+b.Country)
	})
	w.impact.Unpriced = append(w.impact.Unpriced, list...)
	return w.suspensions(ctx, parent, period)
}

func (w *impactOf) message(m *ledger.RatedMessage, period string, unpriced map[Unpriced]int64) error {
	r := &m.Record
	a := w.next.Accounts[r.AccountID]
	if n := len(w.impact.Accounts); n == 0 || w.impact.Accounts[n-1].Account != r.AccountID {
		w.impact.Accounts = append(w.impact.Accounts, AccountImpact{Account: r.AccountID, Currency: a.Currency})
	}
	own := &w.impact.Accounts[len(w.impact.Accounts)-1]
	own.Messages++
	c, refusal, err := w.rate(a, r, m.Was)
	if err != nil {
		return fmt.Errorf("%w: impact on %s: %w", ErrRefused, r.AccountID, err)
	}
	was := m.Was.Amount.Sum().Minus(m.Was.Refunded.Sum())
	diff := c.Amount.Sum()
	if refusal != nil {
		own.Unpriced++
		unpriced[Unpriced{Account: r.AccountID, Channel: r.Channel, Country: r.Country, Reason: refusal.Reason}]++
		diff = was.Neg() // it would have been quarantined, and charged nothing
	}
	own.Before = own.Before.Plus(was)
	own.Difference = own.Difference.Plus(diff)
	if m.Period == period {
		w.month[r.AccountID] = w.month[r.AccountID].Plus(diff)
	}
	return nil
}

// rate by the file's channels and plan.
func (w *impactOf) rate(a *metering.Account, r *metering.Record, was metering.ChargedSoFar) (metering.Correction, *metering.Refusal, error) {
	if n := len(a.Channels); n > 0 {
		last := a.Channels[n-1]
		if last.Channels != nil && !slices.Contains(last.Channels, r.Channel) {
			return metering.Correction{}, &metering.Refusal{Reason: metering.ReasonChannelNotEnabled}, nil
		}
	}
	plan := w.next.Plans[a.Plans[len(a.Plans)-1].Plan]
	if plan == nil {
		return metering.Correction{}, &metering.Refusal{Reason: metering.ReasonNoPrice}, nil
	}
	r.International = phone.International(r.FarEnd())
	return metering.Rerate(w.next, plan, r, was)
}

// suspensions that the current month would come to.
func (w *impactOf) suspensions(ctx context.Context, parent, period string) error {
	s := w.service
	ids := w.next.Family(parent)
	proj, err := s.store.Read(ctx, s.store.PartitionOf(parent), ids)
	if err != nil {
		return err
	}
	var total metering.Sum
	for _, d := range w.month {
		total = total.Plus(d)
	}
	flags := map[string]metering.Flags{}
	for _, id := range ids {
		if st := proj.States[id]; st != nil {
			flags[id] = w.flags(w.next.Accounts[id], st, period, total)
		}
	}
	for _, id := range ids {
		st := proj.States[id]
		if st == nil {
			continue
		}
		all := flags[id]
		if id != parent {
			all |= flags[parent].Inherited(w.next.Accounts[id].Source)
		}
		if own, inherited := st.Flags(w.now.UnixMilli()); all != 0 && own|inherited == 0 {
			w.impact.Suspend = append(w.impact.Suspend, WouldSuspend{Account: id, Reasons: all.Reasons()})
		}
	}
	return nil
}

// flags that would hold for an account by its purse and limits.
func (w *impactOf) flags(a *metering.Account, st *balance.State, period string, total metering.Sum) metering.Flags {
	var f metering.Flags
	diff := w.month[a.ID]
	shared := diff // what the wallet pays of it
	if a.IsParent() {
		diff = total
		for id, d := range w.month {
			if id != a.ID && w.next.Accounts[id].Source != metering.SourceAllocated {
				shared = shared.Plus(d)
			}
		}
	}
	used, held := st.Used[period].Sum().Plus(diff), st.Balance.Sum()
	reached := func(limit *metering.Micros) bool { return limit != nil && used.Cmp(limit.Sum()) >= 0 }
	switch {
	case a.IsParent() && a.Mode == metering.Prepaid && held.Cmp(shared) <= 0:
		f |= metering.FlagWallet
	case a.IsParent() && reached(a.CreditLimit):
		f |= metering.FlagCeiling
	case !a.IsParent() && a.Source == metering.SourceAllocated && held.Cmp(diff) <= 0:
		f |= metering.FlagBudget
	}
	if !a.IsParent() && reached(a.MonthlyLimit) {
		f |= metering.FlagMonthly
	}
	return f
}
