package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/meterd/meterd/metering"
)

// printJSON writes one document, or one line of a list.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// terminal tells whether the output is one, and how wide.
func (a *app) terminal() (width int, ok bool) {
	f, isFile := a.out.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 80, true
	}
	return w, true
}

// table makes one that fits the terminal; colours only there.
func (a *app) table(header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader = true
	style.Format.Header = text.FormatDefault
	if w, ok := a.terminal(); ok {
		style.Size.WidthMax = w
		style.Color.Header = text.Colors{text.Bold}
	}
	t.SetStyle(style)
	t.AppendHeader(header)
	return safeTable{t}
}

// safeTable shows what senders chose (ids, notes, details) without letting it
// steer the terminal.
type safeTable struct{ table.Writer }

// AppendRow implements table.Writer. Colours are meterd's own.
func (t safeTable) AppendRow(row table.Row, configs ...table.RowConfig) {
	for i, cell := range row {
		switch v := cell.(type) {
		case colored:
			row[i] = string(v)
		case string:
			row[i] = visible(v)
		}
	}
	t.Writer.AppendRow(row, configs...)
}

// colored is a text with colours for a terminal, or with none.
type colored string

// visible spells out what isn't a character that a terminal shows: controls,
// what turns the direction of text, bytes that are no UTF-8.
func visible(s string) string {
	if strings.IndexFunc(s, hidden) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			_, _ = fmt.Fprintf(&b, `\x%02x`, s[i])
		case hidden(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hidden is every control, format, private or unassigned character. What joins
// the letters of scripts that need it (U+200C, U+200D) isn't.
func hidden(r rune) bool {
	return !unicode.IsPrint(r) && r != '\u200c' && r != '\u200d' && !unicode.Is(unicode.Zs, r)
}

// right aligns columns (from 1) that hold figures.
func right(t table.Writer, columns ...int) {
	var c []table.ColumnConfig
	for _, n := range columns {
		c = append(c, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(c)
}

// painted is a text in colours on a terminal that shows them (NO_COLOR isn't
// set); elsewhere it is plain.
func (a *app) painted(s string, c text.Colors) colored {
	if _, ok := a.terminal(); !ok || os.Getenv("NO_COLOR") != "" {
		return colored(visible(s))
	}
	return colored(c.Sprint(visible(s)))
}

// stateColor of an account.
func stateColor(state string) text.Colors {
	switch metering.State(state) {
	case metering.StateSuspended:
		return text.Colors{text.FgRed}
	case metering.StateClosed:
		return text.Colors{text.Faint}
	case metering.StateActive:
	}
	return text.Colors{}
}

// bar draws a limit's use: full, it is red.
func (a *app) bar(share int) colored {
	if share < 0 {
		return ""
	}
	const width, nearly, full = 10, 80, 100
	filled := min(share*width/full, width)
	c := text.Colors{text.FgGreen}
	switch {
	case share >= full:
		c = text.Colors{text.FgRed}
	case share >= nearly:
		c = text.Colors{text.FgYellow}
	}
	return a.painted(strings.Repeat("█", filled), c) + colored(strings.Repeat("░", width-filled)+fmt.Sprintf(" %d %%", share))
}

// progress shows on a terminal how far work has come, its rate and, where its
// end is known, the time that is left. total 0: not known. Calls come from one
// goroutine; end takes it away.
func (a *app) progress(what string) (set func(done, total int64), end func()) {
	f, ok := a.err.(*os.File)
	if !ok || !isTerminal(f) || a.JSON {
		return func(int64, int64) {}, func() {}
	}
	p := mpb.New(mpb.WithOutput(f), mpb.WithWidth(40))
	var b *mpb.Bar
	set = func(done, total int64) {
		switch {
		case b != nil:
		case total > 0:
			b = p.AddBar(total, mpb.PrependDecorators(decor.Name(what+" "), decor.CountersNoUnit("%d of %d")),
				mpb.AppendDecorators(decor.AverageSpeed(0, "%.0f/s"), decor.Name(", "), decor.AverageETA(decor.ET_STYLE_GO), decor.Name(" left")))
		default:
			b = p.AddSpinner(0, mpb.AppendDecorators(decor.CurrentNoUnit("%d "+what), decor.Name(", "), decor.AverageSpeed(0, "%.0f/s")))
		}
		if total > 0 {
			done = min(done, total-1) // the end is end's to say
		}
		b.SetCurrent(done)
	}
	return set, func() {
		if b != nil {
			b.Abort(true)
		}
		p.Wait()
	}
}

func (a *app) render(t table.Writer) { _, _ = fmt.Fprintln(a.out, t.Render()) }

func isTerminal(f *os.File) bool {
	return term.IsTerminal(int(f.Fd()))
}

// errDeclined: who was asked didn't say yes.
var errDeclined = errors.New("nothing was changed")

// confirm says what a command will do and, where a person sits at the terminal, asks
// whether it shall. Scripts aren't asked.
func (a *app) confirm(yes bool, what string) error {
	_, _ = fmt.Fprintln(a.err, "meterd:", visible(what))
	in, fromFile := a.in.(*os.File)
	out, toFile := a.err.(*os.File)
	if yes || !fromFile || !toFile || !isTerminal(in) || !isTerminal(out) {
		return nil
	}
	_, _ = fmt.Fprint(out, "Go on? [y/N] ")
	answer := make(chan string, 1)
	go func() { // ends with the line, or with the process: a terminal's read can't be given up
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case said := <-answer:
		if said == "y" || said == "yes" {
			return nil
		}
	case <-a.ctx.Done():
		_, _ = fmt.Fprintln(out)
	}
	return errDeclined
}
