package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/ledger"
)

// walletCmd groups the commands of money.
type walletCmd struct {
	Topup    walletTopupCmd    `cmd:"" help:"From outside into a parent's wallet."`
	Allocate walletAllocateCmd `cmd:"" help:"From the parent's wallet into a sub-account's budget."`
	Reclaim  walletReclaimCmd  `cmd:"" help:"From a sub-account's budget back into the wallet."`
	Adjust   walletAdjustCmd   `cmd:"" help:"An operator's correction, ±."`
	Show     walletShowCmd     `cmd:"" help:"What a wallet or budget holds."`
	History  walletHistoryCmd  `cmd:"" help:"Its movements, oldest first."`
}

// transferArgs are those of every movement.
type transferArgs struct {
	Account string `arg:"" help:"The account."`
	Amount  string `arg:"" help:"In the account's currency, at most six decimals."`
	Ref     string `required:"" help:"Idempotency reference: the same again changes nothing." placeholder:"R"`
}

type (
	walletTopupCmd    struct{ transferArgs }
	walletAllocateCmd struct{ transferArgs }
	walletReclaimCmd  struct{ transferArgs }
)

// Run implements the command.
func (c *walletTopupCmd) Run(a *app) error {
	return a.transfer(metering.TransferTopup, &c.transferArgs, "", false)
}

// Run implements the command.
func (c *walletAllocateCmd) Run(a *app) error {
	return a.transfer(metering.TransferAllocate, &c.transferArgs, "", false)
}

// Run implements the command.
func (c *walletReclaimCmd) Run(a *app) error {
	return a.transfer(metering.TransferReclaim, &c.transferArgs, "", false)
}

// walletAdjustCmd corrects by hand.
type walletAdjustCmd struct {
	transferArgs

	Reason   string `required:"" help:"Why."`
	Invoiced bool   `help:"It is on an invoice: billed, in FOCUS. Without, what was paid stays what was billed."`
}

// Run implements the command.
func (c *walletAdjustCmd) Run(a *app) error {
	return a.transfer(metering.TransferAdjust, &c.transferArgs, c.Reason, c.Invoiced)
}

// moved is what a movement prints.
type moved struct {
	Account  string `json:"account"`
	Balance  string `json:"balance"`
	Currency string `json:"currency"`
	Ref      string `json:"ref"`
	Applied  bool   `json:"applied"`
}

// minus stands for the sign of an amount on its way through the parser, which
// would take -5 for a flag.
const minus = "minus:"

// signed finds amounts below zero among the arguments of a wallet command.
func signed(args []string) []string {
	if !slices.Contains(args, "wallet") {
		return args
	}
	out := slices.Clone(args)
	for i, arg := range out {
		if len(arg) > 1 && arg[0] == '-' && strings.IndexByte(".0123456789", arg[1]) >= 0 {
			out[i] = minus + arg[1:]
		}
	}
	return out
}

// unsigned undoes signed.
func unsigned(arg string) string {
	if rest, ok := strings.CutPrefix(arg, minus); ok {
		return "-" + rest
	}
	return arg
}

func (a *app) transfer(kind metering.TransferKind, args *transferArgs, reason string, invoiced bool) error {
	args.Account, args.Amount, args.Ref = unsigned(args.Account), unsigned(args.Amount), unsigned(args.Ref)
	reason = unsigned(reason)
	amount, err := metering.ParseMicros(args.Amount)
	if err != nil {
		return wrongInput("amount: %w", err)
	}
	t := metering.Transfer{
		Ref: args.Ref, Kind: kind, AccountID: args.Account, Amount: amount, Reason: reason, Actor: admin.OperatorActor, Invoiced: invoiced,
		ParentID: args.Account, Currency: "XXX",
	}
	if amount == 0 {
		return &inputError{err: metering.ErrTransferZero}
	}
	if amount < 0 && kind != metering.TransferAdjust {
		return &inputError{err: metering.ErrTransferAmount}
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	res, err := e.admin.Transfer(a.ctx, t)
	if err != nil {
		return err
	}
	currency := e.snapshots.Current().Accounts[args.Account].Currency
	out := moved{Account: res.Account, Balance: res.Balance.Format(currency), Currency: currency, Ref: args.Ref, Applied: res.Applied}
	if a.JSON {
		return a.printJSON(out)
	}
	word := "applied"
	if !out.Applied {
		word = "had been applied before, nothing changed"
	}
	_, _ = fmt.Fprintf(a.out, "%s: %s; %s now holds %s %s\n", out.Ref, word, out.Account, out.Balance, currency)
	return nil
}

// walletShowCmd shows a purse.
type walletShowCmd struct {
	Account string `arg:"" help:"The account."`
	As      string `help:"What that account may see." placeholder:"ID"`
}

// purse of an account that has one, for a reader who may see it.
func (e *engines) purse(ctx context.Context, as, id string) (*metering.Account, error) {
	aud, a, err := e.one(as, id)
	if err != nil {
		return nil, err
	}
	switch {
	case aud == metering.AudienceReseller:
		return nil, metering.ErrNotVisible
	case aud == metering.AudienceEnterprise && a.Source != metering.SourceAllocated:
		return nil, metering.ErrNotVisible
	case a.Mode == metering.Postpaid:
		left, err := e.left(ctx, a)
		if left || err != nil {
			return a, err
		}
		return nil, fmt.Errorf("%w: a postpaid account has no wallet, its limit is in `accounts show`", admin.ErrWrongKind)
	case !a.IsParent() && a.Source != metering.SourceAllocated:
		return nil, fmt.Errorf("%w: the sub-account draws on its parent's wallet", admin.ErrWrongKind)
	}
	return a, nil
}

// left tells whether a parent that has become postpaid has anything left in the
// wallet that it had.
func (e *engines) left(ctx context.Context, a *metering.Account) (bool, error) {
	if !a.IsParent() {
		return false, nil
	}
	if err := e.admin.Whole(ctx, a.ID); err != nil {
		return false, err
	}
	st, err := e.store.State(ctx, a.ID)
	if err != nil {
		return false, err
	}
	return st.Balance != 0, nil
}

// Run implements the command.
func (c *walletShowCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	acct, err := e.purse(a.ctx, c.As, c.Account)
	if err != nil {
		return err
	}
	states, err := e.states(a, acct.Parent(), []string{acct.Parent(), acct.ID})
	if err != nil {
		return err
	}
	balance := states[acct.ID].Balance.Format(acct.Currency)
	if a.JSON {
		return a.printJSON(map[string]string{"account": acct.ID, "balance": balance, "currency": acct.Currency})
	}
	_, _ = fmt.Fprintf(a.out, "%s holds %s %s\n", acct.ID, balance, acct.Currency)
	return nil
}

// walletHistoryCmd lists movements.
type walletHistoryCmd struct {
	Account string `arg:"" help:"The account."`
	As      string `help:"What that account may see." placeholder:"ID"`
}

// movement is one of them.
type movement struct {
	At       string `json:"at"`
	Ref      string `json:"ref"`
	Kind     string `json:"kind"`
	Amount   string `json:"amount"`
	Balance  string `json:"balance,omitempty"` // right after it; absent: made by a version that didn't keep it
	Currency string `json:"currency"`
	Purse    string `json:"purse"`
	Other    string `json:"other,omitempty"` // whose purse is the other side; absent: the world outside
	Booked   string `json:"period"`
	Actor    string `json:"actor"`
	Reason   string `json:"reason,omitempty"`
	Invoiced bool   `json:"invoiced,omitempty"` // of an adjustment
}

// Run implements the command.
func (c *walletHistoryCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	aud, acct, err := e.one(c.As, c.Account)
	if err != nil {
		return err
	}
	if aud != metering.AudienceOperator && aud != metering.AudienceParent {
		return metering.ErrNotVisible // billing history is the parent's only
	}
	t := a.table("WHEN", "REF", "KIND", "AMOUNT", "BALANCE", "", "PURSE", "FROM OR TO", "ACTOR", "REASON")
	right(t, 4, 5)
	err = e.ledger.Transfers(a.ctx, acct.ID, func(l *ledger.TransferLine) error {
		m := movement{
			At: l.At.UTC().Format(time.RFC3339Nano), Ref: l.Ref, Kind: l.Kind, Amount: l.Amount.Format(l.Currency), Currency: l.Currency,
			Purse: l.Purse, Other: l.Other, Booked: l.Booked, Actor: l.Actor, Reason: l.Reason, Invoiced: l.Invoiced,
		}
		if l.After != nil {
			m.Balance = l.After.Format(l.Currency)
		}
		if a.JSON {
			return a.printJSON(m)
		}
		t.AppendRow([]any{m.At, m.Ref, m.word(), m.Amount, m.Balance, m.Currency, m.Purse, orOutside(m.Other), m.Actor, m.Reason})
		return nil
	})
	if err == nil && !a.JSON {
		a.render(t)
	}
	return err
}

// word is its kind, for people.
func (m *movement) word() string {
	if m.Invoiced {
		return m.Kind + ", invoiced"
	}
	return m.Kind
}

// orOutside names the world outside, which has no account.
func orOutside(account string) string {
	if account == "" {
		return "outside"
	}
	return account
}
