package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestHookOutcomesAreByEvent: a hook that wants some events is told apart from another
// of its host, for which the last message of each event counts.
func TestHookOutcomesAreByEvent(t *testing.T) {
	t.Parallel()
	l := open(t)
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	for _, d := range []Delivery{
		{AccountID: "acme", Event: "suspend", Epoch: 1, Destination: "h", Outcome: "delivered", Attempts: 1, At: at(0)},
		{AccountID: "acme", Event: "suspend", Epoch: 2, Destination: "h", Outcome: "failed", Attempts: 1, At: at(2)},
		{AccountID: "acme-a", Event: "suspend", Epoch: 1, Destination: "h", Outcome: "failed", Attempts: 1, At: at(3)},
		{AccountID: "acme-a", Event: "suspend", Epoch: 1, Destination: "h", Outcome: "delivered", Attempts: 4, At: at(4)}, // the same message
		{AccountID: "acme", Event: "alert", Epoch: 80, Destination: "h", Outcome: "gone", Attempts: 1, At: at(1)},
		{AccountID: "acme", Event: "suspend", Epoch: 2, Destination: "another", Outcome: "delivered", Attempts: 2, At: at(2)},
		{AccountID: "stranger", Event: "suspend", Epoch: 9, Destination: "h", Outcome: "failed", Attempts: 1, At: at(9)},
	} {
		require.NoError(t, l.InsertDelivery(t.Context(), &d))
	}
	of := func(accounts ...string) (out []Delivery) {
		out, err := l.HookOutcomes(t.Context(), accounts)
		require.NoError(t, err)
		return out
	}
	require.Equal(t, []Delivery{
		{AccountID: "acme", Event: "suspend", Destination: "another", Outcome: "delivered", Attempts: 2, At: at(2)},
		{AccountID: "acme", Event: "alert", Destination: "h", Outcome: "gone", Attempts: 1, At: at(1)},
		{AccountID: "acme-a", Event: "suspend", Destination: "h", Outcome: "delivered", Attempts: 4, At: at(4)},
	}, of("acme", "acme-a"))
	require.Equal(t, "failed", of("acme")[2].Outcome, "of itself alone")
	require.Empty(t, of("nobody"))

	some := metering.Hook{URL: "https://h/x", Events: []string{"alert"}}
	all := metering.Hook{URL: "https://h/y"}
	wanted := func(hook *metering.Hook) (events []string) {
		for _, d := range of("acme", "acme-a") {
			if d.Destination == "h" && hook.Wants(d.Event) {
				events = append(events, d.Event)
			}
		}
		return events
	}
	require.Equal(t, []string{"alert"}, wanted(&some))
	require.Equal(t, []string{"alert", "suspend"}, wanted(&all))
}
