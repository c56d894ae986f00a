package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

func TestUsageSumsEachKindBySelf(t *testing.T) {
	t.Parallel()
	l := open(t)
	late := sent("late", noon.Add(-10*time.Hour))
	late.Booked = "2026-12"
	adjustment := sent("a1", noon)
	adjustment.Record.Kind = metering.KindAdjustment
	adjustment.Charge = metering.Charge{Amount: -20_000}
	other := sent("m1", noon)
	other.Record.AccountID, other.ParentID, other.Currency = "globex-shop", "globex", "USD"
	put(t, l, noon, sent("m1", noon), sent("m2", noon.Add(time.Hour)), refund("m1", 40_000, noon.Add(24*time.Hour)),
		status("s1", "m1", "failed", noon.Add(time.Minute)), late, adjustment, other)

	list := usage(t, l, UsageQuery{Parent: "acme"})
	require.Len(t, list, 1)
	require.EqualValues(t, 3, list[0].Records)
	require.Equal(t, []string{": 3 3 0.15 0.04 0.03 -0.02 EUR"}, shorts(list))
	require.Equal(t, sum(110_000), list[0].Net())

	require.Equal(t, []string{
		"2026-11-05: 3 3 0.15 0 0.03 -0.02 EUR",
		"2026-11-06: 0 0 0 0.04 0 0 EUR",
	}, shorts(usage(t, l, UsageQuery{Parent: "acme", By: by(t, "day")})))
	require.Equal(t, []string{": 1 1 0.05 0 0.01 0 EUR"}, shorts(usage(t, l, UsageQuery{Parent: "acme", Booked: "2026-12"})))
	require.Equal(t, []string{
		": 2 2 0.1 0 0.02 -0.02 EUR",
	}, shorts(usage(t, l, UsageQuery{Parent: "acme", From: noon, To: noon.Add(time.Hour + time.Millisecond)})))
	require.Equal(t, []string{
		"acme: 3 3 0.15 0.04 0.03 -0.02 EUR",
		"globex: 1 1 0.05 0 0.01 0 USD",
	}, shorts(usage(t, l, UsageQuery{By: by(t, "parent")})))
	require.Empty(t, usage(t, l, UsageQuery{Parent: "acme", Accounts: []string{"globex-shop"}}))
	require.Empty(t, usage(t, l, UsageQuery{Parent: "nobody"}))
}

func TestUsageHasEveryDimension(t *testing.T) {
	t.Parallel()
	l := open(t)
	m := sent("m1", noon)
	m.Record.Tags = []metering.Tag{{Key: "camp'aign\\n", Value: "a\tb\\'"}}
	m.Record.ErrorCode = "30003"
	put(t, l, noon, m)
	for _, c := range []struct{ by, want string }{
		{"account", "acme-marketing"},
		{"parent", "acme"},
		{"month", "2026-11"},
		{"day", "2026-11-05"},
		{"hour", "2026-11-05T12:00:00Z"},
		{"period", "2026-11"},
		{"booked", "2026-11"},
		{"channel", "sms"},
		{"direction", "outbound"},
		{"country", "IT"},
		{"network", "22210"},
		{"category", "marketing"},
		{"unit", "segment"},
		{"currency", "EUR"},
		{"purse", "budget"},
		{"plan", "standard-eur"},
		{"plan_version", "1"},
		{"rule", "1"},
		{"status", "sent"},
		{"error_code", "30003"},
		{"tag:campaign", ""},
		{"tag:camp'aign\\n", "a\tb\\'"},
	} {
		list := usage(t, l, UsageQuery{Parent: "acme", By: by(t, c.by)})
		require.Len(t, list, 1, c.by)
		require.Equal(t, []string{c.want}, list[0].Keys, c.by)
	}
	all := by(t, "account,month,day,hour,status,tag:a,tag:b,channel")
	list := usage(t, l, UsageQuery{Parent: "acme", By: all})
	require.Equal(t, []string{"acme-marketing", "2026-11", "2026-11-05", "2026-11-05T12:00:00Z", "sent", "", "", "sms"}, list[0].Keys)
}

func TestUsageOfAnIdentityIsItsNewestEpoch(t *testing.T) {
	t.Parallel()
	l := open(t)
	again := sent("m1", noon.Add(2*time.Hour))
	again.Epoch = 2
	put(t, l, noon, again)
	put(t, l, noon, sent("m1", noon))
	put(t, l, noon, sent("m1", noon))
	require.Equal(t, []string{"2026-11-05T14:00:00Z: 1 1 0.05 0 0.01 0 EUR"}, shorts(usage(t, l, UsageQuery{Parent: "acme", By: by(t, "hour")})))
}

func TestUsageByLatestStatus(t *testing.T) {
	t.Parallel()
	l := open(t)
	plain := func(id string) Row {
		r := sent(id, noon)
		r.Record.Status = ""
		return r
	}
	put(t, l, noon,
		sent("own", noon),
		plain("none"),
		sent("two", noon), status("x1", "two", "delivered", noon.Add(time.Minute)), status("x2", "two", "failed", noon.Add(2*time.Minute)),
		sent("tie", noon), status("y1", "tie", "delivered", noon.Add(time.Minute)), status("y2", "tie", "failed", noon.Add(time.Minute)),
		sent("same", noon), status("z1", "same", "accepted", noon), // the rank decides
		plain("early"), status("e1", "early", "queued", noon.Add(-time.Hour)),
		plain("stale"), status("e2", "stale", "failed", noon.Add(-48*time.Hour)),
		sent("months", noon), status("w1", "months", "read", noon.Add(60*24*time.Hour)),
		refund("months", 40_000, noon.Add(70*24*time.Hour)),
	)
	elsewhere := status("o1", "own", "failed", noon.Add(time.Hour)) // of a sibling's message with the same id
	elsewhere.Record.AccountID = "acme-support"
	put(t, l, noon, elsewhere)

	records := func(q UsageQuery) map[string]uint64 {
		got := map[string]uint64{}
		for _, u := range usage(t, l, q) {
			got[u.Keys[0]] = u.Records
		}
		return got
	}
	day := UsageQuery{Parent: "acme", By: by(t, "status"), From: noon, To: noon.Add(time.Hour)}
	require.Equal(t, map[string]uint64{"": 2, "sent": 2, "failed": 1, "delivered": 1, "queued": 1, "read": 1}, records(day))
	require.Equal(t, records(day), records(UsageQuery{Parent: "acme", By: by(t, "status")}))

	// A refund goes with its message's, though only the refund is in the range.
	require.Equal(t, []string{"read: 0 0 0 0.04 0 0 EUR"},
		shorts(usage(t, l, UsageQuery{Parent: "acme", By: by(t, "status"), From: noon.Add(65 * 24 * time.Hour)})))
}

func TestUsageByTheDaysOfEachZone(t *testing.T) {
	t.Parallel()
	l := open(t)
	var rows []Row
	start := time.Date(2026, 10, 31, 0, 7, 0, 0, time.UTC)
	for i := range 24 * 4 * 3 {
		at := start.Add(time.Duration(i) * 15 * time.Minute)
		rows = append(rows, sent(at.Format(time.RFC3339), at))
	}
	for _, day := range []time.Time{time.Date(2026, 3, 8, 0, 1, 0, 0, time.UTC), time.Date(2026, 4, 4, 0, 1, 0, 0, time.UTC)} {
		for i := range 24 * 4 * 2 {
			at := day.Add(time.Duration(i) * 15 * time.Minute)
			rows = append(rows, sent(at.Format(time.RFC3339), at))
		}
	}
	put(t, l, noon, rows...)
	for _, name := range []string{
		"UTC", "Europe/London", "Asia/Kathmandu", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe",
		"Pacific/Chatham", "Pacific/Kiritimati", "America/St_Johns",
	} {
		zone, err := time.LoadLocation(name)
		require.NoError(t, err)
		for _, c := range []struct {
			by   string
			text func(time.Time) string
		}{
			{"day", func(at time.Time) string { return at.Format(time.DateOnly) }},
			{"month", func(at time.Time) string { return at.Format("2006-01") }},
			{"hour", func(at time.Time) string {
				_, offset := at.Zone()
				at = at.In(time.FixedZone("", offset))
				return time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), 0, 0, 0, at.Location()).Format(time.RFC3339)
			}},
		} {
			want := map[string]uint64{}
			var order []string
			for _, r := range rows {
				k := c.text(r.Record.OccurredAt.In(zone))
				want[k]++
			}
			got := map[string]uint64{}
			for _, u := range usage(t, l, UsageQuery{Parent: "acme", By: by(t, c.by), Zone: zone}) {
				got[u.Keys[0]] = u.Records
				order = append(order, u.Keys[0])
			}
			for k, n := range want {
				require.Equal(t, n, got[k], "%s %s %s", name, c.by, k)
			}
			require.Len(t, got, len(want), "%s %s", name, c.by)
			instants := make([]int64, 0, len(order))
			for _, k := range order {
				if at, err := time.Parse(time.RFC3339, k); err == nil {
					instants = append(instants, at.Unix())
				}
			}
			require.IsNonDecreasing(t, append(instants, 1<<40), "%s %s in order", name, c.by)
		}
	}
	// Two hours of the same name where the clocks go back.
	york, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	list := usage(t, l, UsageQuery{
		Parent: "acme", By: by(t, "hour"), Zone: york,
		From: time.Date(2026, 11, 1, 5, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 1, 7, 0, 0, 0, time.UTC),
	})
	require.Equal(t, []string{"2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00"}, []string{list[0].Keys[0], list[1].Keys[0]})
}

func TestParseDimensions(t *testing.T) {
	t.Parallel()
	good := func(in string, want ...Dimension) {
		got, err := ParseDimensions(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	bad := func(in, want string) {
		_, err := ParseDimensions(in)
		require.ErrorContains(t, err, want, in)
	}
	good("")
	good("account", DimAccount)
	good("account, day,tag:Campaign", DimAccount, DimDay, "tag:Campaign")
	bad("days", `unknown dimension "days": give some of account, booked`)
	bad("day,,hour", "empty name")
	bad("day,day", "named twice")
	bad("tag:", "name the tag")
	bad("account_id) FROM x --", "unknown dimension")
	require.ErrorContains(t, open(t).Usage(t.Context(), UsageQuery{By: []Dimension{"x"}}, nil), "unknown dimension")
}
