package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/meterd/meterd/metering/ledger"
)

// rollAllEvery is how often the roller asks of all marks, not only the new ones:
// one that was longer on its way than any insert may be is found then.
const rollAllEvery = time.Hour

// rollup keeps the rollups of hours that are over. Any number may run: what is
// due stands in the ledger, and rolling an hour twice is harmless.
type rollup struct {
	ledger *ledger.Ledger
	log    *slog.Logger

	since time.Time // marks before it have been dealt with
	all   time.Time // when all marks were asked for
}

// newRollup returns a roller.
func newRollup(l *ledger.Ledger, log *slog.Logger) *rollup {
	return &rollup{ledger: l, log: log}
}

// pass rolls all that is due now.
func (r *rollup) pass(ctx context.Context) error {
	now, err := r.ledger.Now(ctx) // which dates the marks
	if err != nil {
		return err
	}
	since := r.since
	if now.Sub(r.all) >= rollAllEvery {
		since = time.Time{}
	}
	for {
		due, err := r.ledger.DueHours(ctx, since, now)
		if err != nil {
			return fmt.Errorf("ask which hours are due: %w", err)
		}
		if err := r.ledger.RollHours(ctx, due, now); err != nil {
			return err
		}
		if len(due) > 0 {
			r.log.DebugContext(ctx, "rolled hours", slog.Int("hours", len(due)))
		}
		if len(due) < ledger.DueMax {
			break
		}
	}
	if since.IsZero() {
		r.all = now
	}
	r.since = ledger.MarkedBefore(now)
	return nil
}
