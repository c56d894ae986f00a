package worker

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
	"github.com/meterd/meterd/reports/finance"
	"github.com/meterd/meterd/worker/workertest"
)

// papers are the reports and exports of a parent's month, by kind.
func (h *harness) papers(parent, period string) (map[string]string, error) {
	h.TB.Helper()
	t := h.TB
	_, err := h.Snapshots.Refresh(t.Context())
	require.NoError(t, err)
	out := map[string]string{}
	read := func(name, path string) {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		out[name] = string(b)
	}
	r := reports.NewReporter(reports.Deps{Ledger: h.Ledger, Snapshot: h.Snapshots.Current, States: ReportStates(h.Store, h.Clock), Clock: h.Clock})
	for _, kind := range []string{"statement", "messages", "wallet"} {
		files, err := r.Run(t.Context(), reports.Request{Parent: parent, Period: period, Kind: kind, Formats: []string{"csv", "json"}, Out: t.TempDir()})
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			read(kind+" "+filepath.Base(f.Path), f.Path)
		}
	}
	for _, format := range []string{"csv", "focus"} {
		to := filepath.Join(t.TempDir(), format)
		if _, err := finance.New(finance.Deps{Ledger: h.Ledger, Snapshot: h.Snapshots.Current(), Clock: h.Clock}).Run(t.Context(), finance.Request{
			Parent: parent, From: period, To: period, Format: format, Out: to,
		}); err != nil {
			return nil, err
		}
		read(format, to)
	}
	return out, nil
}

// hours of an account: what it has used in each.
func (h *harness) hours(account string) map[string]string {
	h.TB.Helper()
	by, err := ledger.ParseDimensions("hour,channel")
	require.NoError(h.TB, err)
	out := map[string]string{}
	require.NoError(h.TB, h.Ledger.Usage(h.TB.Context(), ledger.UsageQuery{Accounts: []string{account}, By: by}, func(u *ledger.UsageLine) error {
		out[fmt.Sprint(u.Keys)] = fmt.Sprint(u.Records, u.Net(), u.Adjustments)
		return nil
	}))
	return out
}

// ids of an account's rows.
func (h *harness) ids(account string) (out []string) {
	h.TB.Helper()
	require.NoError(h.TB, h.Engines.ClickHouse(h.TB).QueryRow(h.TB.Context(),
		"SELECT arraySort(groupArray(concat(toString(kind), ' ', id))) FROM records FINAL WHERE account_id = ? AND kind != 'status'", account).Scan(&out))
	return out
}

// TestRetentionByBill: rows go with their bill, so that what is kept of a closed month
// keeps its bytes though late records and refunds of it are of a month that is gone.
// What is refunded stays so, usage stays, and rows that go missing are still found.
func TestRetentionByBill(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"America/St_Johns", "Asia/Kolkata"} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.Apply(strings.Replace(movingAccounts, "Europe/Rome", zone, 1))
			stop := h.work(Options{})
			h.transfer("top", metering.TransferTopup, "mover", 1_000_000)
			h.KnowsAccounts()
			old, next, cur := h.monthsAgo("mover", 4), h.monthsAgo("mover", 3), h.monthsAgo("mover", 0)
			mid := next.Start.Add(48 * time.Hour).UTC()
			edge := time.Date(mid.Year(), mid.Month(), 1, 0, 0, 0, 0, time.UTC) // of old's and next's months of UTC
			refund := func(id string, at time.Time) string {
				return workertest.Line("mover", "r-"+id, time.Since(at), fmt.Sprintf(`,"kind":"refund","refers_to":%q`, id))
			}
			told := func(id, status string, at time.Time) string {
				return workertest.Line("mover", "s-"+id, time.Since(at), fmt.Sprintf(`,"kind":"status","refers_to":%q,"status":%q`, id, status))
			}
			lines := []string{
				messageAt("mover", "old", old.Start.Add(30*time.Hour)),
				workertest.Line("mover", "refunded", time.Since(old.End.Add(-20*time.Hour)), `,"units":3,"unit":"segment","tags":{"campaign":"x"},"to":"+393331234567"`),
				messageAt("mover", "early", edge.Add(3*time.Hour)),
				messageAt("mover", "young", next.Start.Add(50*time.Hour)),
			}
			for i := range 8 { // hours that touch two months of UTC, or two of the parent
				lines = append(lines, messageAt("mover", fmt.Sprint("edge", i), edge.Add(time.Duration(i-4)*10*time.Minute)),
					messageAt("mover", fmt.Sprint("start", i), next.Start.Add(time.Duration(i-4)*10*time.Minute)))
			}
			h.Batch().Task(append(lines, told("old", "delivered", old.Start.Add(31*time.Hour)))...).Wait()
			h.Batch().Task(refund("refunded", next.Start.Add(30*time.Hour)), refund("early", edge.Add(-24*time.Hour))).Wait()
			h.closing("mover", old)
			h.Batch().Task(messageAt("mover", "late", old.Start.Add(50*time.Hour)), told("late", "delivered", old.Start.Add(51*time.Hour))).Wait()
			h.closing("mover", next)
			// The present month is over by a clock that is ahead.
			_, err := admin.NewCloser(h.Ledger, h.Store, h.Snapshots, clock.NewFake(cur.End.Add(96*time.Hour)), h.Log, h.Projector.Ensure).CloseMonth(t.Context(), "mover", cur.Name, nil)
			require.NoError(t, err)
			h.rollUp()
			papers := map[string]map[string]string{}
			for _, period := range []string{next.Name, cur.Name} {
				papers[period], err = h.papers("mover", period)
				require.NoError(t, err)
			}
			hours, balance0 := h.hours("mover"), h.balanceOf("mover")

			keep := admin.Retention{Rows: time.Since(edge.Add(48 * time.Hour))}
			for range 2 { // again is harmless
				require.NoError(t, h.Admin.Retain(t.Context(), keep, h.Log))
				left := h.ids("mover")
				assert.NotContains(t, left, "usage old")
				for _, id := range []string{"usage refunded", "refund refunded", "usage early", "refund early", "usage late", "usage young"} {
					assert.Contains(t, left, id)
				}
				var statuses []string
				require.NoError(t, h.Engines.ClickHouse(t).QueryRow(t.Context(), "SELECT arraySort(groupUniqArray(message_id)) FROM statuses").Scan(&statuses))
				assert.Equal(t, []string{"late"}, statuses, "those of messages that stay")
				for period, before := range papers {
					after, err := h.papers("mover", period)
					require.NoError(t, err, period)
					assert.Equal(t, before, after, period)
				}
				assert.Equal(t, hours, h.hours("mover"))
			}
			assert.Zero(t, h.Reconcile())
			for by, rows := range map[string]bool{"hour,channel": false, "status": true} {
				d, err := ledger.ParseDimensions(by)
				require.NoError(t, err)
				asked := false
				require.NoError(t, h.Ledger.Usage(t.Context(), ledger.UsageQuery{Accounts: []string{"mover"}, By: d, OnRows: func() { asked = true }}, func(*ledger.UsageLine) error { return nil }))
				assert.Equal(t, rows, asked, "%s is known of what is gone only if rollups tell", by)
			}
			f, err := admin.ParseAccountsFile("a.yaml", []byte(strings.NewReplacer("Europe/Rome", zone, "module: enterprise", "module: reseller").Replace(movingAccounts)))
			require.NoError(t, err)
			impact, err := h.Admin.Impact(t.Context(), f, 1000)
			require.NoError(t, err)
			assert.Equal(t, edge, impact.Since, "of what is there")
			_, err = h.papers("mover", old.Name)
			require.ErrorIs(t, err, reports.ErrGone)

			assert.Equal(t, balance.Counts{Stored: 1, Duplicates: 1}, h.Batch().Task(
				messageAt("mover", "behind", edge.Add(10*time.Minute)), workertest.Line("mover", "again", 0, `,"kind":"refund","refers_to":"early"`)).Wait())
			assert.Equal(t, balance0-10_000, h.balanceOf("mover"), "refunded once")
			// Its hours are rolled anew out of whole hours, once what was rolled ahead of time is old.
			marked := h.Snapshots.Current().Accounts["mover"].Calendar.Hour(edge.Add(10 * time.Minute))
			require.NoError(t, h.Engines.ClickHouse(t).Exec(t.Context(), "INSERT INTO dirty_hours VALUES ('mover', ?, now64(3) + INTERVAL 1 HOUR)", marked))
			for _, rolled := range []bool{false, true} {
				if rolled {
					later := time.Now().Add(2 * time.Hour)
					due, err := h.Ledger.DueHours(t.Context(), time.Time{}, later)
					require.NoError(t, err)
					require.NotEmpty(t, due)
					require.NoError(t, h.Ledger.RollHours(t.Context(), due, later))
				}
				now := h.hours("mover")
				changed := slices.DeleteFunc(slices.Collect(maps.Keys(hours)), func(k string) bool { return now[k] == hours[k] })
				assert.Len(t, changed, 1, "the hour of the record that has come, not what is gone")
			}
			h.Reconcile() // books what has come since the present month was closed ahead of time
			assert.Zero(t, h.Reconcile())
			stop()
			require.NoError(t, h.Engines.ClickHouse(t).Exec(t.Context(), "DELETE FROM records WHERE id = 'young'"))
			assert.NotZero(t, h.Reconcile(), "a row of a month that is kept is gone")

			require.NoError(t, h.Admin.Retain(t.Context(), admin.Retention{Rows: time.Since(next.End.Add(15 * 24 * time.Hour))}, h.Log))
			left := h.ids("mover")
			for _, id := range []string{"usage refunded", "refund refunded", "usage early", "refund early"} {
				assert.NotContains(t, left, id, "it goes with the last bill that it is in")
			}
			assert.Contains(t, left, "usage late")
		})
	}
}
