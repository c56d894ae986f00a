package ledger

import (
	"context"
	"net"
	"time"
)

// silenceMax is how long ClickHouse may say nothing before its answer is given
// up. A server that is paused keeps its connections, and most questions have no
// other bound.
const silenceMax = 5 * time.Minute

// dialer dials connections that break after so long a silence.
func dialer(silence time.Duration) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		d := net.Dialer{Timeout: dialMax}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return &hearing{Conn: c, silence: silence}, nil
	}
}

// hearing is a connection whose silence counts from the last read or write: a
// read may have begun long before the question was written.
type hearing struct {
	net.Conn

	silence time.Duration
}

// Read implements net.Conn.
func (h *hearing) Read(p []byte) (int, error) {
	if err := h.extend(); err != nil {
		return 0, err
	}
	return h.Conn.Read(p)
}

// Write implements net.Conn.
func (h *hearing) Write(p []byte) (int, error) {
	if err := h.extend(); err != nil {
		return 0, err
	}
	return h.Conn.Write(p)
}

func (h *hearing) extend() error {
	return h.SetReadDeadline(time.Now().Add(h.silence)) //nolint:forbidigo // a wait of the machine's own time
}
