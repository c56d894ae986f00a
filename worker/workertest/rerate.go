package workertest

import (
	"context"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering/admin"
)

// RerateAccounts are of kilo, whose plan is wrong.
const RerateAccounts = `
plans:
  - id: wrong
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "1.00"}]}]
  - id: right
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.80"}]}]
  - id: other
    currency: EUR
    versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.70"}]}]
parents:
  - id: kilo
    module: enterprise
    timezone: UTC
    plan: wrong
    funding: {mode: postpaid}
`

// Rerate books kilo's present month by a plan.
func (h *Rig) Rerate(ref, plan string, progress func(int64)) error {
	h.TB.Helper()
	return h.RerateAs(h.TB.Context(), admin.RerateRequest{Ref: ref, Plan: plan, Progress: progress})
}

// RerateAs books kilo's present month as asked for.
func (h *Rig) RerateAs(ctx context.Context, q admin.RerateRequest) error {
	h.TB.Helper()
	_, err := h.Snapshots.Refresh(ctx)
	require.NoError(h.TB, err)
	q.Parent, q.Period, q.Apply, q.Reason, q.Actor = "kilo", h.Clock.Now().UTC().Format("2006-01"), true, "x", "operator"
	_, err = admin.Rerate(ctx, admin.RerateDeps{
		Ledger: h.Ledger, Store: h.Store, Snapshot: h.Snapshots.Current(), Queue: asynq.NewClientFromRedisClient(h.Redis), Clock: h.Clock,
	}, q)
	return err
}
