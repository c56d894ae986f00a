package metering

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRefundDue(t *testing.T) {
	t.Parallel()
	v := &PlanVersion{RefundOn: []string{"failed", "undelivered"}, RefundAfter: 10 * time.Minute}
	start := time.Date(2026, 11, 10, 11, 0, 0, 0, time.UTC)
	rng := rand.New(rand.NewPCG(1, 2))
	// f wants a refund as of a minute, -1 for none, whatever order statuses ("word minute") came in.
	f := func(now, want int, later bool, statuses ...string) {
		t.Helper()
		var list []MessageStatus
		for i, s := range statuses {
			word, minute, _ := strings.Cut(s, " ")
			d, err := time.ParseDuration(minute + "m")
			require.NoError(t, err)
			list = append(list, MessageStatus{At: start.Add(d), Status: word, ID: string(rune('a' + i))})
		}
		for range 20 {
			rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			at, due, more := v.RefundDue(list, start.Add(time.Duration(now)*time.Minute))
			assert.Equal(t, want >= 0, due, "%v", statuses)
			assert.Equal(t, later, more, "%v", statuses)
			if later {
				assert.True(t, at.After(start.Add(time.Duration(now)*time.Minute)), "%v", statuses)
			}
			if want >= 0 {
				assert.Equal(t, start.Add(time.Duration(want)*time.Minute), at, "%v", statuses)
			}
		}
	}
	f(60, -1, false)
	f(60, -1, false, "sent 0", "delivered 1")
	f(60, 11, false, "failed 1")
	f(10, -1, true, "failed 1")
	f(11, 11, false, "failed 1")
	f(60, 11, false, "failed 1", "delivered 30")  // too late to change anything
	f(60, -1, false, "failed 1", "delivered 5")   // in time
	f(60, -1, false, "failed 1", "delivered 11")  // at the very instant
	f(60, -1, false, "failed 1", "delivered 1")   // outranks
	f(60, 11, false, "failed 1", "sent 1")        // doesn't
	f(60, -1, false, "failed 1", "sent 5")        // another attempt
	f(60, 11, false, "failed 1", "undelivered 4") // still failing
	f(60, 11, false, "failed 1", "delivered 5", "failed 8")
	f(60, 30, false, "failed 1", "delivered 5", "failed 20")
	f(25, -1, true, "failed 1", "delivered 5", "failed 20")
	f(60, -1, false, "failed 1", "delivered 5", "failed 20", "read 25")
}

// TestTheIdOfAnAutomaticRefundIsRead beside any message id, and no other so long.
func TestTheIDOfAnAutomaticRefundIsRead(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 10, 11, 0, 0, 0, time.UTC)
	for _, n := range []int{1, 123, 124, 128} {
		message := strings.Repeat("L", n)
		r := Record{ID: AutoRefundID(message), Kind: KindRefund, AccountID: "a", RefersTo: message, Direction: Outbound, OccurredAt: at}
		var got Record
		require.Nil(t, DecodeRecord(AppendRecord(nil, &r), &got), n)
		assert.Equal(t, r, got)
		if n < 124 {
			continue
		}
		for _, change := range []func(*Record){
			func(r *Record) { r.ID = "autO:" + message },
			func(r *Record) { r.Kind = KindStatus; r.Status = "failed" },
			func(r *Record) { r.RefersTo = message[1:] },
		} {
			other := r
			change(&other)
			if len(other.ID) > idMax {
				ref := DecodeRecord(AppendRecord(nil, &other), &got)
				require.NotNil(t, ref)
				assert.Equal(t, fieldID.need(), ref.Detail)
				assert.Empty(t, got.ID)
			}
		}
	}
}
