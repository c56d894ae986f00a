package main_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/traffic"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker"
)

// apply makes accounts as in the book's file, changed.
func (r *rig) apply(change func(text string) string) {
	r.t.Helper()
	text, err := os.ReadFile(r.book.File(r.t))
	require.NoError(r.t, err)
	file, err := admin.ParseAccountsFile("accounts.yaml", []byte(change(string(text))))
	require.NoError(r.t, err)
	_, err = r.sys.admin.Apply(r.t.Context(), file, false)
	require.NoError(r.t, err)
}

// dearer puts a plan beside the book's that costs more, of the same currency as
// an account's, and names it.
func (r *rig) dearer(plan *traffic.Plan) string {
	r.t.Helper()
	next := traffic.Plan{ID: "dearer", Currency: plan.Currency, Versions: []traffic.Version{{From: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}}}
	for _, rule := range plan.Versions[len(plan.Versions)-1].Rules {
		rule.Price = "1" + strings.TrimPrefix(rule.Price, "0")
		next.Versions[0].Rules = append(next.Versions[0].Rules, rule)
	}
	r.book.Plans = append(r.book.Plans, next)
	r.apply(func(text string) string { return text })
	r.book.Plans = r.book.Plans[:len(r.book.Plans)-1]
	_, err := r.sys.Snapshots.Refresh(r.t.Context())
	require.NoError(r.t, err)
	return next.ID
}

// TestKilledWhileARerateBooks: a month is rated anew by a dearer plan and then by
// its own again, while workers are killed; the references are given again until
// all is booked. Both together are nothing.
func TestKilledWhileARerateBooks(t *testing.T) {
	t.Parallel()
	r := newRig(t, 50, "worker killed while a re-rating books its adjustments")
	r.before(pick(300, 2000))
	parent := r.book.Account("rom")
	own := parent.Plan
	var plan *traffic.Plan
	for i := range r.book.Plans {
		if r.book.Plans[i].ID == own {
			plan = &r.book.Plans[i]
		}
	}
	require.NotNil(t, plan)
	month := time.Now().In(r.oracle.Zones["rom"]).Format("2006-01")
	a := r.alone()
	for i, to := range []string{r.dearer(plan), own} {
		request := admin.RerateRequest{
			Parent: "rom", Account: "rom-budget", Period: month, Plan: to, Apply: true,
			Ref: fmt.Sprint("again-", i), Reason: "prices were wrong", Actor: admin.OperatorActor,
		}
		deps := admin.RerateDeps{
			Ledger: r.sys.Ledger, Store: r.sys.Store, Snapshot: r.sys.Snapshots.Current(), Queue: asynq.NewClientFromRedisClient(r.sys.redis), Clock: r.sys.Clock,
		}
		booked := make(chan error, 1)
		go func() {
			res, err := admin.Rerate(t.Context(), deps, request)
			if err == nil && res.Total.Changed == 0 {
				err = fmt.Errorf("nothing was rated anew by %s", to)
			}
			booked <- err
		}()
		for _, point := range pick([]string{"charged"}, []string{"charged", "stored", "settled"}) {
			a.Die, a.Nth = point, 1
			r.dies(a)
		}
		a.Die = ""
		stop := r.worker(a, nil)
		require.NoError(t, <-booked)
		_, err := admin.Rerate(t.Context(), deps, request)
		require.NoError(t, err, "the same reference again books nothing more")
		r.drain()
		stop()
	}
	var rows, messages uint64
	require.NoError(t, r.ch.QueryRow(t.Context(), "SELECT count(), uniqExact(account_id, refers_to) FROM records FINAL WHERE kind = 'adjustment'").Scan(&rows, &messages))
	assert.Equal(t, 2*messages, rows, "each message is corrected once for each reference")
	assert.Positive(t, rows)
	r.result.Records += int(rows)
	r.worker(a, nil)
	r.settle()
}

// TestBreakerHoldsThroughALoss: suspensions are held back when Redis is emptied;
// the projection that is made anew holds them too, until a hand releases them.
func TestBreakerHoldsThroughALoss(t *testing.T) {
	t.Parallel()
	r := begun(t, 51, "Redis emptied while the breaker holds suspensions back; the records are sent again")
	r.heals = true
	r.worker(r.proxied(), func(_ *system, o *worker.Options) { o.BreakerAccounts = 1 })
	require.NoError(t, r.sys.Store.SetBreaker(t.Context(), 0, r.meta(), 1))
	lines := r.lines(pick(400, 3000))
	sent := r.send(lines, 0)
	broken := func() (bool, string) {
		at, err := r.sys.Store.BreakerOpenSince(t.Context(), 0)
		return err == nil && !at.IsZero(), fmt.Sprint("the breaker is closed ", err)
	}
	sent.wait()
	r.drain()
	if open, _ := broken(); !open { // nothing that was sent suspended two: a hand that lowers limits does
		limits := regexp.MustCompile(`(monthly_limit|credit_limit): "[^"]*"`)
		r.apply(func(text string) string { return limits.ReplaceAllString(text, `$1: "0.01"`) })
		r.apply(func(text string) string { return text })
	}
	r.eventually("the breaker opens", time.Minute, broken)
	for range pick(1, 4) {
		r.result.Tried++
		require.NoError(t, r.sys.redis.FlushAll(t.Context()).Err())
		r.ended()
		r.sendAs(r.proxied(), lines, 0).wait()
		r.eventually("the new projection holds too", time.Minute, broken)
	}
	require.NoError(t, r.sys.admin.ReleaseBreaker(t.Context(), admin.OperatorActor, "the price is corrected"))
	r.settle()
}

func (r *rig) meta() *balance.Meta {
	r.t.Helper()
	m, err := r.sys.Projector.Ensure(r.t.Context(), 0)
	require.NoError(r.t, err)
	return m
}

// TestObservedAndKilled: parents only observe while workers are killed, so nobody
// is suspended; enforced again, who is over a limit is, and nobody else.
func TestObservedAndKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, 52, "worker killed while parents only observe; then they enforce")
	r.apply(func(text string) string {
		return strings.ReplaceAll(text, "    sub_accounts:\n", "    enforcement: observe\n    sub_accounts:\n")
	})
	r.before(pick(120, 400))
	sent := r.send(r.lines(pick(300, 3000)), 10*time.Millisecond)
	a := r.alone()
	for _, point := range pick([]string{"charged", "settled"}, points) {
		a.Die, a.Nth = point, 2
		r.dies(a)
	}
	a.Die = ""
	r.worker(a, nil)
	sent.wait()
	r.drain()
	for _, x := range r.book.Accounts {
		st, err := r.sys.Store.State(t.Context(), x.ID)
		require.NoError(t, err)
		own, inherited := st.Flags(time.Now().UnixMilli())
		assert.Zero(t, own|inherited&^metering.FlagManualOperator, "%s is suspended while its parent observes", x.ID)
	}
	r.apply(func(text string) string { return text })
	r.settle()
}
