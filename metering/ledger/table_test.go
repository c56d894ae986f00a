package ledger

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestTablesFitTheSchema: a row by each table is taken, and its columns are those of the
// table that the migrations made.
func TestTablesFitTheSchema(t *testing.T) {
	t.Parallel()
	l := open(t)
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	transfer := &TransferRow{
		Transfer: metering.Transfer{Ref: "r", Kind: metering.TransferTopup, ParentID: "acme", AccountID: "acme", Amount: 1, Currency: "EUR"}, At: now,
	}
	tables := []func(ctx context.Context) error{
		takes(l, alertsTable(), AlertRow{At: now}),
		takes(l, breakersTable(), Breaker{At: now}),
		takes(l, catalogTable(1, now), document{}),
		takes(l, closingsBegunTable(), Closing{AsOf: now, Start: now, End: now}),
		takes(l, looksTable(), looked{Undecided{Due: now, Arrived: now}, 1}),
		takes(l, findingsTable(), Finding{At: now}),
		takes(l, acksTable("operator", "", now), "id"),
		takes(l, dirtyHoursTable(now), localHour{"acme", now}),
		takes(l, quarantineTable(), Entry{QuarantinedAt: now}),
		takes(l, waitsTable(), Waiting{Since: now}),
		takes(l, signedWaitsTable(1), Waiting{Since: now}),
		takes(l, reportRunsTable(), ReportRun{DueAt: now, NextAt: now}),
		takes(l, reratesTable(), Rerate{At: now}),
		takes(l, rerateRunsTable(), RerateRun{BegunAt: now}),
		takes(l, statesTable(), StateRow{At: now}),
		takes(l, deliveriesTable(), Delivery{At: now}),
		takes(l, epochsTable(), epochRow{at: now}),
		takes(l, closedLinesTable(ParentMonth{"acme", "2026-11"}, "acme"), 7),
		takes(l, transfersTable(), transferSide{TransferRow: transfer}),
	}
	for _, insert := range tables {
		require.NoError(t, insert(t.Context()))
	}
	require.Len(t, tables, tablesInSource(t), "each table is tried here")
}

func takes[T any](l *Ledger, tb *table[T], row T) func(ctx context.Context) error {
	return func(ctx context.Context) error { return tb.insert(ctx, l, []T{row}) }
}

// tablesInSource counts the functions that make a table.
func tablesInSource(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	n := 0
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		n += len(regexp.MustCompile(`(?m)^func [a-z]\w*Table\(`).FindAll(b, -1))
	}
	return n
}
