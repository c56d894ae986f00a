package metering

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync/atomic"
	"time"
	_ "time/tzdata" // a zone is known on every machine
)

// Period is a calendar month in its parent's zone, [Start, End) in UTC.
type Period struct {
	Name  string // "2026-11"
	Start time.Time
	End   time.Time
}

// Contains tells whether t is in the period.
func (p Period) Contains(t time.Time) bool { return !t.Before(p.Start) && t.Before(p.End) }

// ErrPeriod means not the name of a calendar month.
var ErrPeriod = errors.New("not a month such as 2026-11")

// Calendar has the months and days of one parent (docs/domain.md, Periods). It may
// be used by many goroutines.
//
// A zone holds from a period on. Months meet without gap or overlap: month m
// starts at the local midnight of its first day in the zone of month m−1. Where
// that midnight doesn't exist, it starts at the first instant of the day.
//
// That is worked out when a month opens, and kept (Opened): what a machine knows
// of zones by then moves no month that is open.
type Calendar struct {
	zones  []zoneFrom
	first  int                      // month number of kept[0]
	kept   []int64                  // starts of months as they were worked out, Unix seconds
	months atomic.Pointer[[]bounds] // those asked for so far, by start
}

type zoneFrom struct {
	from int // month number; the first holds for ever
	loc  *time.Location
}

// bounds is a period with its ends as Unix seconds: they are never fractions.
type bounds struct {
	start, end int64
	month      int
	period     Period
}

// NewCalendar loads the zones, whose first has an empty From and whose others
// rise. The error names what is wrong with them.
func NewCalendar(zones []ZoneFrom) (*Calendar, error) {
	if len(zones) == 0 {
		return nil, errors.New("no time zone: give an IANA name such as Europe/Rome")
	}
	c := &Calendar{}
	for i, z := range zones {
		loc, err := LoadZone(z.Zone)
		if err != nil {
			return nil, err
		}
		from := 0
		if i > 0 {
			if from, err = parseMonth(z.From); err != nil {
				return nil, err
			}
			if from <= c.zones[i-1].from {
				return nil, fmt.Errorf("time zone from %s: must begin after the one before it", z.From)
			}
		} else if z.From != "" {
			return nil, errors.New("the first time zone holds for ever: leave its from empty")
		}
		c.zones = append(c.zones, zoneFrom{from, loc})
	}
	return c, nil
}

// MonthStarts are the instants at which a parent's months start, from a month on: one
// after another, up to the end of the newest that has been opened.
type MonthStarts struct {
	First  string  `json:"first,omitempty"`
	Starts []int64 `json:"starts,omitempty"` // Unix seconds
}

// openedBefore is how many months before the one that a parent was first applied
// in are kept too, for a backfill.
const openedBefore = 24

// Extend adds the months up to the one of now, of an account with a calendar.
// false: they are kept already.
func (o MonthStarts) Extend(a *Account, now time.Time) (MonthStarts, bool) {
	c := a.Calendar
	newest := c.of(now).month + 1 // its start is the end of the month of now
	out := MonthStarts{First: o.First, Starts: slices.Clone(o.Starts)}
	first, err := parseMonth(o.First)
	if err != nil || len(o.Starts) == 0 {
		first = max(c.of(a.CreatedAt).month-openedBefore, monthNumber(yearMin, time.January))
		out = MonthStarts{First: c.bounds(first).period.Name}
	}
	for m := first + len(out.Starts); m <= newest; m++ {
		out.Starts = append(out.Starts, c.start(m).Unix())
	}
	return out, len(out.Starts) > len(o.Starts)
}

// open takes months as they were opened.
func (c *Calendar) open(o MonthStarts) error {
	if len(o.Starts) == 0 {
		return nil
	}
	first, err := parseMonth(o.First)
	if err != nil {
		return err
	}
	if !slices.IsSorted(o.Starts) {
		return errors.New("kept starts of months must rise")
	}
	c.first, c.kept = first, o.Starts
	return nil
}

// LoadZone finds a zone by its IANA name. The machine's own zone ("Local") and
// the empty name are refused.
func LoadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, errors.New("no time zone: give an IANA name such as Europe/Rome")
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q: give an IANA name such as Europe/Rome", name)
	}
	return loc, nil
}

// Of is the period of t.
func (c *Calendar) Of(t time.Time) Period {
	return c.of(t).period
}

func (c *Calendar) of(t time.Time) bounds {
	sec := t.Unix()
	if known := c.months.Load(); known != nil {
		lo, hi := 0, len(*known)
		for lo < hi { // the first that ends after sec
			if mid := int(uint(lo+hi) >> 1); (*known)[mid].end <= sec {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo < len(*known) && (*known)[lo].start <= sec {
			return (*known)[lo]
		}
	}
	u := t.UTC()
	m := monthNumber(u.Year(), u.Month())
	b := c.bounds(m)
	for ; sec < b.start; b = c.bounds(m) {
		m--
	}
	for ; sec >= b.end; b = c.bounds(m) {
		m++
	}
	c.keep(b)
	return b
}

// keep adds a month to those known.
func (c *Calendar) keep(b bounds) {
	for {
		old := c.months.Load()
		var list []bounds
		if old != nil {
			list = *old
		}
		i := sort.Search(len(list), func(i int) bool { return list[i].start >= b.start })
		if i < len(list) && list[i].start == b.start {
			return
		}
		list = slices.Insert(slices.Clone(list), i, b)
		if c.months.CompareAndSwap(old, &list) {
			return
		}
	}
}

// Named is the period of a name such as "2026-11". ErrPeriod if it is no month
// from 1970 to 2261.
func (c *Calendar) Named(name string) (Period, error) {
	m, err := parseMonth(name)
	if err != nil {
		return Period{}, err
	}
	return c.bounds(m).period, nil
}

// Day is the local date of t, "2026-11-05", in the zone of its period. In a
// month whose zone lies west of the one before, the first hours count to its
// first day, and what a kept bound has more of to its last, so that a period has
// no days but its own.
func (c *Calendar) Day(t time.Time) string {
	b := c.of(t)
	day := t.In(c.zone(b.month)).Format(time.DateOnly)
	if first := b.period.Name + "-01"; day < first {
		return first
	}
	if last := time.Date(b.month/12, time.Month(b.month%12+2), 0, 0, 0, 0, 0, time.UTC).Format(time.DateOnly); day > last {
		return last
	}
	return day
}

// Location is the zone of the period of t.
func (c *Calendar) Location(t time.Time) *time.Location {
	return c.zone(c.of(t).month)
}

// zone of a month.
func (c *Calendar) zone(month int) *time.Location {
	for i := len(c.zones) - 1; i > 0; i-- {
		if c.zones[i].from <= month {
			return c.zones[i].loc
		}
	}
	return c.zones[0].loc
}

// bounds works a month out.
func (c *Calendar) bounds(month int) bounds {
	start, end := c.start(month), c.start(month+1)
	name := fmt.Sprintf("%04d-%02d", month/12, month%12+1)
	return bounds{start.Unix(), end.Unix(), month, Period{name, start, end}}
}

func (c *Calendar) start(month int) time.Time {
	if i := month - c.first; i >= 0 && i < len(c.kept) {
		return time.Unix(c.kept[i], 0).UTC()
	}
	return startOfDay(month/12, time.Month(month%12+1), 1, c.zone(month-1))
}

// StartOfDay is the first instant of a local day, in UTC.
func StartOfDay(year int, month time.Month, day int, loc *time.Location) time.Time {
	return startOfDay(year, month, day, loc)
}

// startOfDay is the first instant of a local day in UTC. Of a midnight that
// comes twice it is the first; of a day whose midnight is skipped, the end of
// the gap. It takes it that a zone changes at most once in two days.
//
// Time.ZoneBounds isn't used: for years ahead it ends a zone with the year,
// and in leap years a day before.
func startOfDay(year int, month time.Month, day int, loc *time.Location) time.Time {
	wall := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() // local midnight, as if it were UTC
	const window = 26 * 60 * 60                                      // more than any zone's offset
	before, after := offset(loc, wall-window), offset(loc, wall+window)
	first := max(before, after) // gives the earlier of the two midnights
	for _, o := range [2]int64{first, before + after - first} {
		if offset(loc, wall-o) == o {
			return time.Unix(wall-o, 0).UTC()
		}
	}
	n := sort.Search(2*window, func(i int) bool { return offset(loc, wall-window+int64(i)) != before })
	return time.Unix(wall-window+int64(n), 0).UTC()
}

// offset of the zone from UTC in seconds, at an instant in Unix seconds.
func offset(loc *time.Location, sec int64) int64 {
	_, o := time.Unix(sec, 0).In(loc).Zone()
	return int64(o)
}

// monthNumber counts months since the year 0.
func monthNumber(year int, month time.Month) int { return year*12 + int(month) - 1 }

func parseMonth(name string) (int, error) {
	if len(name) != len("2026-11") || name[4] != '-' || !digits(name[:4]) || !digits(name[5:]) {
		return 0, fmt.Errorf("%w: %q", ErrPeriod, name)
	}
	year, month := two(name)*100+two(name[2:]), two(name[5:])
	if year < yearMin || year > yearMax || month < 1 || month > 12 {
		return 0, fmt.Errorf("%w: %q", ErrPeriod, name)
	}
	return monthNumber(year, time.Month(month)), nil
}

// Hour is the start of the local hour of t, in UTC.
func (c *Calendar) Hour(t time.Time) time.Time {
	_, offset := t.In(c.Location(t)).Zone()
	sec := t.Unix()
	past := (sec + int64(offset)) % 3600
	if past < 0 {
		past += 3600
	}
	return time.Unix(sec-past, 0).UTC()
}
