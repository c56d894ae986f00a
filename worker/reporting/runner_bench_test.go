package reporting

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// What a look costs while 1,000 runs wait: one when nothing is due, which comes
// each second, and one that looks for runs without a task, each 30 s.
func BenchmarkDueWithRunsPending(b *testing.B) {
	s := newScheduled(b, metering.Schedule{Name: "x", Cron: "0 0 1 1 *", Period: reports.PeriodLastMonth, Formats: []string{"csv"}})
	now := s.clock.Now()
	list := make([]ledger.ReportRun, 1000)
	for i := range list {
		list[i] = ledger.ReportRun{Run: fmt.Sprintf("%024d", i), ParentID: "acme", Audience: "parent", DueAt: now, NextAt: now, State: ledger.RunPending, Version: 1}
	}
	require.NoError(b, s.runner.begin(b.Context(), list))
	require.NoError(b, s.runner.Due(b.Context()))
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, s.runner.Due(b.Context()))
		}
	})
	b.Run("sweep", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, s.runner.sweep(b.Context(), now.Add(time.Hour)))
		}
	})
}
