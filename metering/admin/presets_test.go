package admin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

func TestPresets(t *testing.T) {
	t.Parallel()
	const head = `
plans: [{id: a, currency: EUR, versions: [{effective_from: 2026-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "1"}]}]}]
parents:
  - {id: p, module: reseller, timezone: Europe/Rome, plan: a, funding: {mode: prepaid}, reports: [{name: x, formats: [csv], deliver: ["mailto:a@x.example,b@x.example"], schedule: `
	for text, want := range map[string]metering.Schedule{
		"daily}]}":                        {Cron: "0 6 * * *", Period: "yesterday"},
		"weekly}]}":                       {Cron: "0 6 * * 1", Period: "last_week"},
		"monthly}]}":                      {Cron: "0 6 1 * *", Period: "last_month"},
		`"@daily"}]}`:                     {Cron: "@daily", Period: "yesterday"},
		`"30 7 * * *"}]}`:                 {Cron: "30 7 * * *", Period: "last_month"},
		"daily, period: month_to_date}]}": {Cron: "0 6 * * *", Period: "month_to_date"},
	} {
		f, err := ParseAccountsFile("a.yaml", []byte(head+text))
		require.NoError(t, err, text)
		changes, err := f.Plan(nil, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
		require.NoError(t, err)
		got := changes.Accounts[0].Reports[0]
		require.Equal(t, []string{want.Cron, want.Period}, []string{got.Cron, got.Period}, text)
		require.Equal(t, []string{"mailto:a@x.example", "mailto:b@x.example"}, got.Deliver, "each address has an outcome of its own")
	}
}
