package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	bench "github.com/meterd/meterd/bench/figures"
)

// benchCmd measures this machine. It touches no data folder but its own.
type benchCmd struct {
	Runs  int      `help:"Runs of each measurement that doesn't take minutes; the median is shown." default:"3"`
	Only  []string `help:"Only these measurements or figures, separated by commas; soak runs only if it is named." placeholder:"NAME"`
	Short bool     `help:"Small workloads: minutes instead of an hour. The rates are lower than they can be."`
}

// Run implements the command.
func (c *benchCmd) Run(a *app) error {
	if c.Runs < 1 || c.Runs > 100 {
		return wrongInput("--runs: from 1 to 100")
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find meterd itself: %w", err)
	}
	list, err := bench.Run(a.ctx, bench.Options{Binary: binary, Runs: c.Runs, Only: c.Only, Short: c.Short, Log: a.err})
	if errors.Is(err, bench.ErrUnknown) {
		return wrongInput("--only: %w", err)
	}
	if a.JSON {
		return errors.Join(a.printJSON(list), err)
	}
	a.showFigures(list)
	return err
}

// showFigures prints the table: goal, median, spread, met or not.
func (a *app) showFigures(list []bench.Figure) {
	t := a.table("figure", "goal", "measured", "", "spread", "met")
	right(t, 2, 3, 5)
	for i := range list {
		f := &list[i]
		low, high := f.Spread()
		goal, met := "", colored("")
		if !f.Compared {
			goal, met = "≥ "+figure(f.Goal), a.painted("no", text.Colors{text.FgYellow})
			if f.AtMost {
				goal = "≤ " + figure(f.Goal)
			}
			if f.Met() {
				met = a.painted("yes", text.Colors{text.FgGreen})
			}
		}
		t.AppendRow(table.Row{f.Name, goal, figure(f.Median()), f.Unit, figure(low) + " – " + figure(high), met})
	}
	_, _ = fmt.Fprintln(a.out, t.Render())
}

// figure has three significant digits, and all before the point.
func figure(v float64) string { //nolint:forbidigo // a measured figure, never money
	switch {
	case v >= 100 || v <= -100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10 || v <= -10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
