package reports

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/meterd/meterd/metering"
)

// Periods of a schedule.
const (
	PeriodLastMonth   = "last_month"
	PeriodLastWeek    = "last_week" // Monday to Sunday
	PeriodYesterday   = "yesterday"
	PeriodMonthToDate = "month_to_date"
)

// DueInstants are when a schedule is due within (after, until], at most limit
// of them, oldest first. Its fields are the clock's of the parent's zone: a time
// that the clocks skip comes at the end of the gap, one that they show twice
// comes once, the first time.
func DueInstants(s *metering.Schedule, cal *metering.Calendar, after, until time.Time, limit int) ([]time.Time, error) {
	schedule, err := cron.ParseStandard(s.Cron)
	if err != nil {
		return nil, fmt.Errorf("schedule %s: %w", s.Name, err)
	}
	var out []time.Time
	// cron counts in a zone without changes; each time is then looked up on
	// the parent's clock.
	wall := after.UTC().Add(-48 * time.Hour)
	for len(out) < limit {
		if wall = schedule.Next(wall); wall.IsZero() {
			break
		}
		at := firstAt(wall, cal.Location(wall))
		if at.After(until) {
			break
		}
		if at.After(after) && (len(out) == 0 || at.After(out[len(out)-1])) {
			out = append(out, at)
		}
	}
	return out, nil
}

// PeriodAt names what a schedule's run reports on that was due at an instant.
func PeriodAt(s *metering.Schedule, cal *metering.Calendar, due time.Time) string {
	month := cal.Of(due)
	day, err := time.Parse(time.DateOnly, cal.Day(due))
	if err != nil {
		return month.Name // a day always parses
	}
	switch s.Period {
	case PeriodMonthToDate:
		return month.Name
	case PeriodYesterday:
		return day.AddDate(0, 0, -1).Format(time.DateOnly)
	case PeriodLastWeek:
		monday := day.AddDate(0, 0, -int(day.Weekday()+6)%7)
		return monday.AddDate(0, 0, -7).Format(time.DateOnly) + ".." + monday.AddDate(0, 0, -1).Format(time.DateOnly)
	default:
		return cal.Of(month.Start.Add(-time.Millisecond)).Name
	}
}

// RunID is the same whoever finds that a report is due. owner is whose schedule
// it is.
func RunID(owner, name, audience string, due time.Time) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{owner, name, audience, due.UTC().Format(time.RFC3339)}, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// AudiencesOf a schedule that is due at an instant: whose schedule it is, unless
// said. Each is every sub-account that wasn't closed before the period.
func AudiencesOf(snap *metering.Snapshot, a *metering.Account, s *metering.Schedule, due time.Time) []string {
	if !a.IsParent() {
		return []string{a.ID}
	}
	if len(s.Audiences) == 0 {
		return []string{AudienceParent}
	}
	var out []string
	add := func(id string) {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	for _, audience := range s.Audiences {
		if audience != metering.AudienceEach {
			add(audience)
			continue
		}
		period, err := parseSpan(a.Calendar, PeriodAt(s, a.Calendar, due))
		for _, id := range snap.Subs[a.ID] {
			if closed := snap.Accounts[id].ClosedAt; err != nil || closed == nil || closed.After(period.start) {
				add(id)
			}
		}
	}
	return out
}

// Schedules calls f for each schedule of a parent ("": of all) and of its
// sub-accounts.
func Schedules(snap *metering.Snapshot, parent string, f func(a *metering.Account, s *metering.Schedule) error) error {
	for _, id := range snap.Parents {
		if parent != "" && id != parent {
			continue
		}
		for _, of := range snap.Family(id) {
			a := snap.Accounts[of]
			if a.ClosedAt != nil || a.Calendar == nil {
				continue
			}
			for i := range a.Reports {
				if err := f(a, &a.Reports[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Coming is a report that will be due.
type Coming struct {
	Parent       string    `json:"parent"`
	Name         string    `json:"name"`
	Audience     string    `json:"audience"`
	Period       string    `json:"period"`
	DueAt        time.Time `json:"due_at"`
	Kind         string    `json:"kind"`
	Formats      []string  `json:"formats"`
	Destinations []string  `json:"destinations"`
}

// Upcoming are the next n reports of each schedule of a parent ("": of all).
func Upcoming(snap *metering.Snapshot, parent string, now time.Time, n int) ([]Coming, error) {
	var out []Coming
	err := Schedules(snap, parent, func(a *metering.Account, s *metering.Schedule) error {
		due, err := DueInstants(s, a.Calendar, now, now.AddDate(10, 0, 0), n)
		if err != nil {
			return err
		}
		for _, at := range due {
			for _, audience := range AudiencesOf(snap, a, s, at) {
				out = append(out, Coming{
					Parent: a.Parent(), Name: s.Name, Audience: audience, Period: PeriodAt(s, a.Calendar, at), DueAt: at,
					Kind: cmp.Or(s.Kind, KindStatement), Formats: s.Formats, Destinations: s.Deliver,
				})
			}
		}
		return nil
	})
	slices.SortStableFunc(out, func(a, b Coming) int { return a.DueAt.Compare(b.DueAt) })
	return out, err
}
