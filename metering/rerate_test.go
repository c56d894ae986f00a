package metering

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestRerateLeavesWhatThePlanSays: whatever a message was charged and was given
// back, once its correction is booked nothing is left to correct.
func TestRerateLeavesWhatThePlanSays(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		price, fee := rapid.Int64Range(0, 50_000_000).Draw(t, "price e8"), Micros(rapid.Int64Range(0, 30_000).Draw(t, "fee"))
		plan := &Plan{ID: "right", Currency: "EUR", Versions: []PlanVersion{{
			EffectiveFrom: at.AddDate(-1, 0, 0), Rules: []Rule{{Channel: "sms", Unit: "segment", Price: price, Fee: fee}},
		}}}
		s := NewSnapshot(1, nil, []*Plan{plan})
		r := &Record{Kind: KindUsage, Channel: "sms", Unit: "segment", Units: Units(3), OccurredAt: at}
		was := ChargedSoFar{Amount: Micros(rapid.Int64Range(0, 500_000).Draw(t, "amount"))}
		was.Fee = Micros(rapid.Int64Range(0, int64(was.Amount)).Draw(t, "old fee"))
		switch rapid.IntRange(0, 2).Draw(t, "refund") {
		case 1:
			was.Refunded, was.RefundedWhole = was.Amount-was.Fee, true
		case 2:
			was.Refunded = Micros(rapid.Int64Range(0, int64(was.Amount-was.Fee)).Draw(t, "refunded"))
		}
		c, ref, err := Rerate(s, plan, r, was)
		require.NoError(t, err)
		require.Nil(t, ref)
		now := was
		now.Amount, now.Fee = was.Amount+c.Amount, was.Fee+c.Fee
		net := now.Amount - now.Refunded
		switch {
		case was.RefundedWhole:
			require.Equal(t, c.Charge.Fee, net, "a message that was refunded whole stays so")
		case was.Refunded == 0:
			require.Equal(t, c.Charge.Amount, net)
		default:
			require.Equal(t, max(c.Charge.Amount-was.Refunded, c.Charge.Fee), net)
		}
		require.Equal(t, c.Charge.Fee, now.Fee)
		again, ref, err := Rerate(s, plan, r, now)
		require.NoError(t, err)
		require.Nil(t, ref)
		require.Zero(t, again.Amount)
		require.Zero(t, again.Fee)
		// by another plan in between, it comes to the same
		other := Correct(Charge{Amount: c.Charge.Fee + Micros(rapid.Int64Range(0, 100_000).Draw(t, "other")), Fee: c.Charge.Fee}, now)
		now.Amount, now.Fee = now.Amount+other.Amount, now.Fee+other.Fee
		back := Correct(c.Charge, now)
		require.Equal(t, -other.Amount, back.Amount)
	})
}

func TestRerateWithoutAPrice(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	plan := &Plan{ID: "right", Versions: []PlanVersion{{EffectiveFrom: at.Add(time.Hour), Rules: []Rule{{Channel: "sms", Unit: "segment"}}}}}
	r := &Record{Kind: KindUsage, Channel: "sms", OccurredAt: at}
	_, ref, err := Rerate(NewSnapshot(1, nil, []*Plan{plan}), plan, r, ChargedSoFar{Amount: 1})
	require.NoError(t, err)
	require.NotNil(t, ref)
	require.Equal(t, ReasonNoPrice, ref.Reason)
}

// TestRerateWithoutNumbers: once a message's numbers are blanked it is refused
// where the rule for it depends on them, and only there.
func TestRerateWithoutNumbers(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	plan := &Plan{ID: "p", Versions: []PlanVersion{{Rules: []Rule{
		{Channel: "sms", Unit: "segment"},
		{Channel: "sms", Prefix: "39333", Country: "IT", Unit: "segment"},
		{Channel: "sms", Network: "22210", Unit: "segment"},
		{Channel: "sms", Network: "22210", Prefix: "44", Category: "otp", Unit: "segment"},
		{Channel: "voice", Unit: "second"},
	}}}}
	s := NewSnapshot(1, nil, []*Plan{plan})
	for name, c := range map[string]struct {
		Record

		refused bool
	}{
		"a prefix could match":       {Record{Channel: "sms", Country: "IT"}, true},
		"none for the country":       {Record{Channel: "sms", Country: "FR"}, false},
		"the network goes before":    {Record{Channel: "sms", Country: "IT", Network: "22210"}, false},
		"a prefix beside a network":  {Record{Channel: "sms", Network: "22210", Category: "otp"}, true},
		"a channel without prefixes": {Record{Channel: "voice", Country: "IT"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := c.Record
			r.Kind, r.OccurredAt = KindUsage, at
			_, _, err := Rerate(s, plan, &r, ChargedSoFar{Blanked: true})
			require.Equal(t, c.refused, errors.Is(err, ErrNumbersBlanked))
			_, _, err = Rerate(s, plan, &r, ChargedSoFar{})
			require.NoError(t, err)
		})
	}
}

// TestNumberless tells a message that came without numbers from one whose
// numbers were blanked, by what its row keeps.
func TestNumberless(t *testing.T) {
	t.Parallel()
	for _, more := range []string{``, `,"units":2`, `,"unit":"segment","currency":"EUR"`, `,"country":"IT","tags":{"b":"1","a":"2"}`} {
		for numbers, want := range map[string]bool{``: true, `,"to":"+393331234567"`: false, `,"from":"shop"`: false} {
			var r Record
			ref := DecodeRecord([]byte(`{"id":"1","account_id":"a","channel":"sms","occurred_at":"2026-11-01T00:00:00Z"`+more+numbers+`}`), &r)
			require.Nil(t, ref)
			row := r
			row.To, row.From, row.Currency = "", "", "EUR"
			row.Units = Some(r.Units.Or(scale))
			if row.Unit == "" {
				row.Unit = "segment"
			}
			require.Equal(t, want, Numberless(&row, r.ContentHash()), more+numbers)
		}
	}
}
