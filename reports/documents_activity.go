package reports

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/render"
)

func (a *ActivityStatement) document() *render.Document {
	d := &render.Document{
		AsOf: a.AsOf, Title: a.Name, Subtitle: "Activity in " + monthWord(a.Period), Badge: closedBadge(a.Closed),
		Facts: []render.Fact{
			{Label: "Account", Value: a.Account},
			{Label: "Period", Value: a.Period},
			{Label: "Time zone", Value: a.Timezone},
			asOf(a.AsOf, a.Timezone),
			{Label: "State", Value: suspendedWord(a.Suspended)},
		},
		Footer: footer(""),
	}
	d.Notes = activityNotes(a.Closed, a.Rejected)
	if a.Suspended {
		d.Notes = append(d.Notes, render.Note{Level: render.Bad, Text: "This account is suspended."})
	}
	first := true
	for _, s := range channelSections(a.Period, daysOf(a.Period, a.AsOf, a.Timezone), a.Activity) {
		if first {
			s.Sheet = a.Account
		}
		first = false
		d.Sections = append(d.Sections, s)
	}
	if first {
		d.Sections = []render.Section{{Sheet: a.Account, Title: "Activity", Empty: "No messages in this period."}}
	}
	return d
}

func activityNotes(closed bool, rejected uint64) []render.Note {
	var out []render.Note
	if rejected > 0 {
		out = append(out, render.Note{Level: render.Warn, Text: "Not counted here, because rejected: " + plural(rejected, "record") + "."})
	}
	if !closed {
		out = append(out, render.Note{Level: render.Plain, Text: "This period is open: counts may still change."})
	}
	return out
}

// channelSections has a part for each channel, without a sum over them.
func channelSections(period string, axis []string, lines []ActivityLine) []render.Section {
	channels := map[string][]ActivityLine{}
	for _, l := range lines {
		channels[l.Channel] = append(channels[l.Channel], l)
	}
	var out []render.Section
	for _, ch := range sortedKeys(channels) {
		list := channels[ch]
		out = append(out, render.Section{
			Title: render.ChannelName(ch), Charts: outcomeCharts(period, axis, list), Tables: outcomeTables(render.ChannelName(ch)+" by day", period, list),
		})
	}
	return out
}

// outcomesOf lists the outcomes that occur, in their order.
func outcomesOf(lines []ActivityLine) []string {
	var out []string
	for _, l := range lines {
		if !slices.Contains(out, l.Outcome) {
			out = append(out, l.Outcome)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		return cmp.Or(metering.StatusOrder(a)-metering.StatusOrder(b), strings.Compare(a, b))
	})
	return out
}

// splitDays tells a month's lines from those of days before it, which arrived once
// their own month was closed or, to who reads them in another time zone, fall there.
func splitDays(period string, lines []ActivityLine) (own, before []ActivityLine) {
	first := period + "-01"
	for _, l := range lines {
		if isMonth(period) && l.Day < first {
			before = append(before, l)
		} else {
			own = append(own, l)
		}
	}
	return own, before
}

// outcomeTables are those of a month's days, and of days before it.
func outcomeTables(caption, period string, lines []ActivityLine) []render.Table {
	own, before := splitDays(period, lines)
	var out []render.Table
	if len(own) > 0 {
		out = append(out, outcomeTable(caption, own))
	}
	if len(before) > 0 {
		out = append(out, outcomeTable(caption+", before "+monthWord(period)+" (arrived late)", before))
	}
	return out
}

// outcomeCharts stack the outcomes of each of a month's days, on an axis of days.
func outcomeCharts(period string, axis []string, lines []ActivityLine) []render.Chart {
	lines, _ = splitDays(period, lines)
	if len(lines) == 0 {
		return nil
	}
	outcomes := outcomesOf(lines)
	c := render.Chart{Caption: "Messages by day and outcome", Series: outcomes}
	at := map[string]int{}
	sums := [][]uint64{}
	for _, l := range lines {
		i, ok := at[l.Day]
		if !ok {
			i = len(sums)
			at[l.Day] = i
			sums = append(sums, make([]uint64, len(outcomes)))
		}
		sums[i][slices.Index(outcomes, l.Outcome)] += l.Messages
	}
	for _, day := range sortedKeys(at) {
		b := render.Bar{Label: day}
		for _, n := range sums[at[day]] {
			b.Values = append(b.Values, count(n))
		}
		c.Bars = append(c.Bars, b)
	}
	c.Bars = everyDay(c.Bars, axis, none(len(outcomes), ""))
	return []render.Chart{c}
}

// outcomeTable has a row for each day, channel and direction, and a column for
// each outcome. It has no sums.
func outcomeTable(caption string, lines []ActivityLine) render.Table {
	outcomes := outcomesOf(lines)
	calls := slices.ContainsFunc(lines, func(l ActivityLine) bool { return l.Channel == "voice" })
	t := render.Table{Caption: caption, Columns: []render.Column{
		{Name: "Day", Kind: render.Date}, {Name: "Channel", Kind: render.Text}, {Name: "Direction", Kind: render.Text},
	}}
	for _, o := range outcomes {
		t.Columns = append(t.Columns, render.Column{Name: strings.ReplaceAll(o, "_", " "), Kind: render.Count})
	}
	if calls {
		t.Columns = append(t.Columns, render.Column{Name: "call seconds", Kind: render.Count})
	}
	type key struct{ day, channel, direction string }
	var last key
	var seconds int64
	for i, l := range lines {
		k := key{l.Day, l.Channel, l.Direction}
		if i == 0 || k != last {
			cells := append(make([]string, 0, len(t.Columns)), l.Day, l.Channel, l.Direction)
			t.Rows = append(t.Rows, render.Row{Cells: cells[:len(t.Columns)]})
			last, seconds = k, 0
		}
		row := t.Rows[len(t.Rows)-1].Cells
		row[3+slices.Index(outcomes, l.Outcome)] = count(l.Messages)
		if seconds += l.CallSeconds; l.Channel == "voice" {
			row[len(row)-1] = strconv.FormatInt(seconds, 10)
		}
	}
	return t
}

func (o *ActivityOverview) document() *render.Document {
	d := &render.Document{
		AsOf: o.AsOf, Title: o.Name, Subtitle: "Activity in " + monthWord(o.Period) + ", all accounts", Badge: closedBadge(o.Closed),
		Facts: []render.Fact{
			{Label: "Account", Value: o.Account},
			{Label: "Period", Value: o.Period},
			{Label: "Time zone", Value: o.Timezone},
			asOf(o.AsOf, o.Timezone),
		},
		Cards: []render.Card{countCard("Messages", o.Messages), countCard("Accounts", uint64(len(o.Accounts)))},
		Notes: activityNotes(o.Closed, o.Rejected), Footer: footer(""),
	}
	d.Sections = append(d.Sections, o.overview())
	axis := daysOf(o.Period, o.AsOf, o.Timezone)
	for i := range o.Accounts {
		s := &o.Accounts[i]
		sec := render.Section{
			Details: s.Account, Sheet: s.Account, Title: s.Name, Subtitle: s.Account, Empty: "No messages in this period.",
			Badge: render.Badge{Level: stateLevel(suspendedWord(s.Suspended)), Text: suspendedWord(s.Suspended)},
			Facts: []render.Fact{
				{Label: "Account", Value: s.Account}, countFact("Messages", s.Messages), countFact("Rejected", s.Rejected),
			},
		}
		if s.Account == o.Account {
			sec.Title, sec.Sheet = render.Isolated(s.Name)+" — own traffic", s.Account+" own"
		}
		if len(s.Activity) > 0 {
			sec.Charts, sec.Tables = outcomeCharts(o.Period, axis, s.Activity), outcomeTables("Delivery by day", o.Period, s.Activity)
		}
		d.Sections = append(d.Sections, sec)
	}
	return d
}

// overview has all accounts side by side.
func (o *ActivityOverview) overview() render.Section {
	var all []ActivityLine
	for i := range o.Accounts {
		all = append(all, o.Accounts[i].Activity...)
	}
	outcomes := outcomesOf(all)
	t := render.Table{Caption: "Accounts", Open: true, Columns: []render.Column{
		{Name: "Account", Kind: render.Text}, {Name: "State", Kind: render.Text}, {Name: "Messages", Kind: render.Count}, {Name: "Name", Kind: render.Text},
	}}
	for _, x := range outcomes {
		t.Columns = append(t.Columns, render.Column{Name: strings.ReplaceAll(x, "_", " "), Kind: render.Count})
	}
	t.Columns = append(t.Columns, render.Column{Name: "Rejected", Kind: render.Count})
	sums := make([]uint64, len(outcomes))
	cells := func(first []string, by []uint64, rejected uint64) []string {
		for _, n := range by {
			first = append(first, count(n))
		}
		return append(first, count(rejected))
	}
	for i := range o.Accounts {
		s := &o.Accounts[i]
		by := make([]uint64, len(outcomes))
		for _, l := range s.Activity {
			by[slices.Index(outcomes, l.Outcome)] += l.Messages
			sums[slices.Index(outcomes, l.Outcome)] += l.Messages
		}
		state := suspendedWord(s.Suspended)
		t.Rows = append(t.Rows, render.Row{
			Cells: cells([]string{s.Account, state, count(s.Messages), s.Name}, by, s.Rejected), Levels: []render.Level{1: stateLevel(state)}, Details: s.Account,
		})
	}
	t.Rows = append(t.Rows, render.Row{Cells: cells([]string{"Total", "", count(o.Messages), ""}, sums, o.Rejected), Total: true})
	charts := outcomeCharts(o.Period, daysOf(o.Period, o.AsOf, o.Timezone), all)
	for i := range charts {
		charts[i].Caption += ", all accounts"
	}
	return render.Section{Sheet: "Overview", Title: "Overview", Charts: charts, Tables: []render.Table{t}}
}
