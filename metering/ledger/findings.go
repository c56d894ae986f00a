package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Kinds of findings.
const (
	FindingDrift       = "projection_drift"
	FindingStraggler   = "closed_month_straggler"
	FindingChanged     = "closed_month_changed"
	FindingTwice       = "identity_twice"
	FindingWithoutTask = "answer_without_task"
	FindingDelivered   = "delivered_after_refund"
	FindingNotDue      = "refund_not_due"
)

// FindingKind is what a kind of finding means.
type FindingKind struct {
	Name  string
	Means string
	Do    string
	// Alarming: somebody must look at it, also where all is healed.
	Alarming bool
}

// FindingKinds are all of them.
func FindingKinds() []FindingKind {
	return []FindingKind{
		{
			FindingDrift, "a balance or a month's use in Redis wasn't what the ledger's rows come to, and was corrected by the difference; or Redis had lost an account, and the projection was made anew",
			"after a loss of Redis or a rebuild under load it may be, once; otherwise look for who else writes to meterd's Redis or tables, for a ClickHouse restored from an older backup, or a Redis that lost acknowledged writes", true,
		},
		{
			FindingStraggler, "a row landed in a month that was closed; it is booked in the open one",
			"look why an insert took more than ten minutes; the bill of the closed month stays as it was", true,
		},
		{
			FindingChanged, "the rows of a closed month don't give its digest any more; nothing was moved",
			"somebody changed or removed rows: compare the month with a backup", true,
		},
		{
			FindingTwice, "a message was charged twice under times of two months, after a loss of Redis; one of them was removed, and its charge is given back by reconcile",
			"nothing, unless they are many", true,
		},
		{
			FindingWithoutTask, "a charge whose task was lost was given up; reconcile gives it back, and it is made again when its records are sent again",
			"have the channel services send again what they sent at that time", false,
		},
		{
			FindingDelivered, "a message that was refunded by itself for failing was delivered after all",
			"nothing: the refund stands", false,
		},
		{
			FindingNotDue, "a message that was refunded by itself had a status, which came too late to prevent that",
			"nothing: the refund stands", false,
		},
	}
}

// Finding is something that should never be. What Expected and Actual are depends
// on its kind: of a drift what the ledger comes to and what the projection held,
// of a straggler the month that it was booked in and that it landed in, of a
// closed month its digest as it was and is.
type Finding struct {
	At               time.Time
	Kind             string
	AccountID, Field string
	Expected, Actual string
	Healed           bool

	// ID is made of the above when it is read.
	ID string
	// AckedAt is when somebody had looked at it, Actor who, Note what came of it.
	// Zero: nobody has.
	AckedAt     time.Time
	Actor, Note string
}

func findingsTable() *table[Finding] {
	return &table[Finding]{"findings", []column[Finding]{
		col("found_at", func(f *Finding) time.Time { return f.At }),
		col("kind", func(f *Finding) string { return f.Kind }),
		col("account_id", func(f *Finding) string { return f.AccountID }),
		col("field", func(f *Finding) string { return f.Field }),
		col("expected", func(f *Finding) string { return f.Expected }),
		col("actual", func(f *Finding) string { return f.Actual }),
		col("healed", func(f *Finding) bool { return f.Healed }),
	}}
}

// InsertFindings stores findings.
func (l *Ledger) InsertFindings(ctx context.Context, list []Finding) error {
	return findingsTable().insert(ctx, l, list)
}

// findingID is made of what a finding says. A closed month that has changed is found
// again and again until somebody restores it.
const findingID = "lower(hex(sipHash128(if(kind = '" + FindingChanged + "', 0, toUnixTimestamp64Milli(found_at)), kind, account_id, field, if(kind = '" + FindingChanged + "', actual, ''))))"

// FindingsQuery selects findings.
type FindingsQuery struct {
	ID    string // or how it begins; "": any
	Kind  string // "": any
	Acked bool   // those that somebody has looked at too
	Limit int
}

// Findings are the newest of those that are asked for.
func (l *Ledger) Findings(ctx context.Context, q FindingsQuery) (out []Finding, err error) {
	acked := "0"
	if q.Acked {
		acked = "1"
	}
	err = l.each(ctx, "findings", map[string]string{"id": q.ID, "kind": q.Kind, "acked": acked, "limit": strconv.Itoa(q.Limit)}, func(r driver.Rows) error {
		var f Finding
		err := r.Scan(&f.ID, &f.At, &f.Kind, &f.AccountID, &f.Field, &f.Expected, &f.Actual, &f.Healed, &f.AckedAt, &f.Actor, &f.Note)
		if f.AckedAt.Unix() <= 0 {
			f.AckedAt = time.Time{}
		}
		out = append(out, f)
		return err
	})
	return out, err
}

func acksTable(actor, note string, now time.Time) *table[string] {
	return &table[string]{"finding_acks", []column[string]{
		col("id", func(id *string) string { return *id }),
		col("actor", func(*string) string { return actor }),
		col("note", func(*string) string { return note }),
		col("acked_at", func(*string) time.Time { return now.UTC() }),
	}}
}

// AckFindings notes who has looked at findings, and what came of it.
func (l *Ledger) AckFindings(ctx context.Context, ids []string, actor, note string, now time.Time) error {
	return acksTable(actor, note, now).insert(ctx, l, ids)
}

// AlarmingFindings counts those that somebody must look at and nobody has, by kind.
func (l *Ledger) AlarmingFindings(ctx context.Context) (map[string]uint64, error) {
	var kinds []string
	for _, k := range FindingKinds() {
		if k.Alarming {
			kinds = append(kinds, k.Name)
		}
	}
	out := map[string]uint64{}
	err := l.each(ctx, "findings_open", map[string]string{"kinds": array(kinds)}, func(r driver.Rows) error {
		var kind string
		var n uint64
		err := r.Scan(&kind, &n)
		out[kind] = n
		return err
	})
	return out, err
}
