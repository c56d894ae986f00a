package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

// Undecided is a reason to look whether a message is refunded automatically: a
// status that its plan may refund, or that it came late itself.
type Undecided struct {
	MessageKey

	At      time.Time // when that occurred
	Arrived time.Time
}

// UndecidedQuery asks for a page of them.
type UndecidedQuery struct {
	After   MessageKey // the last of the page before
	At      time.Time  // none that occurred later
	Arrived time.Time  // none that came later
	Limit   int
}

// Undecided is what hasn't been decided, in the order of the messages' keys.
func (l *Ledger) Undecided(ctx context.Context, q *UndecidedQuery) ([]Undecided, error) {
	params := map[string]string{
		"account": q.After.AccountID, "message": q.After.ID, "at": ms(q.At), "arrived": ms(q.Arrived), "limit": strconv.Itoa(q.Limit),
	}
	var out []Undecided
	err := l.each(ctx, "failing_due", params, func(r driver.Rows) error {
		var u Undecided
		err := r.Scan(&u.AccountID, &u.ID, &u.At, &u.Arrived)
		out = append(out, u)
		return err
	})
	return out, err
}

// Decided takes them from what is undecided. What came after they were read has
// their message looked at again.
func (l *Ledger) Decided(ctx context.Context, list []Undecided) error {
	if len(list) == 0 {
		return nil
	}
	n := len(list)
	accounts, messages, signs := make([]string, n), make([]string, n), make([]int8, n)
	at, arrived := make([]time.Time, n), make([]time.Time, n)
	for i, u := range list {
		accounts[i], messages[i], at[i], arrived[i], signs[i] = u.AccountID, u.ID, u.At, u.Arrived, -1
	}
	return l.insertColumns(ctx, "undecided", "account_id, message_id, at, arrived, sign", accounts, messages, at, arrived, signs)
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
		n := pageOfMessages(keys)
		accounts, ids := make([]string, n), make([]string, n)
		for i, k := range keys[:n] {
			accounts[i], ids[i] = k.AccountID, k.ID
		}
		keys = keys[n:]
		params := map[string]string{"accounts": array(accounts), "ids": array(ids)}
		if err := l.each(ctx, "message_statuses", params, func(r driver.Rows) error { return scanTrace(r, out) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func pageOfMessages(keys []MessageKey) int {
	ids := make([]metering.Identity, len(keys))
	for i, k := range keys {
		ids[i] = metering.Identity{AccountID: k.AccountID, ID: k.ID}
	}
	return pageOf(ids)
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
