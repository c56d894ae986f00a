package metering

import (
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func calendar(tb testing.TB, zones ...ZoneFrom) *Calendar {
	tb.Helper()
	c, err := NewCalendar(zones)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestPeriodBounds(t *testing.T) {
	t.Parallel()
	moved := []ZoneFrom{{"", "Europe/Rome"}, {"2026-11", "America/New_York"}, {"2027-01", "Asia/Tokyo"}}
	one := func(zone string) []ZoneFrom { return []ZoneFrom{{"", zone}} }
	for _, c := range []struct {
		zones            []ZoneFrom
		name, start, end string
	}{
		{one("UTC"), "2024-02", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"},
		{one("Europe/Rome"), "2026-11", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"},
		{one("Europe/Rome"), "2026-03", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"},
		{one("Europe/Rome"), "2026-10", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"},
		{one("America/New_York"), "2026-11", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"},
		{one("Asia/Kolkata"), "2028-02", "2028-01-31T18:30:00Z", "2028-02-29T18:30:00Z"},
		{one("Asia/Kathmandu"), "2026-01", "2025-12-31T18:15:00Z", "2026-01-31T18:15:00Z"},
		// Midnight was skipped: Jordan and Syria on 2022-04-01 no longer; Amman on
		// 2016-04-01, Asuncion on 2017-10-01, São Paulo's never on a 1st.
		{one("Asia/Amman"), "2016-04", "2016-03-31T22:00:00Z", "2016-04-30T21:00:00Z"},
		{one("America/Asuncion"), "2017-10", "2017-10-01T04:00:00Z", "2017-11-01T03:00:00Z"},
		// Midnight came twice: Havana on 2015-11-01.
		{one("America/Havana"), "2015-11", "2015-11-01T04:00:00Z", "2015-12-01T05:00:00Z"},
		// A change of zone: months keep meeting.
		{moved, "2026-10", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"},
		{moved, "2026-11", "2026-10-31T23:00:00Z", "2026-12-01T05:00:00Z"},
		{moved, "2026-12", "2026-12-01T05:00:00Z", "2027-01-01T05:00:00Z"},
		{moved, "2027-01", "2027-01-01T05:00:00Z", "2027-01-31T15:00:00Z"},
		{moved, "2027-02", "2027-01-31T15:00:00Z", "2027-02-28T15:00:00Z"},
	} {
		p, err := calendar(t, c.zones...).Named(c.name)
		if err != nil || p.Start.Format(time.RFC3339) != c.start || p.End.Format(time.RFC3339) != c.end {
			t.Errorf("%v %s: got %v – %v (%v), want %s – %s", c.zones, c.name, p.Start, p.End, err, c.start, c.end)
		}
	}
}

func TestDay(t *testing.T) {
	t.Parallel()
	c := calendar(t, ZoneFrom{"", "Europe/Rome"}, ZoneFrom{"2026-11", "America/New_York"})
	for at, want := range map[string]string{
		"2026-10-31T22:59:59Z": "2026-10-31",
		"2026-10-31T23:00:00Z": "2026-11-01", // 19:00 on the 31st in New York, but in the period 2026-11
		"2026-11-01T04:00:00Z": "2026-11-01",
		"2026-12-01T04:59:59Z": "2026-11-30",
	} {
		ts, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Day(ts); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
	if got := c.Location(testNow).String(); got != "America/New_York" {
		t.Error(got)
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	c := calendar(t, ZoneFrom{"", "UTC"})
	for _, name := range []string{"", "2026", "2026-1", "2026-13", "2026-00", "2026/01", "1969-12", "2262-01", "2026-011", "+026-01", "２０"} {
		if _, err := c.Named(name); !errors.Is(err, ErrPeriod) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNewCalendarErrors(t *testing.T) {
	t.Parallel()
	for _, zones := range [][]ZoneFrom{
		nil,
		{{"", ""}},
		{{"", "Local"}},
		{{"", "Europe/Roma"}},
		{{"", "../etc/passwd"}},
		{{"2026-01", "UTC"}},
		{{"", "UTC"}, {"2026-01", "UTC"}, {"2026-01", "UTC"}},
		{{"", "UTC"}, {"soon", "UTC"}},
	} {
		if _, err := NewCalendar(zones); err == nil {
			t.Errorf("%v was taken", zones)
		}
	}
}

// TestMonthsMeet checks, for zones and changes drawn at random, that each
// instant is in one month, that months meet, and that Of agrees with Named.
func TestMonthsMeet(t *testing.T) {
	t.Parallel()
	names := []string{
		"Europe/Rome", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "America/Sao_Paulo", "Asia/Beirut",
		"Asia/Amman", "America/Asuncion", "America/Havana", "Pacific/Apia", "Pacific/Kiritimati", "Australia/Lord_Howe",
		"Africa/Casablanca", "America/St_Johns", "Atlantic/Azores", "Africa/Cairo", "Antarctica/Troll",
	}
	rapid.Check(t, func(rt *rapid.T) {
		draw := func() string { return rapid.SampledFrom(names).Draw(rt, "zone") }
		c := calendar(t, ZoneFrom{"", draw()}, ZoneFrom{"2001-03", draw()}, ZoneFrom{"2012-01", draw()})
		at := time.UnixMilli(rapid.Int64Range(0, 9_000_000_000_000).Draw(rt, "at")).UTC()
		p := c.Of(at)
		if !p.Contains(at) || c.Of(at) != p {
			rt.Fatalf("%v isn't in its period %v", at, p)
		}
		named, err := c.Named(p.Name)
		if at.Year() > 1970 && at.Year() < 2261 && (err != nil || named != p) {
			rt.Fatalf("%v by name is %v", p, named)
		}
		if next := c.Of(p.End); next.Start != p.End || next.Name <= p.Name {
			rt.Fatalf("%v is followed by %v", p, next)
		}
		if before := c.Of(p.Start.Add(-1)); before.End != p.Start || before.Name >= p.Name {
			rt.Fatalf("%v follows %v", p, before)
		}
		if day := c.Day(at); day[:7] != p.Name {
			rt.Fatalf("day %s of %v", day, p)
		}
	})
}

func TestCalendarConcurrent(t *testing.T) {
	t.Parallel()
	c := calendar(t, ZoneFrom{"", "Europe/Rome"})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				at := testPlan.AddDate(0, (i*7+g*13)%200, g)
				if p := c.Of(at); !p.Contains(at) {
					t.Error(at, p)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkPeriodOf(b *testing.B) {
	c := calendar(b, ZoneFrom{"", "Europe/Rome"})
	for i := range 14 {
		c.Of(testNow.AddDate(0, -i, 0))
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Of(testNow)
	}
}

// TestOpenedMonthsStand: kept bounds go before what the zone says, and months
// and days meet around them.
func TestOpenedMonthsStand(t *testing.T) {
	t.Parallel()
	parent := func(o MonthStarts) *Account {
		s := NewSnapshot(1, []*Account{{
			ID: "a", Zones: []ZoneFrom{{Zone: "Europe/Rome"}}, CreatedAt: time.Date(2026, 10, 10, 0, 0, 0, 0, time.UTC), Opened: o,
		}}, nil)
		if len(s.Faults) > 0 {
			t.Fatal(s.Faults)
		}
		return s.Accounts["a"]
	}
	want := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	now := time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC)
	o, more := MonthStarts{}.Extend(parent(MonthStarts{}), now)
	want("first", []any{more, o.First, len(o.Starts)}, []any{true, "2024-10", 27}) // to the start of December
	_, more = o.Extend(parent(o), now)
	want("again", more, false)
	next, more := o.Extend(parent(o), now.AddDate(0, 0, 16))
	want("a month later", []any{more, len(next.Starts), next.Starts[:27]}, []any{true, 28, o.Starts})

	shifted := MonthStarts{First: o.First, Starts: slices.Clone(o.Starts)}
	shifted.Starts[26] += 3600 // the end of November
	c := parent(shifted).Calendar
	november, err := c.Named("2026-11")
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) // an hour after Rome's midnight
	want("end", november.End, end)
	want("its last hour", []any{c.Of(end.Add(-time.Second)).Name, c.Day(end.Add(-time.Second))}, []any{"2026-11", "2026-11-30"})
	december := c.Of(end)
	want("the month after", []any{december.Name, december.Start, c.Day(end)}, []any{"2026-12", end, "2026-12-01"})
}
