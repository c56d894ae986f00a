package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/ledger"
)

// periodCmd groups the commands of months.
type periodCmd struct {
	List  periodListCmd  `cmd:"" help:"Months that have a record or a transfer, with what their bills come to."`
	Close periodCloseCmd `cmd:"" help:"Close a month for ever, now; normally that happens by itself. Months close in order."`
}

// periodView is a month of a parent's bill, by booked period.
type periodView struct {
	Parent      string `json:"parent"`
	Period      string `json:"period"`
	Start       string `json:"start"`
	End         string `json:"end"`
	State       string `json:"state"`
	Records     uint64 `json:"records"`
	Amount      string `json:"amount"`
	Refunds     string `json:"refunds"`
	Adjustments string `json:"adjustments"`
	Billable    string `json:"billable"`
	Currency    string `json:"currency"`
	Digest      string `json:"digest"`
	AsOf        string `json:"as_of,omitempty"`
}

func (v *periodView) sums() string {
	return fmt.Sprintf("%d records, %s %s, refunds %s, adjustments %s, billable %s", v.Records, v.Amount, v.Currency, v.Refunds, v.Adjustments, v.Billable)
}

// monthOpen is the state of a month whose closing hasn't begun.
const monthOpen = "open"

func openMonth(a *metering.Account, m *ledger.Month) (periodView, error) {
	p, err := a.Calendar.Named(m.Period)
	if err != nil {
		return periodView{}, err
	}
	return periodView{
		Parent: a.ID, Period: m.Period, Start: p.Start.Format(time.RFC3339), End: p.End.Format(time.RFC3339), State: monthOpen,
		Records: m.Records, Amount: m.Amount.Format(a.Currency), Refunds: m.Refunds.Format(a.Currency),
		Adjustments: m.Adjustments.Format(a.Currency), Billable: m.Billable().Format(a.Currency), Currency: a.Currency,
	}, nil
}

func closedMonth(a *metering.Account, c *ledger.Closing) periodView {
	return periodView{
		Parent: a.ID, Period: c.Period, Start: c.Start.UTC().Format(time.RFC3339), End: c.End.UTC().Format(time.RFC3339), State: c.State,
		Records: c.Records, Amount: c.Amount.Format(a.Currency), Refunds: c.Refunds.Format(a.Currency),
		Adjustments: c.Adjustments.Format(a.Currency), Billable: c.Billable().Format(a.Currency), Currency: a.Currency, Digest: c.Digest, AsOf: c.AsOf.UTC().Format(time.RFC3339Nano),
	}
}

// periodListCmd lists months.
type periodListCmd struct {
	Parent string `help:"Only this parent's." placeholder:"P"`
	As     string `help:"What that account may see." placeholder:"ID"`
}

// Run implements the command.
func (c *periodListCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	parent, sub, err := e.reportScope(c.As, c.Parent)
	if err != nil {
		return err
	}
	if sub != "" {
		if !a.JSON {
			_, _ = fmt.Fprintln(a.out, "none: a bill is its parent's alone")
		}
		return nil
	}
	views, err := e.periods(a, parent)
	if err != nil {
		return err
	}
	t := a.table("PARENT", "PERIOD", "STATE", "RECORDS", "AMOUNT", "REFUNDS", "ADJUSTMENTS", "BILLABLE", "", "DIGEST")
	for i := range views {
		v := &views[i]
		if a.JSON {
			if err := a.printJSON(v); err != nil {
				return err
			}
			continue
		}
		t.AppendRow([]any{v.Parent, v.Period, v.State, v.Records, v.Amount, v.Refunds, v.Adjustments, v.Billable, v.Currency, shortDigest(v.Digest)})
	}
	if !a.JSON {
		a.render(t)
	}
	return nil
}

// shortDigest is enough to compare two by eye.
func shortDigest(d string) string { return d[:min(len(d), 16)] }

// periods of a parent ("": of all): closed months as they were fixed, the
// others as they stand.
func (e *engines) periods(a *app, parent string) ([]periodView, error) {
	snap := e.snapshots.Current()
	closings, err := e.ledger.Closings(a.ctx, parent)
	if err != nil {
		return nil, err
	}
	fixed := map[[2]string]*ledger.Closing{}
	var out []periodView
	for i := range closings {
		x := &closings[i]
		fixed[[2]string{x.ParentID, x.Period}] = x
		if acct := snap.Accounts[x.ParentID]; acct != nil && x.State == ledger.ClosingDone {
			out = append(out, closedMonth(acct, x))
		}
	}
	err = e.ledger.Months(a.ctx, parent, func(m *ledger.Month) error {
		x := fixed[[2]string{m.ParentID, m.Period}]
		acct := snap.Accounts[m.ParentID]
		if acct == nil || x != nil && x.State == ledger.ClosingDone {
			return nil
		}
		v, err := openMonth(acct, m)
		if x != nil {
			v.State = x.State
		}
		out = append(out, v)
		return err
	})
	slices.SortFunc(out, func(a, b periodView) int {
		return strings.Compare(a.Parent+"\x00"+a.Period, b.Parent+"\x00"+b.Period)
	})
	return out, err
}

// periodCloseCmd closes a month by hand.
type periodCloseCmd struct {
	Parent string `arg:"" help:"The parent."`
	Period string `arg:"" help:"The month, such as 2026-10."`
	Yes    bool   `help:"Don't ask. Only a terminal is asked."`
}

// Run implements the command.
func (c *periodCloseCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	if err := c.confirm(a, e); err != nil {
		return err
	}
	told := false
	closer := admin.NewCloser(e.ledger, e.store, e.snapshots, e.clock, e.log, e.projector.Ensure)
	closing, err := closer.CloseMonth(a.ctx, c.Parent, c.Period, func(until time.Time) {
		if !told {
			told = true
			_, _ = fmt.Fprintf(a.err, "the projection was rebuilt a short time ago; waiting until %s\n", until.UTC().Format(time.RFC3339))
		}
	})
	if err != nil {
		return err
	}
	v := closedMonth(e.snapshots.Current().Accounts[c.Parent], closing)
	if a.JSON {
		return a.printJSON(v)
	}
	_, err = fmt.Fprintf(a.out, "%s of %s is closed: %s\ndigest %s\n", v.Period, v.Parent, v.sums(), v.Digest)
	return err
}

// confirm says what closing the month does.
func (c *periodCloseCmd) confirm(a *app, e *engines) error {
	p := e.snapshots.Current().Accounts[c.Parent]
	if p == nil || !p.IsParent() {
		return nil // refused
	}
	month, err := p.Calendar.Named(c.Period)
	if err != nil {
		return err //nolint:wrapcheck // it is of what was typed
	}
	if e.clock.Now().Before(month.End) {
		return nil // refused
	}
	months, err := e.periods(a, c.Parent)
	if err != nil {
		return err
	}
	stands := "no records"
	for i := range months {
		m := &months[i]
		done := m.State == ledger.ClosingDone
		if done == (m.Period == c.Period) && m.Period <= c.Period {
			return nil // done before, or refused: one before it is open
		}
		if m.Period != c.Period {
			continue
		}
		stands = "as it stands " + m.sums()
	}
	return a.confirm(c.Yes, fmt.Sprintf("closing %s of %s for ever: %s; what arrives for it later is booked in a month that is open then", c.Period, c.Parent, stands))
}
