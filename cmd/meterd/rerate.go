package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/ledger"
)

// rerateCmd rates a month's messages by another plan.
type rerateCmd struct {
	Parent  string `required:"" help:"The parent." placeholder:"P"`
	Period  string `required:"" help:"The month of the messages, such as 2026-10." placeholder:"MONTH"`
	Plan    string `required:"" help:"The plan to rate them by, with a version in force then." placeholder:"PLAN"`
	Account string `help:"Only this account's messages." placeholder:"A"`
	Apply   bool   `help:"Book the differences as adjustments. Without it only what would change is said."`
	Ref     string `help:"With --apply: reference; the same again books only what is left." placeholder:"R"`
	Reason  string `help:"With --apply: why." placeholder:"TEXT"`
}

// rerateView is what a re-rating comes to, for one account or in all.
type rerateView struct {
	Account    string `json:"account,omitempty"`
	Messages   int64  `json:"messages"`
	Changed    int64  `json:"changed"`
	NotRated   int64  `json:"not_rated"`
	Before     string `json:"before"`
	After      string `json:"after"`
	Difference string `json:"difference"`
}

func rerateOf(s *admin.RerateSum, currency string) rerateView {
	return rerateView{
		Account: s.Account, Messages: s.Messages, Changed: s.Changed, NotRated: s.NotRated,
		Before: s.Before.Format(currency), After: s.Before.Plus(s.Difference).Format(currency), Difference: s.Difference.Format(currency),
	}
}

// Run implements the command.
func (c *rerateCmd) Run(a *app) error {
	e, done, err := a.connectToChange()
	if err != nil {
		return err
	}
	defer done()
	if err := e.parent(c.Parent); err != nil {
		return err
	}
	total, err := e.messagesOf(a.ctx, c.Parent, c.Period)
	if err != nil {
		return err
	}
	progress, end := a.progress("re-rated")
	res, err := admin.Rerate(a.ctx, admin.RerateDeps{
		Ledger: e.ledger, Store: e.store, Snapshot: e.snapshots.Current(), Queue: asynq.NewClientFromRedisClient(e.redis), Clock: e.clock,
	}, admin.RerateRequest{
		Parent: c.Parent, Account: c.Account, Period: c.Period, Plan: c.Plan, Apply: c.Apply, Ref: c.Ref, Reason: c.Reason,
		Actor: admin.OperatorActor, Progress: func(n int64) { progress(n, total) },
		Waiting: func(until time.Time) {
			_, _ = fmt.Fprintf(a.err, "Redis was lost a short time ago; corrections of older messages wait until %s\n", until.UTC().Format(time.RFC3339))
		},
	})
	end()
	if err != nil {
		return rerateError(err)
	}
	return c.print(a, res)
}

func (c *rerateCmd) print(a *app, res *admin.Rerated) error {
	views := make([]rerateView, 0, len(res.Accounts))
	for i := range res.Accounts {
		views = append(views, rerateOf(&res.Accounts[i], res.Currency))
	}
	total := rerateOf(&res.Total, res.Currency)
	if a.JSON {
		return a.printJSON(map[string]any{
			"parent": c.Parent, "period": c.Period, "plan": c.Plan, "ref": c.Ref, "applied": res.Applied, "currency": res.Currency,
			"messages": total.Messages, "changed": total.Changed, "not_rated": total.NotRated,
			"before": total.Before, "after": total.After, "difference": total.Difference, "accounts": views,
		})
	}
	t := a.table("ACCOUNT", "MESSAGES", "CHANGED", "NOT RATED", "BEFORE", "AFTER", "DIFFERENCE", "")
	right(t, 2, 3, 4, 5, 6, 7)
	total.Account = "total"
	for _, v := range append(views, total) {
		t.AppendRow([]any{v.Account, v.Messages, v.Changed, v.NotRated, v.Before, v.After, v.Difference, res.Currency})
	}
	a.render(t)
	word := "nothing was booked: this was a dry run; book it with --apply --ref R --reason TEXT"
	if res.Applied {
		word = "the differences are booked as adjustments"
	}
	_, err := fmt.Fprintln(a.out, word)
	return err
}

// rerateError gives an error its exit code.
func rerateError(err error) error {
	for _, e := range []error{admin.ErrRerateRef, admin.ErrRerateReason, admin.ErrUnknownPlan, metering.ErrPeriod} {
		if errors.Is(err, e) {
			return &inputError{err: err}
		}
	}
	return err
}

// messagesOf a parent's month, as far as it is its own bill's.
func (e *engines) messagesOf(ctx context.Context, parent, period string) (total int64, err error) {
	err = e.ledger.Months(ctx, parent, func(m *ledger.Month) error {
		if m.Period == period {
			total = int64(m.Records)
		}
		return nil
	})
	return total, err
}
