package reports_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/destination"
	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/reports"
	"github.com/meterd/meterd/worker"
	"github.com/meterd/meterd/worker/reporting"
)

func TestMain(m *testing.M) { testengine.Main(m) }

// parentsEnv says how many parents are due at once; the published figures are of
// 1,000.
const parentsEnv = "METERD_BENCH_PARENTS"

func parents(tb testing.TB) int {
	tb.Helper()
	if text := os.Getenv(parentsEnv); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(tb, err)
		return n
	}
	return 100
}

// ahead is the machine's clock, a fixed time in the future.
type ahead time.Duration

// Now implements clock.Clock.
func (a ahead) Now() time.Time { return time.Now().Add(time.Duration(a)) }

// rig is engines with parents that are all due at the same minute.
type rig struct {
	tb  testing.TB
	e   *testengine.Engines
	dir string
}

func (r *rig) deps(c clock.Clock) worker.Deps {
	r.tb.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: r.e.RedisAddr, Password: r.e.RedisPassword, PoolSize: 64})
	r.tb.Cleanup(func() { _ = rdb.Close() })
	l, err := ledger.Open(ledger.Options{
		URL: r.e.ClickHouseAddress(), Password: r.e.ClickHousePassword, Database: r.e.Database,
	})
	require.NoError(r.tb, err)
	r.tb.Cleanup(func() { _ = l.Close() })
	log := slog.New(slog.DiscardHandler)
	s := balance.New(rdb, 1)
	return worker.Deps{
		Redis: rdb, Store: s, Ledger: l, Snapshots: admin.NewSnapshots(l, s, c), Clock: c, Log: log, Metrics: prometheus.NewRegistry(),
		Projector: reconcile.New(s, l, c, log, reconcile.Options{Durable: true, Buckets: 16}),
	}
}

// start runs a worker until the test, or stop, ends it.
func (r *rig) start(c clock.Clock, o worker.Options) (stop func()) {
	r.tb.Helper()
	w, err := worker.New(r.deps(c), o)
	require.NoError(r.tb, err)
	ctx, cancel := context.WithCancel(r.tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(r.tb, <-ended) // bounded by the worker's own stop
		}
	}
	r.tb.Cleanup(stop)
	select {
	case <-w.Ready():
	case <-time.After(time.Minute):
		r.tb.Fatal("the worker isn't ready")
	}
	return stop
}

// seed applies n parents with three sub-accounts each, whose reports are due at
// an instant, and some usage.
func (r *rig) seed(d worker.Deps, n int, due time.Time, deliver func(i int) string) {
	r.tb.Helper()
	var text strings.Builder
	text.WriteString("plans:\n  - {id: flat, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: \"0.01\"}]}]}\nparents:\n")
	for i := range n {
		fmt.Fprintf(&text, "  - id: p%d\n    module: enterprise\n    timezone: UTC\n    plan: flat\n    funding: {mode: postpaid}\n"+
			"    reports: [{name: daily, schedule: \"%d %d * * *\", period: yesterday, formats: [html, csv], deliver: [%s]}]\n    sub_accounts:\n",
			i, due.Minute(), due.Hour(), deliver(i))
		for s := range 3 {
			fmt.Fprintf(&text, "      - {id: p%d-s%d, channels: [sms]}\n", i, s)
		}
	}
	file, err := admin.ParseAccountsFile("accounts.yaml", []byte(text.String()))
	require.NoError(r.tb, err)
	_, err = admin.NewService(d.Ledger, d.Store, d.Snapshots, d.Clock, d.Projector.Ensure).Apply(r.tb.Context(), file, false)
	require.NoError(r.tb, err)

	stop := r.start(clock.System(), worker.Options{Alone: true})
	defer stop()
	run := uuid.NewString()
	c, err := jobs.NewClient(d.Redis, jobs.ClientOptions{Run: run})
	require.NoError(r.tb, err)
	now := clock.System().Now().UTC().Add(-time.Second).Format(time.RFC3339)
	lines := int64(0)
	for i := range n {
		for s := range 3 {
			for m := range 5 {
				line := fmt.Sprintf(`{"id":"m%d","account_id":"p%d-s%d","channel":"sms","occurred_at":%q,"status":"delivered"}`, m, i, s, now)
				require.NoError(r.tb, c.Add(r.tb.Context(), []byte(line)))
				lines++
			}
		}
	}
	require.NoError(r.tb, c.Close(r.tb.Context()))
	require.Eventually(r.tb, func() bool {
		counts, err := d.Store.RunCounts(r.tb.Context(), run)
		return err == nil && counts.Stored >= lines
	}, time.Minute, 100*time.Millisecond)
}

// kind of a destination, for the figures.
func kindOf(tb testing.TB, to string) string {
	tb.Helper()
	a, err := destination.Parse(to)
	require.NoError(tb, err)
	if a.Kind == destination.Mail && strings.HasSuffix(to, "refused.example") {
		return "mail, refused"
	}
	if a.Kind == destination.Bucket && a.Prefix == "down/" {
		return "bucket, down"
	}
	return string(a.Kind)
}

// outcome of one case.
type outcome struct {
	late   map[string][]time.Duration // delivered, by kind
	failed map[string]int
	took   time.Duration // until the last delivery of a healthy server
}

// TestOnTime has all parents due at the same minute, once with all servers well,
// then with one that refuses and one that goes down in the midst. Two workers
// with two schedulers share the work.
func TestOnTime(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDBENCH")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "bench")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("BENCH_HOOK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	n := parents(t)
	var well, ill *outcome
	t.Run("all well", func(t *testing.T) {
		well = onTime(t, false)
		require.Empty(t, well.failed)
	})
	t.Run("two dead", func(t *testing.T) {
		ill = onTime(t, true)
		require.Equal(t, n/5, ill.failed["mail, refused"])
		// Which runs had both their files in it when it went down isn't fixed.
		down := ill.failed["bucket, down"]
		require.GreaterOrEqual(t, down, n/5-n/20)
		require.Equal(t, n/5, down+len(ill.late["bucket, down"]))
		require.Len(t, ill.failed, 2, "no others failed")
	})
	if well != nil && ill != nil {
		// What is late is so because of those before it, not because of the dead.
		require.Less(t, ill.took, 2*well.took+10*time.Second)
	}
}

func onTime(t *testing.T, dead bool) *outcome {
	t.Helper()
	n := parents(t)
	testengine.Bound(t, 3*time.Minute+time.Duration(n)*3*time.Second)
	r := &rig{tb: t, e: testengine.Start(t), dir: t.TempDir()}
	smtpAddr, letters := mailServer(t)
	good, objects := bucketServer(t, 0)
	diesAfter := 0
	if dead {
		diesAfter = 2 * (n / 20) // files: two a run
	}
	bad, lost := bucketServer(t, diesAfter)
	hooks, messages := hookServer(t)
	refused := "ok.example"
	if dead {
		refused = "refused.example"
	}
	d := r.deps(clock.System())
	_, err := d.Ledger.Migrate(t.Context())
	require.NoError(t, err)
	day := time.Now().UTC().Add(6 * time.Hour).Truncate(time.Minute) // the only one of its schedule by then
	r.seed(d, n, day, func(i int) string {
		folder := fmt.Sprintf("%q", "file:"+filepath.Join(r.dir, strconv.Itoa(i)))
		return []string{
			folder,
			fmt.Sprintf("%q", "s3://reports/good?endpoint="+good),
			fmt.Sprintf("%q, %s", "s3://reports/down?endpoint="+bad, folder),
			fmt.Sprintf(`"mailto:finance%d@ok.example"`, i),
			fmt.Sprintf(`"mailto:finance%d@%s", {to: "%s/%d", secret_env: BENCH_HOOK}`, i, refused, hooks, i),
		}[i%5]
	})
	mail, err := notify.NewMail(notify.MailOptions{Server: "smtp://" + smtpAddr + "?tls=none", From: "meterd@example.com"})
	require.NoError(t, err)

	offset := ahead(time.Until(day) - 3*time.Second)
	for range 2 {
		r.start(offset, worker.Options{Mail: mail, Reports: reporting.Options{Retry: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}}})
	}
	list := r.wait(n, time.Minute+time.Duration(n)*2*time.Second)
	out := &outcome{late: map[string][]time.Duration{}, failed: map[string]int{}}
	for i := range list {
		info := reports.Info(&list[i])
		require.Equal(t, day, info.DueAt.UTC())
		for _, x := range info.Destinations {
			kind := kindOf(t, x.To)
			if x.State == ledger.RunFailed {
				require.Equal(t, 4, x.Attempts, x.Detail)
				out.failed[kind]++
				continue
			}
			require.Equal(t, ledger.RunDelivered, x.State)
			late := x.At.Sub(day)
			out.late[kind] = append(out.late[kind], late)
			if kind != "bucket, down" {
				out.took = max(out.took, late)
			}
		}
	}
	out.print(t, n, dead)
	objects.once(t, "objects", 2*(n/5))
	messages.once(t, "webhooks", n/5)
	if dead {
		lost.once(t, "objects before it went down", 2*(n/20))
		letters.once(t, "letters", n/5)
	} else {
		lost.once(t, "objects", 2*(n/5))
		letters.once(t, "letters", 2*(n/5))
	}
	files, err := filepath.Glob(filepath.Join(r.dir, "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 2*2*(n/5))
	return out
}

// wait until every run has ended.
func (r *rig) wait(n int, most time.Duration) []ledger.ReportRun {
	r.tb.Helper()
	d := r.deps(clock.System())
	var list []ledger.ReportRun
	require.Eventually(r.tb, func() bool {
		var err error
		list, err = d.Ledger.ReportRuns(r.tb.Context(), ledger.RunFilter{})
		require.NoError(r.tb, err)
		return len(list) == n && !slices.ContainsFunc(list, func(x ledger.ReportRun) bool { return !x.Ended() })
	}, most, 500*time.Millisecond)
	return list
}

func (o *outcome) print(t *testing.T, n int, dead bool) {
	t.Helper()
	t.Logf("%d parents due at the same minute, two workers, dead servers: %v", n, dead)
	t.Logf("%-14s %9s %7s %9s %9s %9s", "destination", "delivered", "failed", "median", "p99", "most late")
	var all []time.Duration
	for _, kind := range []string{"folder", "bucket", "bucket, down", "mail", "mail, refused", "hook"} {
		list := o.late[kind]
		if len(list)+o.failed[kind] == 0 {
			continue
		}
		all = append(all, list...)
		t.Logf("%-14s %9d %7d %9s %9s %9s", kind, len(list), o.failed[kind], share(list, 50), share(list, 99), share(list, 100))
	}
	t.Logf("%-14s %9d %7s %9s %9s %9s", "all", len(all), "", share(all, 50), share(all, 99), share(all, 100))
}

func share(list []time.Duration, percent int) string {
	if len(list) == 0 {
		return "-"
	}
	slices.Sort(list)
	return list[max(len(list)*percent/100, 1)-1].Round(10 * time.Millisecond).String()
}
