package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/hibiken/asynq"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/worker"
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

func rerateOf(s *worker.RerateSum, currency string) rerateView {
	return rerateView{
		Account: s.Account, Messages: s.Messages, Changed: s.Changed, NotRated: s.NotRated,
		Before: s.Before.Format(currency), After: (s.Before + s.Difference).Format(currency), Difference: s.Difference.Format(currency),
	}
}

// Run implements the command.
func (c *rerateCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	progress, end := a.counter("re-rated")
	res, err := worker.Rerate(a.ctx, worker.RerateDeps{
		Ledger: e.ledger, Store: e.store, Snapshot: e.snapshots.Current(), Queue: asynq.NewClientFromRedisClient(e.redis), Clock: e.clock,
	}, worker.RerateRequest{
		Parent: c.Parent, Account: c.Account, Period: c.Period, Plan: c.Plan, Apply: c.Apply, Ref: c.Ref, Reason: c.Reason,
		Actor: admin.OperatorActor, Progress: progress,
	})
	end()
	if err != nil {
		return rerateError(err)
	}
	return c.print(a, res)
}

func (c *rerateCmd) print(a *app, res *worker.Rerated) error {
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
	for _, e := range []error{worker.ErrRerateRef, worker.ErrRerateReason, worker.ErrUnknownPlan, metering.ErrPeriod} {
		if errors.Is(err, e) {
			return &inputError{err: err}
		}
	}
	return err
}

// counter is a progress line on a terminal, of work whose end isn't known.
func (a *app) counter(what string) (progress func(n int64), end func()) {
	f, ok := a.err.(*os.File)
	if !ok || !isTerminal(f) || a.JSON {
		return nil, func() {}
	}
	p := mpb.New(mpb.WithOutput(f), mpb.WithWidth(20))
	b := p.AddSpinner(0, mpb.AppendDecorators(decor.CurrentNoUnit("%d "+what), decor.Name(", "), decor.AverageSpeed(0, "%.0f/s")))
	return b.SetCurrent, func() {
		b.SetTotal(-1, true)
		p.Wait()
	}
}
