package ledger

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// TransferRow is a transfer as it is booked.
type TransferRow struct {
	Transfer metering.Transfer
	Booked   string
	At       time.Time
	Epoch    int64
	Seq      int64
	Base     metering.Micros // what the purse that got it held right after, if its alerts start anew
	// After is what each purse held right after, by account; one that isn't in it
	// isn't known.
	After map[string]metering.Micros
}

// transferSide is one line of a transfer: of the purse that money left (0) or reached (1).
type transferSide struct {
	*TransferRow

	n    int
	line metering.TransferLine
}

func transfersTable() *table[transferSide] {
	type side = transferSide
	return &table[side]{"transfers", []column[side]{
		col("ref", func(x *side) string { return x.Transfer.Ref }),
		col("line", func(x *side) uint8 { return uint8(x.n) }),
		col("kind", func(x *side) string { return string(x.Transfer.Kind) }),
		col("parent_id", func(x *side) string { return x.Transfer.ParentID }),
		col("account_id", func(x *side) string { return x.line.AccountID }),
		col("purse", func(x *side) string { return string(x.line.Purse) }),
		col("amount", func(x *side) decimal.Decimal { return x.line.Amount.Decimal() }),
		col("currency", func(x *side) string { return x.Transfer.Currency }),
		col("reason", func(x *side) string { return x.Transfer.Reason }),
		col("actor", func(x *side) string { return x.Transfer.Actor }),
		col("content_hash", func(x *side) uint64 { return x.Transfer.ContentHash() }),
		col("booked", func(x *side) string { return x.Booked }),
		col("transferred_at", func(x *side) time.Time { return x.At }),
		col("epoch", func(x *side) uint32 { return uint32(x.Epoch) }),
		col("seq", func(x *side) uint64 { return uint64(x.Seq) }),
		col("base", func(x *side) decimal.Decimal {
			if x.n == 0 {
				return decimal.Decimal{}
			}
			return x.Base.Decimal()
		}),
		col("balance_after", func(x *side) *decimal.Decimal {
			held, ok := x.After[x.line.AccountID]
			if !ok {
				return nil
			}
			d := held.Decimal()
			return &d
		}),
		col("invoiced", func(x *side) uint8 { return bit(x.Transfer.Invoiced) }),
	}}
}

// InsertTransfers stores both lines of each; a reference's newest epoch stands.
func (l *Ledger) InsertTransfers(ctx context.Context, list []TransferRow) error {
	var sides []transferSide
	for i := range list {
		t := &list[i]
		for n, line := range t.Transfer.Lines() {
			sides = append(sides, transferSide{t, n, line})
		}
	}
	return transfersTable().insert(ctx, l, sides)
}

// TransferLine is one movement of an account's purse.
type TransferLine struct {
	Ref, Kind, ParentID, AccountID, Purse string
	Amount                                metering.Micros
	Currency, Reason, Actor, Booked       string
	At                                    time.Time
	Other                                 string           // whose purse is the other side; "": the world outside
	After                                 *metering.Micros // what the purse held right after; nil: not known
	Invoiced                              bool             // an adjustment that is on an invoice
}

// scan reads the columns of queries/transfers.sql and report_transfers.sql.
func (t *TransferLine) scan(r driver.Rows) error {
	var amount decimal.Decimal
	var after *decimal.Decimal
	var invoiced uint8
	if err := r.Scan(&t.Ref, &t.Kind, &t.ParentID, &t.AccountID, &t.Purse, &amount, &t.Currency, &t.Reason, &t.Actor, &t.Booked, &t.At, &t.Other, &after, &invoiced); err != nil {
		return err
	}
	t.Amount, t.Invoiced = micros(amount), invoiced != 0
	if after != nil {
		held := micros(*after)
		t.After = &held
	}
	return nil
}

// Transfers of an account's purse, oldest first.
func (l *Ledger) Transfers(ctx context.Context, account string, f func(*TransferLine) error) error {
	return l.each(ctx, "transfers", map[string]string{"account": account}, func(r driver.Rows) error {
		var t TransferLine
		if err := t.scan(r); err != nil {
			return err
		}
		return f(&t)
	})
}

// UsedRef is whose a reference is, what was moved under it, and when.
type UsedRef struct {
	ParentID string
	Hash     uint64 // of the transfer's content
	At       time.Time
}

// TransferByRef tells of a reference; nil: it was never used.
func (l *Ledger) TransferByRef(ctx context.Context, ref string) (used *UsedRef, err error) {
	err = l.each(ctx, "transfer_by_ref", map[string]string{"ref": ref}, func(r driver.Rows) error {
		used = &UsedRef{}
		return r.Scan(&used.ParentID, &used.Hash, &used.At)
	})
	return used, err
}

// Ref is a used reference, for a rebuild.
type Ref struct {
	Ref    string
	Hash   uint64
	Booked string
	At     time.Time
	Amount metering.Micros
	Epoch  int64
	Seq    int64
	Base   metering.Micros // as TransferRow's
}

// Refs of parents that were used since an instant.
func (l *Ledger) Refs(ctx context.Context, parents []string, since time.Time, f func(*Ref) error) error {
	return l.each(ctx, "transfer_refs", map[string]string{"parents": array(parents), "since": ms(since)}, func(r driver.Rows) error {
		var x Ref
		var amount, base decimal.Decimal
		var seq uint64
		var epoch uint32
		if err := r.Scan(&x.Ref, &x.Hash, &x.Booked, &x.At, &amount, &epoch, &seq, &base); err != nil {
			return err
		}
		x.Amount, x.Epoch, x.Seq, x.Base = micros(amount), int64(epoch), int64(seq), micros(base)
		return f(&x)
	})
}
