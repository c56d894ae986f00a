package main

import (
	"fmt"
	"time"

	"github.com/meterd/meterd/metering/admin"
)

// breakerCmd groups the commands of the breaker.
type breakerCmd struct {
	Show    breakerShowCmd    `cmd:"" help:"Whether suspensions are held back, and whose."`
	Release breakerReleaseCmd `cmd:"" help:"Let the suspensions that are held back take effect. Correct a wrong price or limit first."`
}

// breakerView is the breaker's state.
type breakerView struct {
	Open  bool     `json:"open"`
	Since string   `json:"since,omitempty"`
	Held  []string `json:"held_back"`
}

// breakerShowCmd looks at it.
type breakerShowCmd struct{}

// Run implements the command.
func (breakerShowCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	return a.printBreaker(e)
}

func (a *app) printBreaker(e *engines) error {
	b, err := e.admin.Breaker(a.ctx)
	if err != nil {
		return err
	}
	v := breakerView{Open: b.Open, Held: b.Held}
	if b.Open {
		v.Since = b.Since.Format(time.RFC3339)
	}
	if a.JSON {
		return a.printJSON(v)
	}
	word := "the breaker is closed"
	if b.Open {
		word = "the breaker is open since " + v.Since + ": new suspensions are held back until `meterd breaker release`"
	}
	_, _ = fmt.Fprintln(a.out, word)
	for _, id := range b.Held {
		_, _ = fmt.Fprintln(a.out, "held back:", id)
	}
	return nil
}

// breakerReleaseCmd closes it.
type breakerReleaseCmd struct {
	Note string `help:"Why."`
}

// Run implements the command.
func (c *breakerReleaseCmd) Run(a *app) error {
	if len(c.Note) > noteMax {
		return wrongInput("--note: say why, in %d bytes at most", noteMax)
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	if err := e.admin.ReleaseBreaker(a.ctx, admin.OperatorActor, c.Note); err != nil {
		return err
	}
	return a.printBreaker(e)
}
