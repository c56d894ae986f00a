package embedded

import (
	"context"
	"time"
)

// CutTail is cutTail, LastIncrement lastIncrement.
var (
	CutTail       = cutTail
	LastIncrement = lastIncrement
)

// RunCancelled runs a statement whose request has ended before the engine begins
// it, and the first try to stop it has found nothing.
func (c *ClickHouse) RunCancelled(ctx context.Context, sql string) error {
	cn, err := c.acquire(ctx, "", nil)
	if err != nil {
		return err
	}
	defer c.discard(cn)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	defer c.killOnCancel(ended, cn)()
	select {
	case <-time.After(500 * time.Millisecond): // that try has been
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err = cn.query(sql, "Null", params{})
	return err
}
