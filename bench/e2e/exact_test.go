package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/traffic"
	"github.com/meterd/meterd/internal/testengine"
)

// The size of the exact workload, in lines.
const (
	exactFirst  = 84_000 // messages, exact copies, what is refused
	exactSecond = 14_000 // what refers to the first: restamps, conflicts, statuses, refunds
	exactThird  = 2_000  // what refers to the second: copies of refunds, refunds without a message
)

// fund moves money by the commands and tells the oracle.
func fund(tb testing.TB, c cli, o *traffic.Oracle) {
	tb.Helper()
	for i, m := range []struct{ verb, account, amount string }{
		{"topup", "rom", "2000"},
		{"topup", "ccu", "1500.123456"},
		{"allocate", "rom-budget", "1000.000001"},
		{"allocate", "rom-poor", "5"},
		{"allocate", "ccu-pay", "700"},
		{"reclaim", "ccu-pay", "0.5"},
	} {
		args := []string{"wallet", m.verb, m.account, m.amount, "--ref", "fund-" + m.account + m.verb}
		c.run(tb, args...)
		if i%2 == 0 { // the same reference again moves nothing
			again := one[struct{ Applied bool }](tb, c, args...)
			assert.False(tb, again.Applied)
		}
		v := traffic.Micros(traffic.Rat(m.amount))
		switch a := o.Book.Account(m.account); m.verb {
		case "topup":
			o.Balance[a.ID] += v
		case "allocate":
			o.Balance[a.ID] += v
			o.Balance[a.Parent] -= v
		case "reclaim":
			o.Balance[a.ID] -= v
			o.Balance[a.Parent] += v
		}
	}
}

// TestExact meters 100,000 records and wants every figure to the last
// micro-unit; sent again, nothing changes.
func TestExact(t *testing.T) {
	t.Parallel()
	testengine.Bound(t, 4*time.Minute) // 34 s with a slow machine to itself; three other whole systems at work beside it take two minutes of that
	now := minute()
	b := traffic.FourParents(now)
	s := up(t, nil)
	c := s.cli()
	c.run(t, "accounts", "apply", "-f", b.File(t))
	o := traffic.NewOracle(t, b, now)
	fund(t, c, o)
	c.run(t, "accounts", "close", "rom-closed")
	o.Closed["rom-closed"] = now.Add(2 * time.Minute) // between now and what occurs after

	w := traffic.NewWorkload(b, now, 20260725)
	first := traffic.FirstLines(w, o, exactFirst)
	sendAll(t, c, o, first)
	second, refunds := traffic.SecondLines(w, o, exactSecond)
	sendAll(t, c, o, second)
	third := traffic.ThirdLines(w, o, refunds, exactThird)
	sendAll(t, c, o, third)
	require.Equal(t, 100_000, len(first)+len(second)+len(third))

	compareUsage(t, c, o)
	compareStatuses(t, c, o)
	compareAccounts(t, c, o)
	compareQuarantine(t, c, o)
	compareRecords(t, c, o, w)
	reconciled(t, c, len(b.Accounts))

	before := everything(t, c, b)
	for i, lines := range [][]string{first, second, third} {
		got := enqueue(t, c, lines)
		assert.Zero(t, got.Stored, "file %d again", i+1)
		assert.Equal(t, int64(len(lines)), got.Duplicates+got.Quarantined+got.Waiting, "file %d again", i+1)
	}
	if after := everything(t, c, b); after != before {
		t.Errorf("enqueued twice, something changed: %s", firstDifference(before, after))
	}
	reconciled(t, c, len(b.Accounts))
}

// sendAll enqueues lines that the oracle has taken and compares the outcomes.
func sendAll(tb testing.TB, c cli, o *traffic.Oracle, lines []string) {
	tb.Helper()
	got := enqueue(tb, c, lines)
	want := counts{
		Read: int64(len(lines)), Enqueued: int64(len(lines)),
		Stored: o.Totals[traffic.Stored], Duplicates: o.Totals[traffic.Duplicate], Quarantined: o.Totals[traffic.Quarantined], Waiting: o.Totals[traffic.Waiting],
	}
	assert.Equal(tb, want, got)
	o.Totals = [4]int64{}
}

// recordDoc is what `meterd record show` tells of a message.
type recordDoc struct {
	Charge struct {
		Amount      string `json:"amount"`
		Fee         string `json:"fee"`
		PlanVersion int    `json:"plan_version"`
		Rule        int    `json:"rule"`
		Plan        string `json:"plan"`
		Period      string `json:"period"`
		Booked      string `json:"booked"`
	} `json:"charge"`
	Refunds  []any `json:"refunds"`
	Statuses []any `json:"statuses"`
}

// compareRecords works some single charges out again.
func compareRecords(tb testing.TB, c cli, o *traffic.Oracle, w *traffic.Workload) {
	tb.Helper()
	for range 12 {
		u := w.Older()
		k := o.Rows[traffic.Key(u.AccountID, "usage", u.ID)]
		got := one[recordDoc](tb, c, "record", "show", u.AccountID, u.ID).Charge
		month := u.At.In(o.Zones[u.AccountID]).Format("2006-01")
		assert.Equal(tb, traffic.Decimals(k.Amount), traffic.Decimals(traffic.Micros(traffic.Rat(got.Amount))), u.Line())
		assert.Equal(tb, traffic.Decimals(k.Fee), traffic.Decimals(traffic.Micros(traffic.Rat(got.Fee))), u.Line())
		assert.Equal(tb, [2]int{k.Version, k.Rule}, [2]int{got.PlanVersion, got.Rule}, u.Line())
		assert.Equal(tb, [2]string{month, month}, [2]string{got.Period, got.Booked}, u.Line())
	}
}

// firstDifference of two texts.
func firstDifference(a, b string) string {
	other := strings.Split(b, "\n")
	for i, line := range strings.Split(a, "\n") {
		if i >= len(other) || other[i] != line {
			return line + " became " + strings.Join(other[min(i, len(other)-1):min(i+1, len(other))], "")
		}
	}
	return "lines were added"
}
