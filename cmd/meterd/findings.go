package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/ledger"
)

// findingsCmd groups the commands of findings.
type findingsCmd struct {
	List findingsListCmd `cmd:"" help:"What reconcile and others found that should never be, the newest first."`
	Show findingsShowCmd `cmd:"" help:"One of them, with what its kind means and what to do."`
	Ack  findingsAckCmd  `cmd:"" help:"Note that somebody has looked at them, and what came of it: doctor no longer fails for them."`
}

// findingView is a finding as it is shown.
type findingView struct {
	ID        string `json:"id"`
	FoundAt   string `json:"found_at"`
	Kind      string `json:"kind"`
	AccountID string `json:"account_id"`
	Field     string `json:"field"`
	Was       string `json:"was"`
	Is        string `json:"is"`
	Healed    bool   `json:"healed"`
	AckedAt   string `json:"acked_at,omitempty"`
	Actor     string `json:"actor,omitempty"`
	Note      string `json:"note,omitempty"`
	Means     string `json:"means,omitempty"`
	Do        string `json:"do,omitempty"`
}

func viewOfFinding(f *ledger.Finding) *findingView {
	v := &findingView{
		ID: f.ID, FoundAt: f.At.Format(time.RFC3339), Kind: f.Kind, AccountID: f.AccountID, Field: f.Field,
		Was: f.Actual, Is: f.Expected, Healed: f.Healed, Actor: f.Actor, Note: f.Note,
	}
	if f.Kind == ledger.FindingChanged { // a closed month was as it was fixed
		v.Was, v.Is = f.Expected, f.Actual
	}
	if !f.AckedAt.IsZero() {
		v.AckedAt = f.AckedAt.Format(time.RFC3339)
	}
	return v
}

// kindOfFinding checks a kind's name.
func kindOfFinding(name string) error {
	var known []string
	for _, k := range ledger.FindingKinds() {
		known = append(known, k.Name)
	}
	if name != "" && !slices.Contains(known, name) {
		return wrongInput("--kind: no kind %q: give one of %s", name, strings.Join(known, ", "))
	}
	return nil
}

// findingsListCmd lists them.
type findingsListCmd struct {
	All   bool   `help:"Those that somebody has looked at too."`
	Kind  string `help:"Of this kind only."`
	Limit int    `help:"At most so many." default:"1000"`
}

// Run implements the command.
func (c *findingsListCmd) Run(a *app) error {
	if err := kindOfFinding(c.Kind); err != nil {
		return err
	}
	if c.Limit < 1 {
		return wrongInput("--limit: 1 or more")
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	list, err := e.ledger.Findings(a.ctx, ledger.FindingsQuery{Kind: c.Kind, Acked: c.All, Limit: c.Limit})
	if err != nil {
		return err
	}
	t := a.table("ID", "FOUND", "KIND", "ACCOUNT", "FIELD", "WAS", "IS", "HEALED", "ACKNOWLEDGED")
	for i := range list {
		v := viewOfFinding(&list[i])
		if a.JSON {
			if err := a.printJSON(v); err != nil {
				return err
			}
			continue
		}
		acked := ""
		if v.AckedAt != "" {
			acked = v.AckedAt + " " + v.Actor
		}
		t.AppendRow([]any{v.ID[:12], v.FoundAt, v.Kind, v.AccountID, v.Field, v.Was, v.Is, v.Healed, acked})
	}
	if a.JSON {
		return nil
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.out, "nothing that nobody has looked at")
		return nil
	}
	a.render(t)
	return nil
}

// idLeast is how much of an id names a finding.
const idLeast = 6

// findingOf finds the one whose id begins so.
func findingOf(a *app, e *engines, id string) (*ledger.Finding, error) {
	if len(id) < idLeast {
		return nil, wrongInput("%q: give an id of `meterd findings list`, or its first %d characters at least", id, idLeast)
	}
	list, err := e.ledger.Findings(a.ctx, ledger.FindingsQuery{ID: strings.ToLower(id), Acked: true, Limit: 2})
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, wrongInput("no finding %q: `meterd findings list --all` has them", id)
	case len(list) > 1:
		return nil, wrongInput("more than one finding begins with %q: give more of it", id)
	}
	return &list[0], nil
}

// findingsShowCmd shows one.
type findingsShowCmd struct {
	ID string `arg:"" help:"Its id, or the first characters of it."`
}

// Run implements the command.
func (c *findingsShowCmd) Run(a *app) error {
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	f, err := findingOf(a, e, c.ID)
	if err != nil {
		return err
	}
	v := viewOfFinding(f)
	for _, k := range ledger.FindingKinds() {
		if k.Name == f.Kind {
			v.Means, v.Do = k.Means, k.Do
		}
	}
	if a.JSON {
		return a.printJSON(v)
	}
	for _, l := range [][2]string{
		{"id", v.ID},
		{"found", v.FoundAt},
		{"kind", v.Kind},
		{"account", v.AccountID},
		{"field", v.Field},
		{"was", v.Was},
		{"is", v.Is},
		{"healed", fmt.Sprint(v.Healed)},
		{"acknowledged", strings.TrimSpace(v.AckedAt + " " + v.Actor)},
		{"note", v.Note},
		{"means", v.Means},
		{"to do", v.Do},
	} {
		if l[1] != "" {
			_, _ = fmt.Fprintf(a.out, "%-13s %s\n", l[0], l[1])
		}
	}
	return nil
}

// findingsAckCmd acknowledges some.
type findingsAckCmd struct {
	IDs  []string `arg:"" name:"id" optional:"" help:"Ids, or the first characters of each."`
	Kind string   `help:"All of this kind that nobody has looked at, instead."`
	Note string   `required:"" help:"What came of it."`
}

// ackMost bounds how many one command acknowledges by kind.
const ackMost = 100_000

// Run implements the command.
func (c *findingsAckCmd) Run(a *app) error {
	if (len(c.IDs) == 0) == (c.Kind == "") {
		return wrongInput("give ids, or --kind")
	}
	if strings.TrimSpace(c.Note) == "" || len(c.Note) > noteMax {
		return wrongInput("--note: say what came of it, in 1 to %d bytes", noteMax)
	}
	if err := kindOfFinding(c.Kind); err != nil {
		return err
	}
	e, done, err := a.connect()
	if err != nil {
		return err
	}
	defer done()
	ids := []string{}
	for _, id := range c.IDs {
		f, err := findingOf(a, e, id)
		if err != nil {
			return err
		}
		ids = append(ids, f.ID)
	}
	if c.Kind != "" {
		list, err := e.ledger.Findings(a.ctx, ledger.FindingsQuery{Kind: c.Kind, Limit: ackMost})
		if err != nil {
			return err
		}
		for i := range list {
			ids = append(ids, list[i].ID)
		}
	}
	if err := e.ledger.AckFindings(a.ctx, ids, admin.OperatorActor, c.Note, e.clock.Now()); err != nil {
		return err
	}
	if a.JSON {
		return a.printJSON(map[string]any{"acknowledged": ids})
	}
	_, err = fmt.Fprintf(a.out, "%d acknowledged\n", len(ids))
	return err
}
