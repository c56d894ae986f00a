package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// due stores a report of each audience, of a month that is closed, to be brought
// to a folder of its own. It returns the folder.
func (r *rig) due(name, period string) string {
	r.t.Helper()
	dir := r.t.TempDir()
	at := time.Now().UTC().Add(-time.Minute).Truncate(time.Second)
	var list []ledger.ReportRun
	for _, audience := range []string{"parent", "rom-budget"} {
		list = append(list, ledger.ReportRun{
			Run: reports.RunID("rom", name, audience, at), ParentID: "rom", Name: name, Audience: audience, Period: period,
			Formats: []string{reports.FormatCSV, reports.FormatPDF}, Destinations: []string{"file:" + dir},
			DueAt: at, NextAt: at, State: ledger.RunPending, Version: 1,
		})
	}
	require.NoError(r.t, r.sys.Ledger.InsertReportRuns(r.t.Context(), list))
	return dir
}

// delivered waits until every run is, and returns what lies in a folder.
func (r *rig) delivered(dir string) map[string]string {
	r.t.Helper()
	r.eventually("all reports are delivered", 2*time.Minute, func() (bool, string) {
		var left uint64
		err := r.ch.QueryRow(r.t.Context(), "SELECT count() FROM report_runs FINAL WHERE state != 'delivered'").Scan(&left)
		return err == nil && left == 0, fmt.Sprint(left, " aren't ", err)
	})
	list, err := os.ReadDir(dir)
	require.NoError(r.t, err)
	out := map[string]string{}
	for _, f := range list {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(r.t, err)
		out[f.Name()] = string(b)
	}
	return out
}

// TestKilledWhileReportsGoOut: a worker is killed while it reads, makes and
// delivers reports, before and after each word of it is kept, while records come
// in. What lies there in the end is what an undisturbed worker brings, byte by
// byte, and nothing else.
func TestKilledWhileReportsGoOut(t *testing.T) {
	t.Parallel()
	r := begun(t, 54, "worker killed while reports are made and delivered")
	_, err := r.sys.Snapshots.Refresh(t.Context())
	require.NoError(t, err)
	month := r.sys.Snapshots.Current().Accounts["rom"].Calendar.Of(time.Now().AddDate(0, 0, -160))
	r.outdated("rom", month, pick(40, 400))

	undisturbed := r.due("undisturbed", month.Name)
	stop := r.worker(r.alone(), nil)
	want := r.delivered(undisturbed)
	stop()
	require.Len(t, want, 4)

	disturbed := r.due("disturbed", month.Name)
	sent := r.send(r.lines(pick(200, 2000)), 20*time.Millisecond)
	a := r.alone()
	for _, d := range pick([]death{{"-- activity:", false}, {"report_runs (run", true}}, []death{
		{"-- activity:", false}, {"-- activity:", true}, {"report_runs (run", false}, {"report_runs (run", true}, {"report_runs (run", false},
	}) {
		a.Death = &d
		r.dies(a)
	}
	a.Death = nil
	r.worker(a, nil)
	assert.Equal(t, want, r.delivered(disturbed))
	sent.wait()
	r.settle()
}
