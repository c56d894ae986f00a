package ledger

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

const (
	copiesMax      = 10_000 // identities that BookedTwice returns of a page at most
	copiesAccounts = 100    // in a page: an answer must begin before the silence is too long
)

// BookedTwice returns identities of a parent's accounts that its month has and
// another month too, of rows that occurred from an instant on: not all where there
// are very many.
func (l *Ledger) BookedTwice(ctx context.Context, m ParentMonth, accounts []string, from time.Time) (list []metering.Identity, err error) {
	for page := range slices.Chunk(accounts, copiesAccounts) {
		params := map[string]string{"parent": m.ParentID, "booked": m.Period, "accounts": array(page), "from": ms(from), "limit": strconv.Itoa(copiesMax)}
		if err := l.each(ctx, "booked_twice", params, func(r driver.Rows) error {
			var id metering.Identity
			var kind string
			if err := r.Scan(&id.AccountID, &kind, &id.ID); err != nil {
				return err
			}
			id.Kind = metering.Kind(kind)
			list = append(list, id)
			return nil
		}); err != nil || len(list) >= copiesMax {
			return list, err
		}
	}
	return list, nil
}

// DropCopies leaves one row of identities that a parent's month has twice, or that
// another month has too (ClickHouse replaces rows within one month of UTC only): the
// row that is booked first, of one month that of the newest epoch. Rows of older
// months stay, for they are closed. It may be cut off and run again anywhere.
func (l *Ledger) DropCopies(ctx context.Context, m ParentMonth, ids []metering.Identity) error {
	ctx, cancel := context.WithTimeout(ctx, metering.InsertMax)
	defer cancel()
	for page := range slices.Chunk(ids, rebookPage) {
		params := identityParams(page)
		params["parent"], params["booked"], params["ahead"] = m.ParentID, m.Period, strconv.Itoa(int(metering.InsertMax.Seconds()))
		if err := l.exec(ctx, "rebook_hours", params); err != nil {
			return err
		}
		var stands metering.Identity
		type month struct {
			booked string
			utc    uint32
		}
		surplus := map[month][]metering.Identity{}
		if err := l.each(ctx, "copies", params, func(r driver.Rows) error {
			var id metering.Identity
			var kind string
			var of month
			if err := r.Scan(&id.AccountID, &kind, &id.ID, &of.booked, &of.utc); err != nil {
				return err
			}
			if id.Kind = metering.Kind(kind); id == stands && of.booked >= m.Period {
				surplus[of] = append(surplus[of], id)
			}
			stands = id
			return nil
		}); err != nil {
			return err
		}
		for of, list := range surplus {
			params := identityParams(list)
			params["parent"], params["booked"], params["month"] = m.ParentID, of.booked, strconv.Itoa(int(of.utc))
			if err := l.exec(ctx, "drop_copies", params); err != nil {
				return err
			}
		}
	}
	return nil
}

// identityParams are the parallel arrays that name identities.
func identityParams(ids []metering.Identity) map[string]string {
	accounts, kinds, names := make([]string, len(ids)), make([]string, len(ids)), make([]string, len(ids))
	for i, id := range ids {
		accounts[i], kinds[i], names[i] = id.AccountID, string(id.Kind), id.ID
	}
	return map[string]string{"accounts": array(accounts), "kinds": array(kinds), "ids": array(names)}
}
