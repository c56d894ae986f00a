package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
	"github.com/meterd/meterd/sql"
	"github.com/meterd/meterd/worker/workertest"
)

// sql runs a statement by hand.
func (h *harness) sql(format string, args ...any) {
	h.TB.Helper()
	require.NoError(h.TB, h.Engines.ClickHouse(h.TB).Exec(h.TB.Context(), fmt.Sprintf(format, args...)))
}

// lands puts a row beside a message's, as an insert would that took too long.
func (h *harness) lands(id, like string, epoch int) {
	h.TB.Helper()
	h.sql(`INSERT INTO records SELECT * REPLACE ('%s' AS id, %d AS epoch, content_hash + 1 AS content_hash) FROM records AS r FINAL WHERE r.id = '%s' AND r.kind = 'usage'`, id, epoch, like)
}

// auditor's digest of a month: ClickHouse's own lines, and SHA-256.
func (h *harness) auditor(parent, period string) string {
	h.TB.Helper()
	e := h.Engines
	q := url.Values{"user": {e.ClickHouseUser}, "password": {e.ClickHousePassword}, "param_parent": {parent}, "param_booked": {period}}
	text := strings.ReplaceAll(sql.Query("bill_lines"), "{db}", e.Database) + " FORMAT TabSeparated"
	req, err := http.NewRequestWithContext(h.TB.Context(), http.MethodPost,
		e.ClickHouseURL+"/?do_not_merge_across_partitions_select_final=1&"+q.Encode(), strings.NewReader(text))
	require.NoError(h.TB, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(h.TB, err)
	defer func() { _ = resp.Body.Close() }()
	sum := sha256.New()
	_, err = io.Copy(sum, resp.Body)
	require.NoError(h.TB, err)
	require.Equal(h.TB, http.StatusOK, resp.StatusCode)
	return hex.EncodeToString(sum.Sum(nil))
}

// report of a month, each reader's, as one text.
func (h *harness) report(parent, period string) string {
	h.TB.Helper()
	r := reports.NewReporter(reports.Deps{Ledger: h.Ledger, Snapshot: h.Snapshots.Current, States: ReportStates(h.Store, h.Clock), Clock: h.Clock})
	var out []byte
	for _, reader := range append([]string{parent}, h.Snapshots.Current().Subs[parent]...) {
		st, _, err := r.Build(h.TB.Context(), reports.Request{Parent: parent, Audience: reader, Period: period})
		require.NoError(h.TB, err)
		b, err := json.Marshal(st)
		require.NoError(h.TB, err)
		out = append(out, b...)
	}
	return string(out)
}

// findings of a kind: what they name.
func (h *harness) findings(kind string) map[string]string {
	h.TB.Helper()
	return h.pairs(`SELECT account_id || ' ' || field, expected FROM findings WHERE kind = '` + kind + `'`)
}

// pairs of texts that a query gives.
func (h *harness) pairs(query string) map[string]string {
	h.TB.Helper()
	rows, err := h.Engines.ClickHouse(h.TB).Query(h.TB.Context(), query)
	require.NoError(h.TB, err)
	defer func() { require.NoError(h.TB, rows.Close()) }()
	out := map[string]string{}
	for rows.Next() {
		var key, value string
		require.NoError(h.TB, rows.Scan(&key, &value))
		out[key] = value
	}
	require.NoError(h.TB, rows.Err())
	return out
}

// TestStragglersAreRebooked: rows that land in a closed month, of its own epoch
// and seq or of an older epoch, are booked in the open one, each a finding.
func TestStragglersAreRebooked(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{ReconcileEvery: time.Hour})
	h.KnowsAccounts()
	h.transfer("top", metering.TransferTopup, "acme", 1_000_000)
	h.transfer("budget", metering.TransferAllocate, "acme-own", 200_000)
	last, now := h.monthsAgo("acme", 1), h.monthsAgo("acme", 0)
	var lines []string
	for i := range 20 {
		at := last.Start.Add(time.Duration(i+3) * time.Hour)
		lines = append(lines, messageAt("acme-own", fmt.Sprint("o", i), at), messageAt("acme-shared", fmt.Sprint("s", i), at))
	}
	lines = append(lines, workertest.Message("acme-own", "new", time.Second))
	require.EqualValues(t, len(lines), h.Batch().Task(lines...).Wait().Stored)
	h.rollUp()
	closed := h.closing("acme", last)
	require.Zero(t, h.Reconcile())
	before := h.report("acme", last.Name)
	require.Equal(t, closed.Digest, h.auditor("acme", last.Name))

	h.lands("late-own", "o3", 1)
	h.lands("late-older", "o4", 0)
	h.lands("late-shared", "s5", 1)
	require.NotEqual(t, closed.Digest, h.auditor("acme", last.Name))
	require.Positive(t, h.Reconcile())
	assert.Zero(t, h.Reconcile(), "once")

	name := now.Name
	assert.Equal(t, map[string]string{
		"acme-own usage late-own": name, "acme-own usage late-older": name, "acme-shared usage late-shared": name,
	}, h.findings("closed_month_straggler"))
	assert.Empty(t, h.findings("closed_month_changed"))
	assert.Equal(t, closed.Digest, h.auditor("acme", last.Name), "the month has its own lines again")
	assert.Equal(t, before, h.report("acme", last.Name), "its reports keep their bytes")
	assert.Equal(t, *closed, *h.closing("acme", last))
	m := h.months("acme")
	assert.Equal(t, ledger.Month{ParentID: "acme", Period: last.Name, Records: 40, Amount: sum(40 * workertest.Price)}, m[last.Name])
	assert.Equal(t, ledger.Month{ParentID: "acme", Period: now.Name, Records: 4, Amount: sum(workertest.Price), Adjustments: sum(3 * workertest.Price)}, m[now.Name])
	for account, want := range map[string]metering.Micros{"acme-own": 200_000 - 23*workertest.Price, "acme": 800_000 - 21*workertest.Price} {
		st, err := h.Store.State(t.Context(), account)
		require.NoError(t, err)
		assert.Equal(t, want, st.Balance, account)
	}
	h.rollUp()
	assert.Equal(t, before, h.report("acme", last.Name), "after the hours are rolled anew too")

	again := h.Batch().Task(messageAt("acme-own", "o3", last.Start.Add(6*time.Hour))).Wait()
	assert.Equal(t, balance.Counts{Duplicates: 1}, again)
	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	assert.Zero(t, h.Reconcile(), "a rebuild has them too")
}

// TestAChangedClosedMonthIsToldOf: what no rebooking mends is left as it is.
func TestAChangedClosedMonthIsToldOf(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{ReconcileEvery: time.Hour})
	h.KnowsAccounts()
	last := h.monthsAgo("globex", 1)
	at := last.Start.Add(3 * time.Hour)
	h.Batch().Task(messageAt(workertest.Shop, "a", at), messageAt(workertest.Shop, "b", at), messageAt(workertest.Shop, "c", at)).Wait()
	closed := h.closing("globex", last)
	h.lands("late", "a", 1)
	// Somebody changed a line: which rows are the month's is no longer certain.
	h.sql(`INSERT INTO records SELECT * REPLACE (amount + 1 AS amount, epoch + 1 AS epoch) FROM records AS r FINAL WHERE r.id = 'b'`)
	assert.Equal(t, 1, h.Reconcile())
	assert.Equal(t, map[string]string{"globex " + last.Name: closed.Digest}, h.findings("closed_month_changed"))
	assert.Empty(t, h.findings("closed_month_straggler"))
	assert.EqualValues(t, 4, h.months("globex")[last.Name].Records, "nothing was moved")
}

// TestWhatLandsBehindARebuildIsSoonKnown, though reconciling is far between: a row of
// the projection before, which the rebuild didn't read.
func TestWhatLandsBehindARebuildIsSoonKnown(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.work(Options{ReconcileEvery: time.Hour})
	h.KnowsAccounts()
	require.EqualValues(t, 1, h.Batch().Task(workertest.Message(workertest.Shop, "before", time.Second)).Wait().Stored)
	used := h.Used(workertest.Shop)
	require.NoError(t, h.Projector.Rebuild(t.Context(), 0, "test"))
	require.Equal(t, used, h.Used(workertest.Shop))
	h.lands("late", "before", 1)
	h.Eventually("it is known", func() bool { return h.Used(workertest.Shop) == 2*used })
	assert.Zero(t, h.Reconcile())
}
