package ledger

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// stuck is a pool whose Close doesn't return.
type stuck struct {
	Server

	until chan struct{}
}

// Close implements Server.
func (s stuck) Close() error {
	<-s.until
	return nil
}

func TestCloseEndsThoughThePoolDoesnt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := stuck{until: make(chan struct{})}
		defer close(pool.until)
		l := &Ledger{server: pool, database: "meterd"}
		require.EqualError(t, l.Close(), "close clickhouse: the connections of database meterd aren't closed after 5s; they end with the process")
	})
}
