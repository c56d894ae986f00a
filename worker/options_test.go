package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/worker/reporting"
)

// TestOptions that a worker can't work with are named, and the defaults aren't among them.
func TestOptions(t *testing.T) {
	t.Parallel()
	require.NoError(t, Options{}.withDefaults().Validate(24*time.Hour))
	for option, o := range map[string]Options{
		"Shards":                 {Shards: 257},
		"Concurrency":            {Concurrency: -1},
		"WaitMax":                {WaitMax: -time.Second},
		"StatusWaitMax":          {StatusWaitMax: time.Hour},
		"ReconcileEvery":         {ReconcileEvery: -1},
		"CloseGrace":             {CloseGrace: 24*time.Hour - 1},
		"Retention.Rows":         {Retention: admin.Retention{Rows: 61 * 24 * time.Hour}},
		"Retention.Numbers":      {Retention: admin.Retention{Numbers: -1}},
		"BreakerAccounts":        {BreakerAccounts: -1},
		"BreakerShare":           {BreakerShare: 101},
		"Roles":                  {Roles: []string{RoleIngest, "report"}},
		"Reports.AttachMax":      {Reports: reporting.Options{AttachMax: 1001 << 20}},
		"Reports.DeliverTimeout": {Reports: reporting.Options{DeliverTimeout: time.Millisecond}},
		"Reports.Builds":         {Reports: reporting.Options{Builds: -1}},
	} {
		var bad *OptionError
		require.ErrorAs(t, o.withDefaults().Validate(24*time.Hour), &bad, option)
		require.Equal(t, option, bad.Option)
	}
}
