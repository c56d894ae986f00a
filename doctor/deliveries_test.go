package doctor_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports"
)

// told are accounts whose parent has a hook, and a report that goes to two places.
func told(hook string) string {
	return strings.Replace(accounts, "mode: prepaid}}", "mode: prepaid}"+hook+`,
     reports: [{name: monthly, schedule: "0 6 1 1 *", period: last_month, formats: [csv], deliver: [{to: "mailto:x@acme.example"}, {to: "s3://acme?region=eu-1&endpoint=https://s3.example"}]}]}`, 1)
}

func hookOf(url string) string {
	return fmt.Sprintf(", hooks: [{url: %q, secret_env: DOCTOR_HOOKED}]", url)
}

// TestNamesHooksThatFail, for as long as they do.
func TestNamesHooksThatFail(t *testing.T) { //nolint:paralleltest // it sets an environment variable
	t.Setenv("DOCTOR_HOOKED", "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=")
	var answer atomic.Int32
	answer.Store(http.StatusInternalServerError)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(answer.Load())) }))
	t.Cleanup(receiver.Close)
	host := strings.TrimPrefix(receiver.URL, "http://")
	p := newPatient(t)
	p.apply(t, told(hookOf(receiver.URL+"/secret-path?token=x")))
	p.work(t)
	until := func(why string, want func(said string) bool) string {
		var failed map[string]string
		require.True(t, testengine.Until(time.Minute, func() bool { failed = p.failed(t); return want(failed["hooks"]) }), "%s: %v", why, failed)
		require.LessOrEqual(t, len(failed), 1, "nothing else is wrong: %v", failed)
		return failed["hooks"]
	}
	well := func(said string) bool { return said == "" }
	ill := func(said string) bool { return said != "" }

	err := p.admin.Suspend(t.Context(), "acme", "operator", "x")
	require.NoError(t, err)
	said := until("a receiver that answers 500", ill)
	require.Regexp(t, `^of acme: webhook `+host+`: answered 500 \(try [0-9]+\): tell the receiver's owner`, said)
	require.NotContains(t, said, "secret-path")
	answer.Store(http.StatusOK)
	until("its last try succeeded", well)

	// Its hook was removed while it failed.
	answer.Store(http.StatusBadGateway)
	err = p.admin.Resume(t.Context(), "acme", "operator", "")
	require.NoError(t, err)
	until("a receiver that answers 502", ill)
	p.apply(t, told(""))
	require.NotContains(t, p.failed(t), "hooks")
	p.apply(t, told(hookOf(receiver.URL+"/other")))

	// Who says that it wants no more isn't wrong.
	err = p.admin.Suspend(t.Context(), "acme", "operator", "y")
	require.NoError(t, err)
	until("another of that server", ill)
	answer.Store(http.StatusGone)
	until("it is gone", well)
}

// TestSaysFewOfManyHooks: the first by name, and not who wasn't tried lately.
func TestSaysFewOfManyHooks(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	now := time.Now()
	for i := range 7 {
		who, at := fmt.Sprintf("p%d mail", i), now
		if i >= 5 {
			at = now.Add(-10 * time.Minute)
		}
		require.NoError(t, p.rdb.ZAdd(t.Context(), "meterd:{failing}:at", redis.Z{Score: float64(at.Add(-time.Duration(i) * time.Second).UnixMilli()), Member: who}).Err())
		require.NoError(t, p.rdb.HSet(t.Context(), "meterd:{failing}:what", who, fmt.Sprintf(`{"parent":"p%d","host":"mail","why":"mail: mx.example answered 451 (RCPT TO)","tries":3}`, i)).Err())
	}
	said := p.failed(t)["hooks"]
	require.Contains(t, said, "of p0: mail: mx.example answered 451 (RCPT TO) (try 3); of p1: ")
	require.Contains(t, said, "; and 2 more: tell")
	require.NotContains(t, said, "p3")
}

// TestNamesReportsThatFail: under way or given up, unless somebody has sent them again or
// doesn't want them any more.
func TestNamesReportsThatFail(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.apply(t, told(""))
	l := p.ledger(t, nil)
	const mailTo, bucket = "mailto:x@acme.example", "s3://acme?region=eu-1&endpoint=https://s3.example"
	now, version := time.Now().UTC(), uint64(0)
	put := func(run, name, state string, at time.Time, list ...reports.Delivery) {
		b, err := json.Marshal(reports.RunDetail{Destinations: list})
		require.NoError(t, err)
		version++
		require.NoError(t, l.InsertReportRuns(t.Context(), []ledger.ReportRun{{
			Run: run, ParentID: "acme", Name: name, Period: "2026-10", Destinations: []string{mailTo, bucket}, DueAt: at, NextAt: at, State: state, Detail: string(b), Version: version,
		}}))
	}
	said := func() string { return p.failed(t)["report deliveries"] }
	to := func(where, state string, tries int, detail string) reports.Delivery {
		return reports.Delivery{To: where, State: state, Attempts: tries, Detail: detail}
	}
	delivered := to(mailTo, ledger.RunDelivered, 1, "")
	put("r1", "monthly", ledger.RunRunning, now, delivered, to(bucket, ledger.RunPending, 1, "answered 503"))
	require.Empty(t, said(), "what the next try brings")
	put("r1", "monthly", ledger.RunRunning, now, delivered, to(bucket, ledger.RunPending, 3, "answered 503"))
	require.Regexp(t, `^report monthly of acme to s3.example: answered 503 \(try 3\): see .meterd report list.`, said())
	put("r1", "monthly", ledger.RunFailed, now, delivered, to(bucket, ledger.RunFailed, 7, "dial tcp 10.0.0.1:443: connection refused"))
	require.Contains(t, said(), "report monthly of acme to s3.example was given up: dial tcp 10.0.0.1:443: connection refused: see")
	put("r1", "monthly", ledger.RunDelivered, now, delivered, to(bucket, ledger.RunDelivered, 1, ""))
	require.Empty(t, said(), "it was sent again")

	put("r2", "monthly", ledger.RunFailed, now.Add(-25*time.Hour), to(mailTo, ledger.RunFailed, 1, "mail: answered 550"))
	put("r3", "other", ledger.RunFailed, now, to(mailTo, ledger.RunFailed, 1, "mail: answered 550"))
	gone := to(mailTo, ledger.RunFailed, 1, "gone")
	gone.Gone = true
	put("r4", "monthly", ledger.RunFailed, now, gone, to("file:elsewhere", ledger.RunFailed, 7, "no room"))
	require.Empty(t, said(), "of yesterday, of a schedule that is no more, of who wants no more, of where nothing goes any more")

	for i := range 5 {
		put(fmt.Sprintf("many%d", i), "monthly", ledger.RunFailed, now, to(mailTo, ledger.RunFailed, 1, "mail: mx.example answered 550 (RCPT TO)"))
	}
	require.Contains(t, said(), "report monthly of acme to mail was given up: mail: mx.example answered 550 (RCPT TO); ")
	require.Contains(t, said(), "; and 2 more: see")
	require.NotContains(t, said(), "x@acme")
}
