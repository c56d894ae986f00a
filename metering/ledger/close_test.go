package ledger

import (
	"testing"
	"testing/synctest"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"
)

// stuck is a pool whose Close doesn't return.
type stuck struct {
	driver.Conn

	until chan struct{}
}

// Close implements driver.Conn.
func (s stuck) Close() error {
	<-s.until
	return nil
}

func TestCloseEndsThoughThePoolDoesnt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := stuck{until: make(chan struct{})}
		defer close(pool.until)
		l := &Ledger{conn: pool, database: "meterd"}
		require.EqualError(t, l.Close(), "close clickhouse: the connections of database meterd aren't closed after 5s; they end with the process")
	})
}
