package main

import (
	"fmt"
	"strings"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
)

// noteMax bounds a note, bytes.
const noteMax = 1024

// suspendCmd sets the manual reason.
type suspendCmd struct {
	ID    string `arg:"" help:"The account; a parent's subs go with it."`
	Note  string `required:"" help:"Why."`
	Actor string `default:"operator" help:"operator, or the parent's id."`
}

// Run implements the command.
func (c *suspendCmd) Run(a *app) error {
	if strings.TrimSpace(c.Note) == "" || len(c.Note) > noteMax {
		return wrongInput("--note: say why, in 1 to %d bytes", noteMax)
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	if err := e.admin.Suspend(a.ctx, c.ID, c.Actor, c.Note); err != nil {
		return err
	}
	return a.showState(e, c.ID)
}

// resumeCmd lifts it.
type resumeCmd struct {
	ID    string `arg:"" help:"The account."`
	Note  string `help:"Why."`
	Actor string `default:"operator" help:"operator, or the parent's id."`
}

// Run implements the command.
func (c *resumeCmd) Run(a *app) error {
	if len(c.Note) > noteMax {
		return wrongInput("--note: say why, in %d bytes at most", noteMax)
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	byHand, err := c.byHand(a, e)
	if err != nil {
		return err
	}
	if err := e.admin.Resume(a.ctx, c.ID, c.Actor, c.Note); err != nil {
		return err
	}
	if !byHand && !a.JSON {
		_, _ = fmt.Fprintf(a.out, "nothing changed: %s had not been suspended by hand by %s\n", c.ID, c.Actor)
	}
	if err := a.showState(e, c.ID); err != nil || a.JSON {
		return err
	}
	return c.showWhy(a, e)
}

// byHand tells whether there is a suspension that the command lifts.
func (c *resumeCmd) byHand(a *app, e *engines) (bool, error) {
	acct := e.snapshots.Current().Accounts[c.ID]
	if acct == nil {
		return false, metering.ErrUnknownAccount
	}
	own, _, err := e.statesOf(a, acct)
	if err != nil {
		return false, err
	}
	flag := metering.FlagManualParent
	if c.Actor == admin.OperatorActor {
		flag = metering.FlagManualOperator
	}
	return own.Own&flag != 0, nil
}

// showWhy says for each reason that is left what ends it.
func (c *resumeCmd) showWhy(a *app, e *engines) error {
	acct := e.snapshots.Current().Accounts[c.ID]
	own, _, err := e.statesOf(a, acct)
	if err != nil {
		return err
	}
	left, err := e.suspensionsOf(a, metering.AudienceOperator, acct, own)
	for _, s := range left {
		_, _ = fmt.Fprintf(a.out, "  %s; ended by: %s\n", visible(s.line(c.ID)), visible(s.Help))
	}
	return err
}
