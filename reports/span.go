package reports

import (
	"fmt"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// reportPeriod is the time that a report is of: a month, whose report is the bill of
// what is booked in it, or some days, whose report is of what occurred.
type reportPeriod struct {
	name       string // 2026-11, 2026-11-05, 2026-11-02..2026-11-08
	month      bool
	start, end time.Time
	zone       *time.Location // of the parent's days in it
	asOf       time.Time
	closed     bool
	fixed      ledger.Closing               // of a closed month: what its reports may know of
	clamp      bool                         // days are of the parent's calendar
	accounts   map[string]*metering.Account // the parent's and itself, as the report shows them (accountsAt)
}

// booked is the period that rows must be booked in, "" for days.
func (s *reportPeriod) booked() string {
	if s.month {
		return s.name
	}
	return ""
}

// bounds of occurred_at: none for a month, whose bill has late records too.
func (s *reportPeriod) bounds() (from, to time.Time) {
	if s.month {
		return time.Time{}, time.Time{}
	}
	return s.start, s.end
}

// parseSpan reads a period's name by the parent's calendar.
func parseSpan(cal *metering.Calendar, name string) (*reportPeriod, error) {
	if p, err := cal.Named(name); err == nil {
		return &reportPeriod{name: name, month: true, start: p.Start, end: p.End, zone: cal.Location(p.Start)}, nil
	}
	first, last, ranged := strings.Cut(name, "..")
	if !ranged {
		last = first
	}
	from, err1 := time.Parse(time.DateOnly, first)
	to, err2 := time.Parse(time.DateOnly, last)
	if err1 != nil || err2 != nil || to.Before(from) || from.Year() < 1970 || to.Year() > 2261 {
		return nil, fmt.Errorf("%w, nor days such as 2026-11-05 or 2026-11-02..2026-11-08, the earlier first: %q", ErrPeriod, name)
	}
	start, end := dayStart(cal, from), dayStart(cal, to.AddDate(0, 0, 1))
	return &reportPeriod{name: name, start: start, end: end, zone: cal.Location(start)}, nil
}

// dayStart is the first instant of a local date: of a midnight that is skipped,
// the end of the gap.
func dayStart(cal *metering.Calendar, date time.Time) time.Time {
	noon := time.Date(date.Year(), date.Month(), date.Day(), 12, 0, 0, 0, time.UTC)
	loc := cal.Location(noon)
	return firstAt(time.Date(date.Year(), date.Month(), date.Day(), 0, 0, 0, 0, time.UTC), loc)
}

// firstAt is the first instant at which the clocks of a zone show wall (given
// as if it were UTC) or, where they skip it, the first after the gap.
func firstAt(wall time.Time, loc *time.Location) time.Time {
	const day = 24 * time.Hour
	before, after := offsetAt(wall.Add(-day), loc), offsetAt(wall.Add(day), loc)
	for _, o := range []time.Duration{max(before, after), min(before, after)} {
		if t := wall.Add(-o); offsetAt(t, loc) == o {
			return t
		}
	}
	// Skipped: the gap ends where the offset changes, by halving.
	lo, hi := wall.Add(-day), wall.Add(day)
	for hi.Sub(lo) > time.Second {
		mid := lo.Add(hi.Sub(lo) / 2)
		if offsetAt(mid, loc) == before {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi.Truncate(time.Second)
}

func offsetAt(t time.Time, loc *time.Location) time.Duration {
	_, o := t.In(loc).Zone()
	return time.Duration(o) * time.Second
}
