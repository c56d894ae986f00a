package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/traffic"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/ledger"
)

// death is a statement to ClickHouse at which a process is killed: before it is
// sent, or when it is done and the answer is on its way.
type death struct {
	Statement string
	Done      bool
}

// dying is the transport of such a process.
type dying struct {
	death
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (d dying) RoundTrip(req *http.Request) (*http.Response, error) {
	meant := strings.Contains(req.URL.Query().Get("query"), d.Statement) // of an insert
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		meant = meant || strings.Contains(string(text), d.Statement)
	}
	if meant && !d.Done {
		die()
	}
	res, err := d.next.RoundTrip(req)
	if meant && err == nil && res.StatusCode == http.StatusOK {
		die()
	}
	return res, err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

// outdated sends messages of a month that is long over and closes it for their
// parent. It returns their lines.
func (r *rig) outdated(parent string, month metering.Period, n int) []string {
	r.t.Helper()
	var lines, all []string
	for i := 0; len(lines) < n; i++ {
		m := r.work.Message()
		all = append(all, m.Line())
		r.oracle.Take(m)
		if a := r.book.Account(m.AccountID); a == nil || a.Parent != parent {
			continue
		}
		old := *m
		old.ID, old.At = fmt.Sprint("outdated-", i), month.Start.Add(time.Duration(48+i%500)*time.Hour)
		old.OccurredAt = old.At.UTC().Format(time.RFC3339)
		if r.oracle.Take(&old) == traffic.Stored {
			lines = append(lines, old.Line())
		}
		all = append(all, old.Line())
	}
	stop := r.worker(r.direct(), nil)
	r.send(all, 0).wait()
	r.drain()
	stop()
	closer := admin.NewCloser(r.sys.Ledger, r.sys.Store, r.sys.Snapshots, r.sys.Clock, r.sys.Log, r.sys.Projector.Ensure)
	_, err := closer.CloseMonth(r.t.Context(), parent, month.Name, nil)
	require.NoError(r.t, err)
	later := time.Now().Add(10 * time.Minute)
	due, err := r.sys.Ledger.DueHours(r.t.Context(), time.Time{}, later)
	require.NoError(r.t, err)
	require.Less(r.t, len(due), ledger.DueMax, "all that are")
	due = slices.DeleteFunc(due, func(h ledger.AccountHour) bool { return !h.Hour.Before(month.End) })
	require.NoError(r.t, r.sys.Ledger.RollHours(r.t.Context(), due, later))
	return lines
}

// TestKilledWhileRowsAndNumbersGo: retention is cut off at each of its steps
// and goes on in the next worker. Rows of a closed month go with their bill's
// figures kept; numbers go from rows that stay; records still come in.
func TestKilledWhileRowsAndNumbersGo(t *testing.T) {
	t.Parallel()
	r := begun(t, 53, "worker killed while rows and phone numbers past their retention go")
	_, err := r.sys.Snapshots.Refresh(t.Context())
	require.NoError(t, err)
	calendar := r.sys.Snapshots.Current().Accounts["rom"].Calendar
	month := calendar.Of(time.Now().AddDate(0, 0, -160))
	next := calendar.Of(month.End)
	lines := r.outdated("rom", month, pick(40, 400))
	closings := func() any {
		list, err := r.sys.Ledger.Closings(t.Context(), "rom")
		require.NoError(t, err)
		require.NotEmpty(t, list)
		return list
	}
	closed := closings()

	a := r.alone()
	a.Keep = admin.Retention{Rows: time.Since(next.Start.Add(48 * time.Hour)), Numbers: 40 * 24 * time.Hour}
	sent := r.send(r.lines(pick(200, 2000)), 20*time.Millisecond)
	for _, d := range []death{
		{"UPDATE recipient = ''", false}, {"UPDATE recipient = ''", true}, {"DELETE IN PARTITION", false}, {"DELETE IN PARTITION", true}, {"statuses DELETE", false}, {"closed_lines DELETE", false},
	} {
		a.Death = &d
		r.dies(a)
	}
	a.Death = nil
	r.worker(a, nil)
	sent.wait()
	r.eventually("the closed month's rows and old numbers are gone", time.Minute, func() (bool, string) {
		var rows, numbers uint64
		err := r.ch.QueryRow(t.Context(), fmt.Sprintf(
			"SELECT countIf(id LIKE 'outdated-%%'), countIf((recipient != '' OR sender != '') AND occurred_at < now() - INTERVAL %d HOUR) FROM records", 41*24)).Scan(&rows, &numbers)
		return err == nil && rows+numbers == 0, fmt.Sprint(rows, " rows, ", numbers, " with numbers ", err)
	})
	for k := range r.oracle.Content {
		if strings.Contains(k, "outdated-") { // charged as before, and no row any more
			delete(r.oracle.Content, k)
			delete(r.oracle.Rows, k)
		}
	}
	for _, line := range lines {
		r.oracle.Refused[line] = string(metering.ReasonTooOld)
	}
	r.send(lines, 0).wait()
	r.settle()
	assert.Equal(t, closed, closings(), "what is closed stays")
}
