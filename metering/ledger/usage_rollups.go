package ledger

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// slot is the grain of the rollups, in seconds.
const slot = 15 * 60

// Bounds of reading rollups.
const (
	// rollupTries is how often the query is made while hours settle or unsettle
	// under it; after that, rows are read.
	rollupTries = 3
	// rollupLinesMax is how many lines are held back until it is known that
	// they stand; a query with more reads rows. About 500 B each.
	rollupLinesMax = 100_000
)

// errTooManyLines ends a query of rollups that has more than rollupLinesMax.
var errTooManyLines = errors.New("more lines than are held back")

// usageOfRollups answers from rollups where hours are settled, and from rows
// where they aren't. It returns false if rows alone must answer.
func (l *Ledger) usageOfRollups(ctx context.Context, q *UsageQuery, rows map[string]string, f func(*UsageLine) error) (bool, error) {
	params, ok := rollupParams(q, rows)
	if !ok {
		return false, nil
	}
	for range rollupTries {
		before, err := l.settled(ctx, params)
		if err != nil || before.hours == 0 {
			return false, err
		}
		var lines []*UsageLine
		err = l.usageLines(ctx, "usage_rollups", q, params, func(u *UsageLine) error {
			if len(lines) == rollupLinesMax {
				return errTooManyLines
			}
			lines = append(lines, u)
			return nil
		})
		if errors.Is(err, errTooManyLines) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		after, err := l.settled(ctx, params)
		if err != nil {
			return false, err
		}
		if after != before {
			continue
		}
		for _, u := range lines {
			if err := f(u); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	return false, nil
}

// fingerprint tells whether the settled hours are the same as before.
type fingerprint struct{ hours, of uint64 }

func (l *Ledger) settled(ctx context.Context, params map[string]string) (fingerprint, error) {
	var p fingerprint
	err := l.each(ctx, "rollup_settled", params, func(r driver.Rows) error { return r.Scan(&p.hours, &p.of) })
	return p, err
}

// hourLast is the last hour that a DateTime holds, less a day.
const hourLast = 1<<32 - 86_400

// rollupParams adds what a query of rollups needs; false if they can't answer:
// they know no tags and no statuses, and no local days that begin within a slot.
func rollupParams(q *UsageQuery, rows map[string]string) (map[string]string, bool) {
	zoned := false
	for _, d := range q.By {
		if _, tag := d.tag(); tag || d == DimStatus || d == DimErrorCode {
			return nil, false
		}
		zoned = zoned || d == DimHour || d == DimDay || d == DimMonth
	}
	if zoned && !wholeSlots(q.Zone, q.From, q.To) {
		return nil, false
	}
	from, to := int64(earliest), int64(hourLast)
	if !q.From.IsZero() {
		from = max(from, (q.From.Unix()+slot-1)/slot*slot)
		if q.From.Unix()%slot == 0 && q.From.Nanosecond() > 0 {
			from += slot
		}
	}
	if !q.To.IsZero() {
		to = min(to, q.To.Unix()/slot*slot)
	}
	if from >= to {
		return nil, false
	}
	params := maps.Clone(rows)
	number := func(name string, n int64) { params[name] = strconv.FormatInt(n, 10) }
	number("whole_from", from*1000)
	number("whole_to", to*1000)
	number("edges", 0)
	if !q.From.IsZero() && ceilMilli(q.From) != from*1000 || !q.To.IsZero() && ceilMilli(q.To) != to*1000 {
		number("edges", 1)
	}
	number("first", max(from/3600*3600, 3600))
	number("last", to)
	number("slack", rollSlack.Milliseconds())
	return params, true
}

// wholeSlots tells whether every local hour of the zone within [from, to) is
// made of whole slots: all offsets and their changes are multiples of one. It
// is so everywhere since 2012.
func wholeSlots(zone *time.Location, from, to time.Time) bool {
	if zone == nil {
		return true
	}
	if from.IsZero() {
		from = time.Unix(earliest, 0)
	}
	if to.IsZero() {
		to = time.Unix(hourLast, 0)
	}
	for t := from; t.Before(to); {
		_, offset := t.In(zone).Zone()
		if offset%slot != 0 {
			return false
		}
		_, until := t.In(zone).ZoneBounds()
		if !until.After(t) { // zero, or the end of what the zone's table knows
			break
		}
		_, next := until.In(zone).Zone() // some bounds change nothing
		if until.Before(to) && next != offset && until.Unix()%slot != 0 {
			return false
		}
		t = until
	}
	return true
}
