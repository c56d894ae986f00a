package ledger

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"
)

// TestASilentServerIsGivenUp: it answers in part and then says nothing, with
// its connection open.
func TestASilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-gone
	}))
	defer server.Close()
	defer close(gone)
	conn, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{server.Listener.Addr().String()}, DialContext: dialer(200 * time.Millisecond),
	})
	require.NoError(t, err)
	l := &Ledger{conn: conn, database: "meterd"}
	l.server = remote{l}
	err = l.Ping(t.Context())
	require.ErrorIs(t, err, ErrAway)
	require.ErrorContains(t, err, "i/o timeout")
	require.NoError(t, l.Close())
}

// TestSilenceCountsFromTheQuestion: a connection that rested has all of its time
// again when it is asked.
func TestSilenceCountsFromTheQuestion(t *testing.T) {
	t.Parallel()
	var rec deadlines
	c := &hearing{Conn: &rec, silence: time.Hour}
	_, _ = c.Read(nil)
	_, _ = c.Write(nil)
	require.Len(t, rec.set, 2)
	for _, at := range rec.set {
		require.WithinDuration(t, time.Now().Add(time.Hour), at, 10*time.Minute)
	}
}

// deadlines keeps those that were set.
type deadlines struct {
	net.Conn

	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error { d.set = append(d.set, at); return nil }
func (d *deadlines) Read([]byte) (int, error)           { return 0, nil }
func (d *deadlines) Write([]byte) (int, error)          { return 0, nil }
