package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Breaker is a change of a partition's breaker.
type Breaker struct {
	Partition   int
	Open        bool
	AccountID   string // whose suspension opened it
	Actor, Note string // who released it, and why
	At          time.Time
}

// Breaker is a partition's newest change; a zero At: it never opened.
func (l *Ledger) Breaker(ctx context.Context, partition int) (*Breaker, error) {
	b := &Breaker{Partition: partition}
	err := l.each(ctx, "breaker", map[string]string{"partition": strconv.Itoa(partition)}, func(r driver.Rows) error {
		return r.Scan(&b.Open, &b.AccountID, &b.Actor, &b.Note, &b.At)
	})
	return b, err
}

// OpenBreakers are those of all partitions, of whatever number, the oldest first.
func (l *Ledger) OpenBreakers(ctx context.Context) ([]Breaker, error) {
	var out []Breaker
	err := l.each(ctx, "breakers_open", nil, func(r driver.Rows) error {
		var p uint16
		b := Breaker{Open: true}
		err := r.Scan(&p, &b.AccountID, &b.At)
		b.Partition = int(p)
		out = append(out, b)
		return err
	})
	return out, err
}

func breakersTable() *table[Breaker] {
	return &table[Breaker]{"breakers", []column[Breaker]{
		col("partition", func(b *Breaker) uint16 { return uint16(b.Partition) }),
		col("open", func(b *Breaker) bool { return b.Open }),
		col("account_id", func(b *Breaker) string { return b.AccountID }),
		col("actor", func(b *Breaker) string { return b.Actor }),
		col("note", func(b *Breaker) string { return b.Note }),
		col("changed_at", func(b *Breaker) time.Time { return b.At }),
	}}
}

// InsertBreaker stores a breaker's change.
func (l *Ledger) InsertBreaker(ctx context.Context, b *Breaker) error {
	return breakersTable().insert(ctx, l, []Breaker{*b})
}
