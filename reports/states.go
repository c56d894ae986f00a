package reports

import (
	"context"
	"slices"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// Suspension is a time in which an account was suspended for the same reasons.
type Suspension struct {
	From    time.Time  `json:"from"`
	Until   *time.Time `json:"until"` // null: still so when the report ends
	Reasons []string   `json:"reasons"`
	Actor   string     `json:"actor,omitempty"` // who suspended it by hand
	Note    string     `json:"note,omitempty"`
}

// Alert is a share of a limit that was passed.
type Alert struct {
	At    time.Time `json:"at"`
	Limit string    `json:"limit"` // wallet, budget, credit, monthly_limit
	Share int       `json:"share"` // percent
}

// alerts that were raised in the span, by account.
func (r *Reporter) alerts(ctx context.Context, ids []string, s *reportPeriod) (map[string][]Alert, error) {
	out := map[string][]Alert{}
	return out, perPage(ids, func(page []string) error {
		return r.deps.Ledger.Alerts(ctx, page, s.start, s.end, func(a *ledger.AlertRow) error {
			out[a.AccountID] = append(out[a.AccountID], Alert{At: a.At.UTC(), Limit: a.Limit, Share: a.Share})
			return nil
		})
	})
}

// history has the changes of flags of a parent's accounts, oldest first.
type history map[string][]ledger.StateRow

// history up to an instant. A monthly flag that nothing lifted is lifted at the
// end of its month.
func (r *Reporter) history(ctx context.Context, cal *metering.Calendar, ids []string, until time.Time) (history, error) {
	h := history{}
	if err := perPage(ids, func(page []string) error {
		return r.deps.Ledger.States(ctx, page, time.UnixMilli(0), until, func(row *ledger.StateRow) error {
			h[row.AccountID] = append(h[row.AccountID], *row)
			return nil
		})
	}); err != nil {
		return nil, err
	}
	for id, rows := range h {
		h[id] = monthsEnd(cal, rows, until)
	}
	return h, nil
}

func monthsEnd(cal *metering.Calendar, rows []ledger.StateRow, until time.Time) []ledger.StateRow {
	slices.SortStableFunc(rows, func(a, b ledger.StateRow) int { return a.At.Compare(b.At) })
	var out []ledger.StateRow
	for i, row := range rows {
		out = append(out, row)
		p, err := cal.Named(row.Period)
		if row.Flags&metering.FlagsMonthly == 0 || err != nil || !p.End.Before(until) {
			continue
		}
		if i+1 == len(rows) || rows[i+1].At.After(p.End) {
			row.Flags &^= metering.FlagsMonthly
			row.At, row.Cause, row.Actor, row.Note = p.End, "", "", ""
			out = append(out, row)
		}
	}
	return out
}

// flagsAt are an account's own flags after its last change.
func (h history) last(id string) metering.Flags {
	if rows := h[id]; len(rows) > 0 {
		return rows[len(rows)-1].Flags
	}
	return 0
}

// states of accounts as of the report: the live ones, or the history's.
func (r *Reporter) states(ctx context.Context, parent string, accounts []*metering.Account, s *reportPeriod) (map[string]AccountState, error) {
	out := map[string]AccountState{}
	if s.closed {
		for _, a := range accounts {
			f := s.fixed.Frozen.Flags[a.ID]
			out[a.ID] = AccountState{Own: f.Own, Inherited: f.Inherited}
		}
		return out, nil
	}
	if r.deps.States != nil {
		for _, a := range accounts {
			st, err := r.deps.States(ctx, a.ID)
			if err != nil {
				return nil, err
			}
			out[a.ID] = st
		}
		return out, nil
	}
	ids := idsOf(accounts)
	if !slices.Contains(ids, parent) {
		ids = append(ids, parent)
	}
	h, err := r.history(ctx, accounts[0].Calendar, ids, s.asOf)
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		st := AccountState{Own: h.last(a.ID)}
		if !a.IsParent() {
			st.Inherited = h.last(parent).Inherited(a.Source)
		}
		out[a.ID] = st
	}
	return out, nil
}

// suspensions of an account that touch the span, as an audience may see them.
func (h history) suspensions(a *metering.Account, aud metering.Audience, s *reportPeriod) []Suspension {
	rows := slices.Clone(h[a.ID])
	if !a.IsParent() {
		rows = append(rows, h[a.ParentID]...)
	}
	slices.SortStableFunc(rows, func(a, b ledger.StateRow) int { return a.At.Compare(b.At) })
	out := []Suspension{}
	var own, inherited metering.Flags
	var cur *Suspension
	end := func(at time.Time) {
		if cur != nil && at.After(cur.From) && at.After(s.start) {
			cur.Until = &at
			out = append(out, *cur)
		}
		cur = nil
	}
	for _, row := range rows {
		if row.AccountID == a.ID {
			own = row.Flags
		} else {
			inherited = row.Flags.Inherited(a.Source)
		}
		reasons := metering.VisibleReasons(aud, own, inherited)
		if cur != nil && slices.Equal(cur.Reasons, reasons) {
			continue
		}
		end(row.At.UTC())
		if len(reasons) > 0 {
			cur = &Suspension{From: row.At.UTC(), Reasons: reasons}
			if aud == metering.AudienceParent && slices.Contains(reasons, metering.ReasonManual) {
				cur.Actor, cur.Note = row.Actor, row.Note
			}
		}
	}
	if cur != nil {
		out = append(out, *cur)
	}
	return out
}
