package reports

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

func calendar(t *testing.T, zone string) *metering.Calendar {
	t.Helper()
	c, err := metering.NewCalendar([]metering.ZoneFrom{{Zone: zone}})
	require.NoError(t, err)
	return c
}

func TestDueInstants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zone, cron, after, until string
		want                     []string
	}{
		{"Europe/Rome", "0 6 1 * *", "2026-10-15T00:00:00Z", "2026-12-31T00:00:00Z", []string{"2026-11-01T05:00:00Z", "2026-12-01T05:00:00Z"}},
		// A day whose time is skipped runs at the end of the gap.
		{"Europe/Rome", "30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		// A time that comes twice runs once.
		{"Europe/Rome", "30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"America/New_York", "30 2 * * *", "2026-03-07T12:00:00Z", "2026-03-08T12:00:00Z", []string{"2026-03-08T07:00:00Z"}},
		{"Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00:00Z", "2026-10-04T12:00:00Z", []string{"2026-10-03T15:30:00Z"}},
		{"Asia/Kathmandu", "@daily", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", []string{"2026-11-01T18:15:00Z"}},
		{"Asia/Kolkata", "0 9 * * 1", "2026-11-01T00:00:00Z", "2026-11-09T12:00:00Z", []string{"2026-11-02T03:30:00Z", "2026-11-09T03:30:00Z"}},
		{"UTC", "0 6 1 * *", "2026-11-01T06:00:00Z", "2026-11-30T06:00:00Z", nil},
		{"UTC", "0 6 1 * *", "2026-11-01T05:59:59Z", "2026-11-01T06:00:00Z", []string{"2026-11-01T06:00:00Z"}},
	} {
		after, err := time.Parse(time.RFC3339, c.after)
		require.NoError(t, err)
		until, err := time.Parse(time.RFC3339, c.until)
		require.NoError(t, err)
		got, err := DueInstants(&metering.Schedule{Cron: c.cron}, calendar(t, c.zone), after, until, 100)
		require.NoError(t, err)
		var text []string
		for _, at := range got {
			text = append(text, at.UTC().Format(time.RFC3339))
		}
		require.Equal(t, c.want, text, "%s %s", c.zone, c.cron)
	}
	got, err := DueInstants(&metering.Schedule{Cron: "* * * * *"}, calendar(t, "UTC"), now, now.AddDate(0, 0, 9), 3)
	require.NoError(t, err)
	require.Len(t, got, 3)
}

func TestPeriodAt(t *testing.T) {
	t.Parallel()
	cal := calendar(t, "Asia/Kathmandu")
	at := time.Date(2026, 10, 31, 20, 0, 0, 0, time.UTC) // Sunday, the 1st of November there
	for period, want := range map[string]string{
		"": "2026-10", PeriodLastMonth: "2026-10", PeriodMonthToDate: "2026-11", PeriodYesterday: "2026-10-31", PeriodLastWeek: "2026-10-19..2026-10-25",
	} {
		require.Equal(t, want, PeriodAt(&metering.Schedule{Period: period}, cal, at), period)
	}
	require.Equal(t, "2026-10-26..2026-11-01", PeriodAt(&metering.Schedule{Period: PeriodLastWeek}, cal, at.Add(24*time.Hour)), "a Monday")
}
