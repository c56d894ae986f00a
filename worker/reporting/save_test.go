package reporting

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/panics"
	"github.com/meterd/meterd/metering/ledger"
)

// An insert that panics is an error of those who wait for it, and nobody else's.
func TestASaveThatPanicsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stored := 0
		s := runSaver{insert: func(_ context.Context, list []ledger.ReportRun) error {
			if list[0].Run == "broken" {
				panic("no such column")
			}
			stored += len(list)
			return nil
		}}
		var p *panics.Error
		require.ErrorAs(t, s.save(t.Context(), ledger.ReportRun{Run: "broken"}), &p)
		require.NoError(t, s.save(t.Context(), ledger.ReportRun{Run: "whole"}))
		require.Equal(t, 1, stored)
	})
}
