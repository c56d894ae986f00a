// Package suspend tells what the record protocol has decided about accounts: the relay
// makes the outbox's facts rows of the ledger and jobs, hooks are the jobs' handlers,
// which call webhooks and send alerts, and breakers hold suspensions back where too many
// come at once (docs/domain.md, Statuses and states).
//
// It is a part of meterd, and no stable interface.
package suspend

import (
	"log/slog"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/metrics"
	"github.com/meterd/meterd/worker/pipeline"
)

// Deps are what suspensions are told with.
type Deps struct {
	Store       *balance.Store
	Ledger      *ledger.Ledger
	Snapshots   *admin.Snapshots
	Projections *pipeline.Projections
	Queue       wire.Enqueuer
	Clock       clock.Clock
	Log         *slog.Logger
	Metrics     *metrics.Set
}
