package ledger

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Identity tells this ledger from others: its database's name, and an id that its
// schema was given, for databases of one name on several servers. Migrate first.
func (l *Ledger) Identity(ctx context.Context) (string, error) {
	var id string
	err := l.each(ctx, "ledger_id", nil, func(r driver.Rows) error { return r.Scan(&id) })
	return l.database + "/" + id, err
}
