package suspend

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"time"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/worker/metrics"
	"github.com/meterd/meterd/worker/pipeline"
)

// eventBreaker is told to the operator's hooks.
const eventBreaker = "breaker"

// Brakes are how many accounts of a partition may be suspended within a minute: so
// many, and so many percent of them. 0: any number.
type Brakes struct{ Accounts, Share int }

// Bound sets a partition's bound, which follows the number of accounts.
func (b Brakes) Bound(s *balance.Store, snapshots *admin.Snapshots) pipeline.Bound {
	return func(ctx context.Context, p int, meta *balance.Meta) error {
		accounts := 0
		snap := snapshots.Current()
		for _, parent := range snap.Parents {
			if s.PartitionOf(parent) == p {
				accounts += 1 + len(snap.Subs[parent])
			}
		}
		return s.SetBreaker(ctx, p, meta, b.most(accounts))
	}
}

// most of so many accounts is the lower of both bounds; 0: none.
func (b Brakes) most(accounts int) int {
	share := 0
	if b.Share > 0 {
		share = max(accounts*b.Share/100, 1)
	}
	switch {
	case b.Accounts == 0:
		return share
	case share == 0:
		return b.Accounts
	}
	return min(b.Accounts, share)
}

// Breakers keep each partition's bound.
type Breakers struct{ Deps }

// Watch keeps every partition's bound, and the gauge of those breakers that are open.
func (b *Breakers) Watch(ctx context.Context) error {
	if err := b.Projections.SetBounds(ctx); err != nil {
		return err
	}
	for p := range b.Store.Partitions() {
		at, err := b.Store.BreakerOpenSince(ctx, p)
		if err != nil {
			return b.Projections.ForgetIfOver(p, err)
		}
		open := 0
		if !at.IsZero() {
			open = 1
		}
		b.Metrics.Breaker.WithLabelValues(strconv.Itoa(p)).Set(metrics.Float(open))
	}
	b.Metrics.MeasuredNow(metrics.MeasuredBreakers)
	return nil
}

// breakerData is the data of the operator's hook.
type breakerData struct {
	AccountID  string `json:"account_id"`
	ParentID   string `json:"parent_id"`
	Most       int64  `json:"most"`
	OccurredAt string `json:"occurred_at"`
}

// BreakerTask tells the operator that suspensions are held back.
func (h *Hooks) BreakerTask(ctx context.Context, id string, payload []byte) error {
	var b wire.Breaker
	if err := json.Unmarshal(payload, &b); err != nil {
		return h.poison(ctx, payload, err)
	}
	h.Log.ErrorContext(ctx, "the breaker is open: suspensions are held back until `meterd breaker release`",
		slog.String("first", b.AccountID), slog.Int64("most", b.Most))
	a := h.Snapshots.Current().Accounts[b.AccountID]
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
