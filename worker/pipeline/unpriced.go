package pipeline

import (
	"context"
	"sync"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
)

// toldMax bounds the alerts that a worker remembers.
const toldMax = 10_000

// unpriced has an alert sent when records of an account can't be priced, once a
// month for each account and channel: until the plan is mended nobody pays for
// them.
type unpriced struct {
	mu   sync.Mutex
	told map[string]bool // an asynq task and a hook's mark say the same, dearer
}

// alertUnpriced looks for such refusals among an attempt's.
func (pl *Pipeline) alertUnpriced(ctx context.Context, try *attempt) error {
	now := pl.clock.Now()
	for _, r := range try.refused {
		if r.reason != metering.ReasonNoPrice {
			continue
		}
		rec := &try.t.recs[r.line]
		a := try.snap.Accounts[rec.AccountID]
		if a == nil {
			continue
		}
		period := a.Calendar.Of(now).Name
		id := "alert:" + wire.LimitNoPrice + ":" + a.ID + ":" + rec.Channel + ":" + period
		if pl.noPrice.known(id) {
			continue
		}
		if err := wire.EnqueueAccountJob(ctx, pl.queue, wire.TypeAlert, id, wire.Alert{
			AccountID: a.ID, ParentID: a.ParentID, Limit: wire.LimitNoPrice, Channel: rec.Channel, Period: period, At: now.UnixMilli(),
		}); err != nil {
			return err
		}
		pl.noPrice.tell(id)
	}
	return nil
}

func (u *unpriced) known(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.told[id]
}

func (u *unpriced) tell(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.told == nil || len(u.told) >= toldMax {
		u.told = map[string]bool{}
	}
	u.told[id] = true
}
