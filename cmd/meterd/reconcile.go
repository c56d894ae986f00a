package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
)

// reconcileCmd compares and heals.
type reconcileCmd struct{}

// Run implements the command.
func (reconcileCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	for p := range e.store.Partitions() {
		if _, err := e.projector.Ensure(a.ctx, p); err != nil {
			return err
		}
	}
	r := reconcile.NewReconciler(e.projector, a.logger(a.err, slog.LevelError+1))
	progress, end := a.progress("parents compared")
	r.Progress = progress
	res, err := r.Run(a.ctx, e.snapshots.Current())
	end()
	if err != nil {
		return err
	}
	if a.JSON {
		if res.Drifts == nil {
			res.Drifts = []reconcile.Difference{} // an empty list, not null
		}
		err = a.printJSON(res)
	} else {
		a.showDrifts(&res)
		_, err = fmt.Fprintf(a.out, "%d accounts checked, %d fields had drifted, %d healed\n", res.Checked, res.Drifted, res.Healed)
	}
	if err == nil && res.Drifted > 0 {
		return errFound
	}
	return err
}

// driftsShown bounds the table; --json and `meterd findings list` have the rest.
const driftsShown = 100

// showDrifts shows what drifted.
func (a *app) showDrifts(res *reconcile.Result) {
	if len(res.Drifts) == 0 {
		return
	}
	t := a.table("ACCOUNT", "FIELD", "WAS", "IS", "HEALED")
	for _, d := range res.Drifts[:min(len(res.Drifts), driftsShown)] {
		t.AppendRow([]any{d.AccountID, d.Field, d.Was, d.Is, d.Healed})
	}
	a.render(t)
	if more := res.Drifted - driftsShown; more > 0 {
		_, _ = fmt.Fprintf(a.out, "and %d more\n", more)
	}
}

// rebuildCmd makes the projection anew.
type rebuildCmd struct{}

// Run implements the command.
func (rebuildCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	progress, end := a.progress("parents rebuilt")
	e.projector.Progress = progress
	started := e.clock.Now()
	err = e.projector.RebuildAll(a.ctx, "by hand")
	end()
	if err != nil {
		return err
	}
	snap := e.snapshots.Current()
	months := map[string]bool{}
	if err := e.ledger.Usage(a.ctx, ledger.UsageQuery{By: []ledger.Dimension{ledger.DimAccount, ledger.DimMonth}}, func(u *ledger.UsageLine) error {
		months[u.Key(ledger.DimAccount)+u.Key(ledger.DimMonth)] = true
		return nil
	}); err != nil {
		return err
	}
	took := e.clock.Now().Sub(started).Round(time.Millisecond).Seconds()
	if a.JSON {
		return a.printJSON(map[string]any{"accounts": len(snap.Accounts), "periods": len(months), "seconds": took})
	}
	_, err = fmt.Fprintf(a.out, "%d accounts and %d account months rebuilt in %.3f s\n", len(snap.Accounts), len(months), took)
	return err
}
