package ledger

import (
	"context"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

// DropCopies removes from a parent's month what is there twice: of an identity
// that lies in several months of UTC (ClickHouse replaces rows within one) one
// row stays, that of the newest epoch. It may be cut off and run again anywhere.
func (l *Ledger) DropCopies(ctx context.Context, m ParentMonth, ids []metering.Identity) error {
	ctx, cancel := context.WithTimeout(ctx, insertMax)
	defer cancel()
	for page := range slices.Chunk(ids, rebookPage) {
		params := identityParams(page)
		params["parent"], params["booked"], params["ahead"] = m.ParentID, m.Period, strconv.Itoa(int(insertMax.Seconds()))
		if err := l.exec(ctx, "rebook_hours", params); err != nil {
			return err
		}
		var stands metering.Identity
		surplus := map[uint32][]metering.Identity{}
		if err := l.each(ctx, "copies", params, func(r driver.Rows) error {
			var id metering.Identity
			var kind string
			var month uint32
			if err := r.Scan(&id.AccountID, &kind, &id.ID, &month); err != nil {
				return err
			}
			if id.Kind = metering.Kind(kind); id == stands {
				surplus[month] = append(surplus[month], id)
			}
			stands = id
			return nil
		}); err != nil {
			return err
		}
		for month, list := range surplus {
			params := identityParams(list)
			params["parent"], params["month"] = m.ParentID, strconv.Itoa(int(month))
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
