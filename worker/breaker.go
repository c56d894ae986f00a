package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/metrics"
)

// eventBreaker is told to the operator's hooks.
const eventBreaker = "breaker"

// brakes are how many accounts of a partition may be suspended within a minute: so
// many, and so many percent of them. 0: any number.
type brakes struct{ accounts, share int }

// setBound sets a partition's bound, which follows the number of accounts.
func (e *engine) setBound(ctx context.Context, p int, meta *balance.Meta) error {
	accounts := 0
	snap := e.snapshots.Current()
	for _, parent := range snap.Parents {
		if e.store.PartitionOf(parent) == p {
			accounts += 1 + len(snap.Subs[parent])
		}
	}
	return e.store.SetBreaker(ctx, p, meta, e.brakes.most(accounts))
}

// watchBreakers keeps every partition's bound, and the gauge of those that are open.
func (w *Worker) watchBreakers(ctx context.Context) error {
	if err := w.engine.partitions(w.setBreaker)(ctx); err != nil {
		return err
	}
	w.engine.metrics.MeasuredNow(metrics.MeasuredBreakers)
	return nil
}

// setBreaker keeps a partition's bound, and tells whether its breaker is open: who
// doesn't look again, for it isn't a scheduler, must not say so for ever.
func (w *Worker) setBreaker(ctx context.Context, p int) error {
	e := w.engine
	meta, err := e.meta(ctx, p)
	if err != nil {
		return err
	}
	if err := e.setBound(ctx, p, meta); err != nil {
		return e.forgetMetaIfOver(p, err)
	}
	if !w.has(RoleScheduler) {
		return nil
	}
	at, err := e.store.BreakerOpenSince(ctx, p)
	if err != nil {
		return e.forgetMetaIfOver(p, err)
	}
	open := 0
	if !at.IsZero() {
		open = 1
	}
	e.metrics.Breaker.WithLabelValues(fmt.Sprint(p)).Set(metrics.Float(open))
	return nil
}

// most of so many accounts is the lower of both bounds; 0: none.
func (b brakes) most(accounts int) int {
	share := 0
	if b.share > 0 {
		share = max(accounts*b.share/100, 1)
	}
	switch {
	case b.accounts == 0:
		return share
	case share == 0:
		return b.accounts
	}
	return min(b.accounts, share)
}

// breakerData is the data of the operator's hook.
type breakerData struct {
	AccountID  string `json:"account_id"`
	ParentID   string `json:"parent_id"`
	Most       int64  `json:"most"`
	OccurredAt string `json:"occurred_at"`
}

// breakerTask tells the operator that suspensions are held back.
func (h *hooks) breakerTask(ctx context.Context, id string, payload []byte) error {
	var b wire.Breaker
	if err := json.Unmarshal(payload, &b); err != nil {
		return h.poison(ctx, payload, err)
	}
	h.log.ErrorContext(ctx, "the breaker is open: suspensions are held back until `meterd breaker release`",
		slog.String("first", b.AccountID), slog.Int64("most", b.Most))
	a := h.snapshots.Current().Accounts[b.AccountID]
	if a == nil {
		return nil
	}
	at := time.UnixMilli(b.At).UTC()
	m := &notify.Message{ID: messageID(id), Type: "operator." + eventBreaker, At: at, Data: breakerData{
		AccountID: b.AccountID, ParentID: b.ParentID, Most: b.Most, OccurredAt: stamp(at),
	}}
	var notices []*notice
	for _, hook := range h.operator {
		if hook.Wants(eventBreaker) {
			notices = append(notices, h.once(a, &hook, id, eventBreaker, 0, m))
		}
	}
	return h.bringAll(ctx, notices)
}
