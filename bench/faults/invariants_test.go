package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/traffic"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/reports"
	"github.com/meterd/meterd/worker"
)

// settle waits until everything that was sent has its place, times that, and
// checks every invariant. What it finds is a row of the table.
func (r *rig) settle() {
	r.t.Helper()
	r.drain()
	took := time.Since(r.over)
	r.result.Seconds = fmt.Sprintf("%d.%d", took/time.Second, took%time.Second/(100*time.Millisecond))
	drifted := r.reconcile()
	if r.heals && drifted > 0 {
		drifted = r.reconcile() // one heal, and it is whole
	}
	assert.Zero(r.t, drifted, "fields in which projection and ledger differ")
	r.records()
	r.quarantine()
	r.money()
	r.states()
	r.usage()
	if long() { // in the short form their sums are looked at once: out of rollups
		r.reports()
	}
	r.roll()
	r.usage()
	r.reports()
	r.keep()
}

// reconcile compares projection and ledger, and returns how much had drifted.
func (r *rig) reconcile() int {
	r.t.Helper()
	ctx := r.t.Context()
	_, err := r.sys.Snapshots.Refresh(ctx)
	require.NoError(r.t, err)
	var res reconcile.Result
	r.eventually("projection and ledger can be compared", time.Minute, func() (bool, string) {
		res, err = reconcile.NewReconciler(r.sys.Projector, r.sys.Log).Run(ctx, r.sys.Snapshots.Current())
		return !errors.Is(err, reconcile.ErrBusy), "answers are open"
	})
	require.NoError(r.t, err)
	assert.Equal(r.t, len(r.book.Accounts), res.Checked)
	return res.Drifted
}

// records wants each charged record once, with the charge that the oracle works
// out anew from the record and the version of the plan that the row names. What a
// copy tells of its message's status is a record by itself, which nobody sent.
func (r *rig) records() {
	r.t.Helper()
	rows, err := r.ch.Query(r.t.Context(), `SELECT account_id, toString(kind), id, amount, fee, plan_version, rule FROM records FINAL
		WHERE kind != 'adjustment' AND NOT (kind = 'status' AND startsWith(id, 'copy:'))`)
	require.NoError(r.t, err)
	defer func() { assert.NoError(r.t, rows.Close()) }()
	seen := map[string]int{}
	for rows.Next() {
		var account, kind, id string
		var amount, fee decimal.Decimal
		var version, rule uint32
		require.NoError(r.t, rows.Scan(&account, &kind, &id, &amount, &fee, &version, &rule))
		k := traffic.Key(account, kind, id)
		seen[k]++
		if k := r.oracle.Rows[k]; k != nil {
			assert.Equal(r.t, traffic.Decimals(k.Amount), amount.StringFixed(6), "amount of %s", id)
			assert.Equal(r.t, traffic.Decimals(k.Fee), fee.StringFixed(6), "fee of %s", id)
			assert.Equal(r.t, [2]int{k.Version, k.Rule}, [2]int{int(version), int(rule)}, "plan version and rule of %s", id)
		}
	}
	require.NoError(r.t, rows.Err())
	for k := range r.oracle.Content {
		if seen[k] == 0 {
			r.lost("no row of %s", k)
		}
	}
	for k, n := range seen {
		if _, ok := r.oracle.Content[k]; !ok || n > 1 {
			r.twice("%d rows of %s", n, k)
		}
	}
}

func (r *rig) lost(format string, args ...any) {
	if r.result.Lost++; r.result.Lost <= 5 {
		r.t.Errorf("lost: "+format, args...)
	}
	r.t.Fail()
}

func (r *rig) twice(format string, args ...any) {
	if r.result.Twice++; r.result.Twice <= 5 {
		r.t.Errorf("counted twice: "+format, args...)
	}
	r.t.Fail()
}

// quarantine wants each refused line once, for its reason, and no other.
func (r *rig) quarantine() {
	r.t.Helper()
	seen := map[string]int{}
	require.NoError(r.t, r.sys.Ledger.Quarantined(r.t.Context(), ledger.QuarantineFilter{State: ledger.QuarantineOpen}, func(e *ledger.Entry) error {
		seen[string(e.Raw)]++
		want, ok := r.oracle.Refused[string(e.Raw)]
		if !ok {
			r.twice("quarantined as %s, though it is charged: %.300s", e.Reason, e.Raw)
		} else if want != string(e.Reason) {
			r.t.Errorf("quarantined as %s, want %s: %.300s", e.Reason, want, e.Raw)
		}
		return nil
	}))
	for line := range r.oracle.Refused {
		switch seen[line] {
		case 0:
			r.lost("not quarantined: %.300s", line)
		case 1:
		default:
			r.twice("%d entries of %.300s", seen[line], line)
		}
	}
}

// money: each purse is its transfers less its charges and with its refunds, as
// the oracle adds them up, and transfers sum to zero.
func (r *rig) money() {
	r.t.Helper()
	var sum decimal.Decimal
	require.NoError(r.t, r.ch.QueryRow(r.t.Context(), "SELECT sum(amount) FROM transfers FINAL").Scan(&sum))
	assert.True(r.t, sum.IsZero(), "transfers sum to %s", sum)
	for i := range r.book.Accounts {
		a := &r.book.Accounts[i]
		st, err := r.sys.Store.State(r.t.Context(), a.ID)
		require.NoError(r.t, err)
		assert.Equal(r.t, traffic.Decimals(r.oracle.Balance[a.ID]), traffic.Decimals(int64(st.Balance)), "balance of %s", a.ID)
		used := map[string]int64{}
		for month, v := range st.Used {
			if v != 0 {
				used[month] = int64(v)
			}
		}
		want := map[string]int64{}
		for month, v := range r.oracle.Used[a.ID] {
			if v != 0 {
				want[month] = v
			}
		}
		assert.Equal(r.t, want, used, "use of %s by month", a.ID)
	}
}

// states: suspended for a reason if and only if it holds.
func (r *rig) states() {
	r.t.Helper()
	now := time.Now()
	for _, a := range r.book.Accounts {
		st, err := r.sys.Store.State(r.t.Context(), a.ID)
		require.NoError(r.t, err)
		own, inherited := st.Flags(now.UnixMilli())
		_, want := r.oracle.State(a.ID, now.In(r.oracle.Zones[a.ID]).Format("2006-01"))
		assert.Equal(r.t, want, (own | inherited).Reasons(), "reasons of %s", a.ID)
	}
}

// usage wants every count and sum by account, channel and local day, from
// rollups where there are some and from rows where not.
func (r *rig) usage() {
	r.t.Helper()
	seen := map[string]bool{}
	for _, p := range r.book.Accounts {
		if p.Parent != "" {
			continue
		}
		q := ledger.UsageQuery{Parent: p.ID, By: []ledger.Dimension{"account", "channel", "day"}, Zone: r.oracle.Zones[p.ID]}
		require.NoError(r.t, r.sys.Ledger.Usage(r.t.Context(), q, func(l *ledger.UsageLine) error {
			k := traffic.Key(l.Keys...)
			seen[k] = true
			want := r.oracle.Use[k]
			if want == nil {
				r.t.Errorf("usage of %s isn't known to the oracle", k)
				return nil
			}
			same := int64(l.Records) == want.Records && l.Units.Rat().Cmp(want.Units) == 0 && l.BilledUnits.Rat().Cmp(want.Billed) == 0 &&
				l.Amount == metering.Micros(want.Amount).Sum() && l.Refunds == metering.Micros(want.Refunds).Sum() && l.Adjustments.Sign() == 0
			assert.True(r.t, same, "usage of %s: %+v, want %+v", k, l, want)
			return nil
		}))
	}
	for k := range r.oracle.Use {
		assert.True(r.t, seen[k], "usage of %s is missing", k)
	}
}

// reports wants of each parent's statement of this month what the oracle adds up.
func (r *rig) reports() {
	r.t.Helper()
	reporter := reports.NewReporter(reports.Deps{
		Ledger: r.sys.Ledger, Snapshot: r.sys.Snapshots.Current, States: worker.ReportStates(r.sys.Store, r.sys.Clock), Clock: r.sys.Clock,
	})
	for _, p := range r.book.Accounts {
		if p.Parent != "" {
			continue
		}
		month := time.Now().In(r.oracle.Zones[p.ID]).Format("2006-01")
		st, _, err := reporter.Build(r.t.Context(), reports.Request{Parent: p.ID, Period: month})
		require.NoError(r.t, err)
		s, ok := st.(*reports.ParentStatement)
		require.True(r.t, ok)
		var amount, refunds int64
		for k, f := range r.oracle.Use {
			part := strings.Split(k, "|") // account, channel, day
			if a := r.book.Account(part[0]); r.book.ParentOf(a).ID == p.ID && strings.HasPrefix(part[2], month) {
				amount, refunds = amount+f.Amount, refunds+f.Refunds
			}
		}
		assert.Equal(r.t, []metering.Sum{metering.Micros(amount).Sum(), metering.Micros(refunds).Sum(), {}},
			[]metering.Sum{s.Totals.Amount.Sum, s.Totals.Refunds.Sum, s.Totals.Adjustments.Sum}, "statement of %s", p.ID)
	}
}

// roll sums every hour that is over, as if its quiet time had passed.
func (r *rig) roll() {
	r.t.Helper()
	ctx, later := r.t.Context(), time.Now().Add(10*time.Minute)
	for {
		due, err := r.sys.Ledger.DueHours(ctx, time.Time{}, later)
		require.NoError(r.t, err)
		require.NoError(r.t, r.sys.Ledger.RollHours(ctx, due, later))
		if len(due) < ledger.DueMax {
			return
		}
	}
}

// keep writes the row where the page is made from; only of a test that holds.
func (r *rig) keep() {
	r.t.Helper()
	path := os.Getenv("METERD_FAULTS_RESULTS")
	if path == "" || r.t.Failed() {
		return
	}
	b, err := json.Marshal(r.result)
	require.NoError(r.t, err)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(r.t, err)
	_, err = f.WriteString(strings.TrimSpace(string(b)) + "\n")
	require.NoError(r.t, errors.Join(err, f.Close()))
}
