package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The size of the exact workload, in lines.
const (
	exactFirst  = 84_000 // messages, exact copies, what is refused
	exactSecond = 14_000 // what refers to the first: restamps, conflicts, statuses, refunds
	exactThird  = 2_000  // what refers to the second: copies of refunds, refunds without a message
)

// fund moves money by the commands and tells the oracle.
func fund(tb testing.TB, c cli, o *oracle) {
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
		v := micros(rat(m.amount))
		switch a := o.book.account(m.account); m.verb {
		case "topup":
			o.balance[a.id] += v
		case "allocate":
			o.balance[a.id] += v
			o.balance[a.parent] -= v
		case "reclaim":
			o.balance[a.id] -= v
			o.balance[a.parent] += v
		}
	}
}

// firstLines are messages with copies and refused records among them.
func firstLines(w *workload, o *oracle, n int) []string {
	lines := make([]string, 0, n)
	var refused []string
	for len(lines) < n {
		switch p := w.rnd.IntN(1000); {
		case p < 35 && len(w.sent) > 0:
			u := w.older()
			lines = append(lines, u.line())
			o.take(u)
		case p < 65:
			u := w.wrong()
			lines = append(lines, u.line())
			if o.take(u) == quarantined { // an account that a test didn't close isn't closed
				refused = append(refused, u.line())
			}
		case p < 80:
			line := w.malformed()
			lines = append(lines, line)
			o.raw(line)
			refused = append(refused, line)
		case p < 85 && len(refused) > 0:
			line := refused[w.rnd.IntN(len(refused))]
			lines = append(lines, line)
			o.refuse(line, o.refused[line])
		default:
			u := w.message()
			lines = append(lines, u.line())
			if o.take(u) == stored {
				w.sent = append(w.sent, u)
			}
		}
	}
	return lines
}

// secondLines refer to messages that are stored. No two of them depend on one
// another.
func secondLines(w *workload, o *oracle, n int) (lines []string, refunds []*usage) {
	refunded := map[string]bool{}
	for len(lines) < n {
		var u *usage
		switch p := w.rnd.IntN(100); {
		case p < 30:
			u = w.restamped()
		case p < 45:
			u = w.conflict()
		case p < 75:
			u = w.status()
		default:
			m := w.older()
			if refunded[m.ID] {
				continue
			}
			refunded[m.ID] = true
			u = w.refund(m)
			if w.chance(30) {
				u.Amount = w.pick("0.000001", "0.01", "999999")
			}
			refunds = append(refunds, u)
		}
		lines = append(lines, u.line())
		o.take(u)
	}
	return lines, refunds
}

// thirdLines are copies of refunds, second refunds of a message, refunds
// without a message, and messages.
func thirdLines(w *workload, o *oracle, refunds []*usage, n int) []string {
	lines := make([]string, 0, n)
	for len(lines) < n {
		u := w.message()
		switch p := w.rnd.IntN(100); {
		case p < 20:
			u = refunds[w.rnd.IntN(len(refunds))]
		case p < 40:
			c := *refunds[w.rnd.IntN(len(refunds))]
			if o.content[key(c.AccountID, "refund", c.RefersTo)] == "" {
				continue // refused the first time: this one would be applied
			}
			c.ID, c.Amount = w.id("r"), ""
			u = &c
		case p < 50:
			u = w.refund(&usage{ID: w.id("never"), AccountID: u.AccountID, at: u.at})
		}
		lines = append(lines, u.line())
		o.take(u)
	}
	return lines
}

// TestExact meters 100,000 records and wants every figure to the last
// micro-unit; sent again, nothing changes.
func TestExact(t *testing.T) {
	t.Parallel()
	now := minute()
	b := fourParents(now)
	s := up(t, nil)
	c := s.cli()
	c.run(t, "accounts", "apply", "-f", b.file(t))
	o := newOracle(t, b, now)
	fund(t, c, o)
	c.run(t, "accounts", "close", "rom-closed")
	o.closed["rom-closed"] = now.Add(2 * time.Minute) // between now and what occurs after

	w := newWorkload(b, now, 20260725)
	first := firstLines(w, o, exactFirst)
	sendAll(t, c, o, first)
	second, refunds := secondLines(w, o, exactSecond)
	sendAll(t, c, o, second)
	third := thirdLines(w, o, refunds, exactThird)
	sendAll(t, c, o, third)
	require.Equal(t, 100_000, len(first)+len(second)+len(third))

	compareUsage(t, c, o)
	compareStatuses(t, c, o)
	compareAccounts(t, c, o)
	compareQuarantine(t, c, o)
	compareRecords(t, c, o, w)
	reconciled(t, c, len(b.accounts))

	before := everything(t, c, b)
	for i, lines := range [][]string{first, second, third} {
		got := enqueue(t, c, lines)
		assert.Zero(t, got.Stored, "file %d again", i+1)
		assert.Equal(t, int64(len(lines)), got.Duplicates+got.Quarantined+got.Waiting, "file %d again", i+1)
	}
	if after := everything(t, c, b); after != before {
		t.Errorf("enqueued twice, something changed: %s", firstDifference(before, after))
	}
	reconciled(t, c, len(b.accounts))
}

// sendAll enqueues lines that the oracle has taken and compares the outcomes.
func sendAll(tb testing.TB, c cli, o *oracle, lines []string) {
	tb.Helper()
	got := enqueue(tb, c, lines)
	want := counts{
		Read: int64(len(lines)), Enqueued: int64(len(lines)),
		Stored: o.totals[stored], Duplicates: o.totals[duplicate], Quarantined: o.totals[quarantined], Waiting: o.totals[waiting],
	}
	assert.Equal(tb, want, got)
	o.totals = [4]int64{}
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
func compareRecords(tb testing.TB, c cli, o *oracle, w *workload) {
	tb.Helper()
	for range 12 {
		u := w.older()
		k := o.rows[key(u.AccountID, "usage", u.ID)]
		got := one[recordDoc](tb, c, "record", "show", u.AccountID, u.ID).Charge
		month := u.at.In(o.zones[u.AccountID]).Format("2006-01")
		assert.Equal(tb, decimals(k.amount), decimals(micros(rat(got.Amount))), u.line())
		assert.Equal(tb, decimals(k.fee), decimals(micros(rat(got.Fee))), u.line())
		assert.Equal(tb, [2]int{k.version, k.rule}, [2]int{got.PlanVersion, got.Rule}, u.line())
		assert.Equal(tb, [2]string{month, month}, [2]string{got.Period, got.Booked}, u.line())
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
