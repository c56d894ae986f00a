package reports

import (
	"slices"
	"strings"
	"time"

	"github.com/meterd/meterd/reports/render"
)

// axisDays is how many days a picture shows one by one, also those without traffic.
const axisDays = 400

// daysOf are the days of a period up to the one of asOf; none where they are too many.
func daysOf(period string, asOf time.Time, zone string) []string {
	first, last, ranged := strings.Cut(period, "..")
	if !ranged {
		last = first
	}
	from, err := time.Parse(time.DateOnly, first)
	to, err2 := time.Parse(time.DateOnly, last)
	if month, bad := time.Parse("2006-01", period); bad == nil {
		from, to, err, err2 = month, month.AddDate(0, 1, -1), nil, nil
	}
	if err != nil || err2 != nil || to.Sub(from) > axisDays*24*time.Hour {
		return nil
	}
	today := asOf.In(location(zone)).Format(time.DateOnly)
	var out []string
	for ; !from.After(to); from = from.AddDate(0, 0, 1) {
		if day := from.Format(time.DateOnly); day <= today {
			out = append(out, day)
		}
	}
	return out
}

// everyDay adds bars, which are sorted, for the days that have none. rest makes one, of the
// bar before it, nil where it is the first.
func everyDay(bars []render.Bar, days []string, rest func(day string, before *render.Bar) render.Bar) []render.Bar {
	if len(bars) == 0 {
		return nil // no picture of nothing
	}
	all := slices.Clone(days)
	at := map[string]render.Bar{}
	for _, b := range bars {
		all = append(all, b.Label)
		at[b.Label] = b
	}
	slices.Sort(all)
	all = slices.Compact(all)
	out := make([]render.Bar, 0, len(all))
	for _, day := range all {
		b, ok := at[day]
		if !ok {
			var before *render.Bar
			if n := len(out); n > 0 {
				before = &out[n-1]
			}
			b = rest(day, before)
		}
		out = append(out, b)
	}
	return out
}

// none is a day's bar of nothing, in a number of series.
func none(series int, text string) func(day string, _ *render.Bar) render.Bar {
	return func(day string, _ *render.Bar) render.Bar {
		return render.Bar{Label: day, Values: slices.Repeat([]string{"0"}, series), Text: text}
	}
}
