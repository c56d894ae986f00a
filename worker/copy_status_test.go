package worker

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meterd/meterd/metering/balance"
)

// TestAnotherStatusOfACopyCounts: a copy of a message is a duplicate, and a status that
// it knows is one of the message's, which causes or prevents a refund, whatever came
// first.
func TestAnotherStatusOfACopyCounts(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.Apply(refundingAccounts)
	stop := h.work(Options{Roles: []string{"ingest"}}) // nothing is decided between a message and its copy, however slow the machine
	day := 24 * time.Hour
	start := time.Now().UTC().Truncate(time.Second)
	told := func(id, status string, before time.Duration) string {
		more := ""
		if status != "" {
			more = fmt.Sprintf(`,"status":%q`, status)
		}
		return fmt.Sprintf(`{"id":%q,"account_id":"zulu","channel":"sms","occurred_at":%q%s}`, id, start.Add(-before).Format(time.RFC3339), more)
	}
	pairs := map[string][2]string{ // a message and its copy
		"cold":      {told("cold", "sent", 10*day), told("cold", "failed", 10*day-time.Minute)},
		"hot":       {told("hot", "sent", 50*time.Minute), told("hot", "failed", 45*time.Minute)},
		"none":      {told("none", "", 10*day), told("none", "failed", 10*day)},
		"same time": {told("same time", "sent", 10*day), told("same time", "failed", 10*day)},
		"delivered": {told("delivered", "failed", 10*day), told("delivered", "delivered", 10*day-5*time.Minute)},
		"older":     {told("older", "delivered", 10*day), told("older", "failed", 10*day+time.Minute)},
		"restamped": {told("restamped", "sent", 10*day), told("restamped", "sent", 9*day)},
		"earlier":   {told("earlier", "", 10*day), told("earlier", "failed", 10*day+time.Minute)},
		"unsaid":    {told("unsaid", "sent", 10*day), told("unsaid", "", 9*day)},
	}
	for id, p := range pairs {
		assert.Equal(t, balance.Counts{Stored: 1}, h.Batch().Task(p[0]).Wait(), id)
	}
	for id, p := range pairs { // again and again, each time the same status
		for range 2 {
			assert.Equal(t, balance.Counts{Duplicates: 1}, h.Batch().Task(p[1]).Wait(), id)
		}
	}
	assert.Equal(t, balance.Counts{Stored: 1, Duplicates: 1},
		h.Batch().Task(told("together", "sent", 10*day), told("together", "failed", 10*day-time.Minute)).Wait())
	stop()
	h.work(Options{})
	statuses := func() map[string]string {
		return h.pairs("SELECT refers_to, status FROM records FINAL WHERE kind = 'status' AND account_id = 'zulu'")
	}
	want := map[string]string{
		"cold": "failed", "hot": "failed", "none": "failed", "earlier": "failed", "same time": "failed", "together": "failed", "delivered": "delivered",
		"older": "failed", "restamped": "sent",
	}
	h.Eventually("their statuses count", func() bool { return len(statuses()) >= len(want) && h.undecided() == 0 })
	assert.Equal(t, want, statuses())
	delete(want, "older") // it was delivered within the plan's ten minutes
	var due []string
	for id, status := range want {
		if status == "failed" {
			due = append(due, id)
		}
	}
	h.Eventually("they are refunded", func() bool { return len(h.refunded("zulu")) >= len(due) })
	h.Eventually("nothing is under way", func() bool { return h.Reconcile() == 0 })
	assert.ElementsMatch(t, due, slices.Collect(maps.Keys(h.refunded("zulu"))))
}

// TestStatusesOfCopiesInAnyOrder: three copies of a message, each with a status, in
// every order, in one task and one after another: event times alone decide.
func TestStatusesOfCopiesInAnyOrder(t *testing.T) {
	t.Parallel()
	h, at, decide := backfill(t)
	type copies [3]struct {
		status string
		minute int
	}
	want := map[string]string{}
	together := h.Batch()
	var apart [3][]string
	for name, c := range map[string]struct {
		copies copies
		due    int // minute of the refund, -1: none
	}{
		"late":  {copies{{"sent", 0}, {"failed", 1}, {"delivered", 60}}, 11},
		"soon":  {copies{{"sent", 0}, {"failed", 1}, {"delivered", 5}}, -1},
		"again": {copies{{"failed", 0}, {"delivered", 5}, {"failed", 8}}, 10},
	} {
		for n, o := range orders() {
			for _, how := range []string{"together", "apart"} {
				id := fmt.Sprint(name, " ", n, " ", how)
				var lines []string
				for _, i := range o {
					lines = append(lines, fmt.Sprintf(`{"id":%q,"account_id":"zulu","channel":"sms","status":%q,"occurred_at":%q}`, id, c.copies[i].status, at(c.copies[i].minute)))
				}
				if c.due >= 0 {
					want[id] = at(c.due)
				}
				if how == "together" {
					together.Task(lines...)
					continue
				}
				for i, l := range lines {
					apart[i] = append(apart[i], l)
				}
			}
		}
	}
	together.Wait()
	for _, lines := range apart {
		h.Batch().Task(lines...).Wait()
	}
	decide()
	h.decided(want)
}
