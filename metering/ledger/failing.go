package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

// Undecided is a reason to look whether a message is refunded automatically: a
// status that its plan may refund, that it came late itself, or that it was looked
// at too soon.
type Undecided struct {
	MessageKey

	ParentID string
	Look     Look
	Due      time.Time // when it is looked at; of LookNew: when the status or the message occurred
	Arrived  time.Time // the last of what is known of the message; of LookMade: when its refund was handed over
}

// Look is how far it is with a reason to look.
type Look uint8

// What is looked at.
const (
	LookNew   Look = iota // not looked at yet
	LookAgain             // looked at too soon
	LookMade              // its refund was handed over, and isn't known to stand
)

// UndecidedQuery asks for a page of them.
type UndecidedQuery struct {
	At, Arrived time.Time // of what wasn't looked at yet: none that occurred, or came, later
	Now         time.Time // what was looked at: none that is due later
	Limit       int
}

// Undecided is what is due to be decided: of each parent in its turn, the oldest
// first.
func (l *Ledger) Undecided(ctx context.Context, q *UndecidedQuery) ([]Undecided, error) {
	params := map[string]string{"at": ms(q.At), "arrived": ms(q.Arrived), "now": ms(q.Now), "limit": strconv.Itoa(q.Limit)}
	var out []Undecided
	err := l.each(ctx, "failing_due", params, func(r driver.Rows) error {
		var u Undecided
		err := r.Scan(&u.ParentID, &u.AccountID, &u.ID, (*uint8)(&u.Look), &u.Due, &u.Arrived)
		out = append(out, u)
		return err
	})
	return out, err
}

// looked is a look that is over (-1), or one to come (1).
type looked struct {
	Undecided

	sign int8
}

func looksTable() *table[looked] {
	return &table[looked]{"refund_looks", []column[looked]{
		col("again", func(u *looked) uint8 { return uint8(u.Look) }),
		col("due", func(u *looked) time.Time { return u.Due }),
		col("parent_id", func(u *looked) string { return u.ParentID }),
		col("account_id", func(u *looked) string { return u.AccountID }),
		col("message_id", func(u *looked) string { return u.ID }),
		col("arrived", func(u *looked) time.Time { return u.Arrived }),
		col("sign", func(u *looked) int8 { return u.sign }),
	}}
}

// Looked takes what was looked at from what is undecided, and adds what is looked
// at again, both or neither. What came after it was read has its message looked at
// again.
func (l *Ledger) Looked(ctx context.Context, at, again []Undecided) error {
	list := make([]looked, 0, len(at)+len(again))
	for i := range at {
		list = append(list, looked{at[i], -1})
	}
	for i := range again {
		list = append(list, looked{again[i], 1})
	}
	return looksTable().insert(ctx, l, list)
}

// Traces are what of a message is stored that decides whether it is refunded.
type Traces struct {
	Stored, Refunded bool
	Plan             string
	PlanVersion      int
	Statuses         []metering.MessageStatus // its own first one included
	Arrived          time.Time                // the last of these
}

// Traces of messages; one of which nothing is stored has none.
func (l *Ledger) Traces(ctx context.Context, keys []MessageKey) (map[MessageKey]*Traces, error) {
	release, err := l.lookup(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	out := make(map[MessageKey]*Traces, len(keys))
	for len(keys) > 0 {
		params, n := messageParams(keys)
		keys = keys[n:]
		if err := l.each(ctx, "message_statuses", params, func(r driver.Rows) error { return scanTrace(r, out) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func scanTrace(r driver.Rows, out map[MessageKey]*Traces) error {
	var k MessageKey
	var what string
	var s metering.MessageStatus
	var stored time.Time
	var plan string
	var version uint32
	if err := r.Scan(&k.AccountID, &k.ID, &what, &s.ID, &s.Status, &s.At, &stored, &plan, &version); err != nil {
		return err
	}
	t := out[k]
	if t == nil {
		t = &Traces{}
		out[k] = t
	}
	if metering.Kind(what) == metering.KindRefund {
		t.Refunded = true
		return nil
	}
	if metering.Kind(what) == metering.KindUsage {
		t.Stored, t.Plan, t.PlanVersion = true, plan, int(version)
	}
	if s.Status != "" {
		t.Statuses = append(t.Statuses, s)
	}
	if stored.After(t.Arrived) {
		t.Arrived = stored
	}
	return nil
}

// LateStatuses are messages whose automatic refund, stored since an instant, a
// status speaks against, and that no finding names yet; true: they were
// delivered. failing are the statuses that plans refund.
func (l *Ledger) LateStatuses(ctx context.Context, since time.Time, failing []string) (map[MessageKey]bool, error) {
	out := map[MessageKey]bool{}
	err := l.each(ctx, "delivered_refunds", map[string]string{"from": ms(since), "failing": array(failing)}, func(r driver.Rows) error {
		var k MessageKey
		var delivered uint8
		err := r.Scan(&k.AccountID, &k.ID, &delivered)
		out[k] = delivered > 0
		return err
	})
	return out, err
}
