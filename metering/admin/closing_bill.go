package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// keepLines is how many lines of an account are noted at once.
const keepLines = 100_000

// billing adds a month's lines up, as they come: what its bill says, what each
// purse holds at its end, and which lines they were. All of it is of the same
// lines, so that a row that lands beside is in none.
type billing struct {
	*metering.Bill

	keep     func(account string, lines []uint64) error
	parent   string
	balances map[string]metering.Sum
	account  string
	lines    []uint64            // of account, not kept yet
	twice    []metering.Identity // of which another line came; bounded by twiceMax
}

// twiceMax is how many identities are mended at once.
const twiceMax = 100_000

func (b *billing) take(l *metering.BillLine) error {
	if err := b.Add(l); errors.Is(err, metering.ErrBillTwice) && len(b.twice) < twiceMax {
		b.twice = append(b.twice, metering.Identity{AccountID: l.AccountID, Kind: l.Kind, ID: l.ID})
		return nil
	} else if err != nil {
		return err
	}
	if l.AccountID != b.account || len(b.lines) >= keepLines {
		if err := b.flush(); err != nil {
			return err
		}
		b.account = l.AccountID
	}
	b.lines = append(b.lines, l.Hash())
	net := l.Amount
	if l.Kind == metering.KindRefund {
		net = -net
	}
	switch l.Purse {
	case metering.PurseWallet:
		b.balances[b.parent] = b.balances[b.parent].Minus(net.Sum())
	case metering.PurseBudget:
		b.balances[l.AccountID] = b.balances[l.AccountID].Minus(net.Sum())
	case metering.PurseCredit, metering.PurseExternal:
	}
	return nil
}

func (b *billing) flush() error {
	if len(b.lines) == 0 {
		return nil
	}
	err := b.keep(b.account, b.lines)
	b.lines = b.lines[:0]
	return err
}

// twiceSince is how long before a month the first of two copies that it has one of
// is looked for.
const twiceSince = 62 * 24 * time.Hour

// billOnce is the month's bill with each identity once, and none that is in
// another's. A retry with another occurred_at, of which no set knew, was charged
// again; where the two times lie in different months of UTC ClickHouse keeps both
// rows. What was booked first stands. The other goes, from this month or from one
// that comes after it, and the next comparison of projection and ledger gives its
// charge back.
func (c *Closer) billOnce(ctx context.Context, a *metering.Account, month metering.Period) (*ledger.Closing, error) {
	of := ledger.ParentMonth{ParentID: a.ID, Period: month.Name}
	var before []metering.Identity
	for {
		var done *ledger.Closing
		twice, err := c.ledger.BookedTwice(ctx, of, c.snapshots.Current().Family(a.ID), month.Start.Add(-twiceSince))
		if err == nil && len(twice) == 0 {
			done, twice, err = c.bill(ctx, a, month)
		}
		if err != nil || len(twice) == 0 {
			return done, err
		}
		if len(before) > 0 && before[0] == twice[0] {
			return nil, fmt.Errorf("close %s of %s: a copy's row can't be removed from the ledger: %w", month.Name, a.ID, metering.ErrBillTwice)
		}
		before = twice
		findings := make([]ledger.Finding, len(twice))
		for i, id := range twice {
			findings[i] = ledger.Finding{
				At: c.clock.Now().UTC(), Kind: ledger.FindingTwice, AccountID: id.AccountID, Field: string(id.Kind) + " " + id.ID,
				Expected: "1 row", Actual: "another beside that of " + month.Name, Healed: true,
			}
		}
		if err := c.ledger.InsertFindings(ctx, findings); err != nil {
			return nil, err
		}
		if err := c.ledger.DropCopies(ctx, of, twice); err != nil {
			return nil, err
		}
		c.log.ErrorContext(ctx, "identities were charged twice, one row of each was removed",
			slog.String("parent", a.ID), slog.String("period", month.Name), slog.Int("identities", len(twice)))
	}
}

// bill adds the month's lines up. twice: identities that have another line.
func (c *Closer) bill(ctx context.Context, a *metering.Account, month metering.Period) (done *ledger.Closing, twice []metering.Identity, err error) {
	base, err := c.ledger.Base(ctx, a.ID, month.Name)
	if err != nil {
		return nil, nil, err
	}
	moved, err := c.ledger.TransfersThrough(ctx, a.ID, base.Through, month.Name)
	if err != nil {
		return nil, nil, err
	}
	for id, n := range base.Balances {
		moved[id] = moved[id].Plus(n.Sum())
	}
	b := &billing{Bill: metering.NewBill(month.Name), parent: a.ID, balances: moved, keep: func(account string, lines []uint64) error {
		return c.ledger.SaveClosedLines(ctx, ledger.ParentMonth{ParentID: a.ID, Period: month.Name}, account, lines)
	}}
	if err := c.ledger.BillLines(ctx, a.ID, month.Name, b.take); err != nil {
		return nil, nil, err
	}
	if err := b.flush(); err != nil {
		return nil, nil, err
	}
	balances, err := metering.MicrosOf(b.balances)
	if err != nil {
		return nil, nil, fmt.Errorf("close %s of %s: balance of %w", month.Name, a.ID, err)
	}
	return &ledger.Closing{
		ParentID: a.ID, Period: month.Name, State: ledger.ClosingDone, Start: month.Start, End: month.End,
		Records: uint64(b.Records), Amount: b.Amount, Refunds: b.Refunds, Adjustments: b.Adjustments,
		Lines: uint64(b.Lines), Digest: b.Digest(), AsOf: c.clock.Now().UTC().Truncate(time.Millisecond), Balances: balances,
	}, b.twice, nil
}
