package reports

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// WalletStatement is what moved in a prepaid parent's wallet and in the budgets
// of its sub-accounts over a month: transfers as they were made, and what was
// charged each day. Recharge and its history are the parent's only.
type WalletStatement struct {
	Kind    string `json:"kind"`   // "wallet"
	Layout  uint64 `json:"layout"` // that made it
	Account string `json:"account"`
	Name    string `json:"name"`
	Heading
	Purses []PurseBook `json:"purses"` // the wallet, then the budgets
}

// PurseBook is one purse: opening + its lines = closing.
type PurseBook struct {
	Account string      `json:"account"`
	Name    string      `json:"name"`
	Purse   string      `json:"purse"` // wallet or budget
	Opening Money       `json:"opening"`
	Moved   Money       `json:"moved"`   // the sum of the transfers
	Charged Money       `json:"charged"` // the sum of the charges, net of refunds
	Closing Money       `json:"closing"`
	Lines   []PurseLine `json:"lines"`
}

// PurseLine is one transfer, or what was charged on a day, or what is charged for
// a closed month.
type PurseLine struct {
	Day      string     `json:"day"`          // the parent's
	At       *time.Time `json:"at,omitempty"` // of a transfer
	Kind     string     `json:"kind"`         // topup, …, charges, adjustments
	Ref      string     `json:"ref,omitempty"`
	Actor    string     `json:"actor,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Other    string     `json:"other,omitempty"`    // whose purse is the other side of a transfer; "": the world outside
	Invoiced bool       `json:"invoiced,omitempty"` // an adjustment that is on an invoice
	Period   string     `json:"period,omitempty"`   // the closed month that adjustments are of
	Amount   Money      `json:"amount"`             // signed
	Balance  Money      `json:"balance"`            // after it
}

// Kinds of lines that aren't transfers.
const (
	lineCharges     = "charges"
	lineAdjustments = "adjustments"
)

// BuildWallet makes a parent's wallet statement of a month, where it is prepaid,
// was then, or still holds a wallet.
func (r *Reporter) BuildWallet(ctx context.Context, parent *metering.Account, s *reportPeriod) (*WalletStatement, error) {
	s.clamp = true
	if !s.month {
		return nil, fmt.Errorf("%w: a wallet's statement is of a month, such as 2026-11", ErrPeriod)
	}
	accounts := s.family(parent.ID)
	f := &facts{accounts: accounts, movements: map[string][]ledger.TransferLine{}}
	var err error
	if f.charges, err = r.charges(ctx, accounts, s.zone, s); err != nil {
		return nil, err
	}
	if err := r.purses(ctx, f, parent, s); err != nil {
		return nil, err
	}
	out := &WalletStatement{
		Kind: KindWallet, Layout: render.Layout, Account: parent.ID, Name: parent.Name,
		Heading: s.heading(s.zone, parent.Currency), Purses: []PurseBook{},
	}
	wallet := map[chargeOf]metering.Sum{}
	for _, a := range accounts {
		for k, v := range f.charges[a.ID].daily {
			if k.purse == metering.PurseWallet {
				wallet[k] = wallet[k].Plus(v)
			}
		}
	}
	out.Purses = append(out.Purses, f.book(parent, metering.PurseWallet, wallet, s))
	for _, a := range accounts[1:] {
		b := f.book(a, metering.PurseBudget, f.charges[a.ID].daily, s)
		if b.used() || a.Source == metering.SourceAllocated && !outsidePeriod(a, s) {
			out.Purses = append(out.Purses, b)
		}
	}
	if parent.Mode != metering.Prepaid && len(out.Purses) == 1 && !out.Purses[0].used() {
		return nil, fmt.Errorf("%w: %s pays afterwards; its statement has the credit limit and how much is used", ErrNoWallet, parent.ID)
	}
	return out, nil
}

// used tells whether a purse holds, moved or paid anything.
func (b *PurseBook) used() bool { return len(b.Lines) > 0 || b.Opening.Sum.Sign() != 0 }

// book puts a purse's lines in their order: a day's transfers, then what the day
// was charged; what is charged for closed months comes last.
func (f *facts) book(a *metering.Account, kind metering.Purse, charged map[chargeOf]metering.Sum, s *reportPeriod) PurseBook {
	money := func(m metering.Sum) Money { return Money{m, a.Currency} }
	b := PurseBook{Account: a.ID, Name: a.Name, Purse: string(kind), Opening: money(f.opening[a.ID].Sum()), Moved: money(metering.Sum{}), Charged: money(metering.Sum{}), Lines: []PurseLine{}}
	for _, t := range f.movements[a.ID] {
		if t.Purse != string(kind) {
			continue
		}
		at := t.At.UTC()
		b.Moved.add(t.Amount.Sum())
		b.Lines = append(b.Lines, PurseLine{
			Day: at.In(s.zone).Format(time.DateOnly), At: &at, Kind: t.Kind, Ref: t.Ref, Actor: t.Actor, Reason: t.Reason,
			Other: t.Other, Invoiced: t.Invoiced, Amount: money(t.Amount.Sum()),
		})
	}
	for k, v := range charged {
		if k.purse != kind || v.Sign() == 0 {
			continue
		}
		b.Charged.add(v)
		l := PurseLine{Day: k.day, Kind: lineCharges, Amount: money(v.Neg())}
		if k.late != "" {
			l.Day, l.Kind, l.Period = "", lineAdjustments, k.late
		}
		b.Lines = append(b.Lines, l)
	}
	slices.SortStableFunc(b.Lines, comparePurseLines)
	b.Closing = b.Opening
	for i := range b.Lines {
		b.Closing.add(b.Lines[i].Amount.Sum)
		b.Lines[i].Balance = b.Closing
	}
	return b
}

func comparePurseLines(a, b PurseLine) int {
	last := func(l PurseLine) string { // an order in which adjustments come last
		if l.Kind == lineAdjustments {
			return "~" + l.Period
		}
		return l.Day
	}
	if c := strings.Compare(last(a), last(b)); c != 0 {
		return c
	}
	switch {
	case a.At != nil && b.At != nil:
		return a.At.Compare(*b.At)
	case a.At != nil:
		return -1
	case b.At != nil:
		return 1
	}
	return 0
}
