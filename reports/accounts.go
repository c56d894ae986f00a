package reports

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/meterd/meterd/metering"
)

// accountsPage is how many accounts one query names: its parameters travel in
// the address of the request.
const accountsPage = 400

// accountsAt are a parent's accounts as the report shows them: today's, or, for
// a month that is closed, as they stood then, with today's module.
func (r *Reporter) accountsAt(ctx context.Context, parent string, s *reportPeriod) (map[string]*metering.Account, error) {
	snap := r.deps.Snapshot()
	out := map[string]*metering.Account{}
	for _, id := range snap.Family(parent) {
		out[id] = snap.Accounts[id]
	}
	if !s.closed {
		return out, nil
	}
	then, err := r.deps.Ledger.AccountsAt(ctx, parent, s.fixed.Catalog)
	if err != nil {
		return nil, err
	}
	for _, a := range then {
		if now := out[a.ID]; now != nil {
			a.Module, a.Calendar = now.Module, now.Calendar
			out[a.ID] = a
		}
	}
	return out, nil
}

// family is a parent and its sub-accounts, as the report shows them.
func (s *reportPeriod) family(parent string) []*metering.Account {
	list := []*metering.Account{s.accounts[parent]}
	for _, id := range slices.Sorted(maps.Keys(s.accounts)) {
		if id != parent {
			list = append(list, s.accounts[id])
		}
	}
	return list
}

func idsOf(accounts []*metering.Account) []string {
	out := make([]string, len(accounts))
	for i, a := range accounts {
		out[i] = a.ID
	}
	return out
}

// outsidePeriod tells whether an account has no place in the report unless it has
// traffic in it: closed before, or made after.
func outsidePeriod(a *metering.Account, s *reportPeriod) bool {
	return !a.IsParent() && (a.ClosedAt != nil && a.ClosedAt.Before(s.start) || !a.CreatedAt.Before(s.end))
}

// ownZone is the zone of the days of a sub-account's own report.
func ownZone(a *metering.Account, s *reportPeriod) *time.Location {
	if a.OwnZone == "" {
		return s.zone
	}
	loc, err := metering.LoadZone(a.OwnZone)
	if err != nil {
		return s.zone // an apply refuses it
	}
	return loc
}

// perPage runs f for pages of accounts.
func perPage(ids []string, f func(page []string) error) error {
	for page := range slices.Chunk(ids, accountsPage) {
		if err := f(page); err != nil {
			return err
		}
	}
	return nil
}
