package metering

import (
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
		r := &Record{Kind: KindUsage, Channel: "sms", Unit: "segment", Units: 3_000_000, HasUnits: true, OccurredAt: at}
		was := Standing{Amount: Micros(rapid.Int64Range(0, 500_000).Draw(t, "amount"))}
		was.Fee = Micros(rapid.Int64Range(0, int64(was.Amount)).Draw(t, "old fee"))
		switch rapid.IntRange(0, 2).Draw(t, "refund") {
		case 1:
			was.Refunded = was.Amount - was.Fee
		case 2:
			was.Refunded = Micros(rapid.Int64Range(0, int64(was.Amount-was.Fee)).Draw(t, "refunded"))
		}
		whole := was.Refunded > 0 && was.Refunded == was.Amount-was.Fee
		c, ref := Rerate(s, plan, r, was)
		require.Nil(t, ref)
		now := Standing{Amount: was.Amount + c.Amount, Fee: was.Fee + c.Fee, Refunded: was.Refunded}
		net := now.Amount - now.Refunded
		switch {
		case was.Refunded == 0:
			require.Equal(t, c.Charge.Amount, net)
		case whole:
			require.Equal(t, c.Charge.Fee, net, "a message that was refunded whole stays so")
		default:
			require.Equal(t, max(c.Charge.Amount-was.Refunded, c.Charge.Fee), net)
		}
		require.Equal(t, c.Charge.Fee, now.Fee)
		again, ref := Rerate(s, plan, r, now)
		require.Nil(t, ref)
		require.Zero(t, again.Amount)
		require.Zero(t, again.Fee)
	})
}

func TestRerateWithoutAPrice(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	plan := &Plan{ID: "right", Versions: []PlanVersion{{EffectiveFrom: at.Add(time.Hour), Rules: []Rule{{Channel: "sms", Unit: "segment"}}}}}
	r := &Record{Kind: KindUsage, Channel: "sms", OccurredAt: at}
	_, ref := Rerate(NewSnapshot(1, nil, []*Plan{plan}), plan, r, Standing{Amount: 1})
	require.NotNil(t, ref)
	require.Equal(t, ReasonNoPrice, ref.Reason)
}
