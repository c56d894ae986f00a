package metering

import "time"

// Period is a calendar month in its parent's zone, [Start, End) in UTC.
type Period struct {
	Name  string // "2026-11"
	Start time.Time
	End   time.Time
}
