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

// InsertTransfers stores both lines of each; a reference's newest epoch stands.
func (l *Ledger) InsertTransfers(ctx context.Context, list []TransferRow) error {
	var refs, kinds, parents, accounts, purses, currencies, reasons, actors, booked []string
	var lines, invoiced []uint8
	var amounts, bases []decimal.Decimal
	var afters []*decimal.Decimal
	var hashes, seqs []uint64
	var at []time.Time
	var epochs []uint32
	for i := range list {
		t := &list[i]
		for n, line := range t.Transfer.Lines() {
			refs = append(refs, t.Transfer.Ref)
			lines = append(lines, uint8(n))
			kinds = append(kinds, string(t.Transfer.Kind))
			parents = append(parents, t.Transfer.ParentID)
			accounts = append(accounts, line.AccountID)
			purses = append(purses, string(line.Purse))
			amounts = append(amounts, line.Amount.Decimal())
			currencies = append(currencies, t.Transfer.Currency)
			reasons = append(reasons, t.Transfer.Reason)
			actors = append(actors, t.Transfer.Actor)
			invoiced = append(invoiced, bit(t.Transfer.Invoiced))
			hashes = append(hashes, t.Transfer.ContentHash())
			booked = append(booked, t.Booked)
			at = append(at, t.At)
			epochs = append(epochs, uint32(t.Epoch))
			seqs = append(seqs, uint64(t.Seq))
			base := metering.Micros(0)
			if n == 1 {
				base = t.Base
			}
			bases = append(bases, base.Decimal())
			var after *decimal.Decimal
			if held, ok := t.After[line.AccountID]; ok {
				d := held.Decimal()
				after = &d
			}
			afters = append(afters, after)
		}
	}
	if len(refs) == 0 {
		return nil
	}
	return l.insertColumns(ctx, "transfers",
		"ref, line, kind, parent_id, account_id, purse, amount, currency, reason, actor, content_hash, booked, transferred_at, epoch, seq, base, balance_after, invoiced",
		refs, lines, kinds, parents, accounts, purses, amounts, currencies, reasons, actors, hashes, booked, at, epochs, seqs, bases, afters, invoiced)
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
