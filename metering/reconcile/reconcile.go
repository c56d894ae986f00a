package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// ErrBusy says that open answers didn't settle in time for a comparison.
var ErrBusy = errors.New("charges are still on their way to the ledger: try again")

// Result of a comparison.
type Result struct {
	Checked int `json:"checked"` // accounts
	Drifted int `json:"drifted"` // fields that differed, and rows that landed in a closed month
	Healed  int `json:"healed"`
}

// Reconciler compares projection and ledger while ingest goes on.
type Reconciler struct {
	// Progress, if set, is told how many parents Run is through with.
	Progress Progress

	store  *balance.Store
	ledger *ledger.Ledger
	clock  clock.Clock
	log    *slog.Logger

	looked map[ledger.ParentMonth]look // closed months
}

// Progress is told how far work has come.
type Progress func(done, total int64)

func (p Progress) tell(done, total int) {
	if p != nil {
		p(int64(done), int64(total))
	}
}

// NewReconciler returns one. It isn't for several goroutines at once.
func NewReconciler(s *balance.Store, l *ledger.Ledger, c clock.Clock, log *slog.Logger) *Reconciler {
	return &Reconciler{store: s, ledger: l, clock: c, log: log, looked: map[ledger.ParentMonth]look{}}
}

// tries of one parent while corrections come between.
const tries = 5

// settleMax is how long a comparison waits for open answers.
const settleMax = 30 * time.Second

// Run looks at the closed months, then compares every parent of a snapshot. What
// differs is healed, and kept as a finding.
func (r *Reconciler) Run(ctx context.Context, snap *metering.Snapshot) (Result, error) {
	var res Result
	if err := r.closedMonths(ctx, snap, &res); err != nil {
		return res, err
	}
	for i, parent := range snap.Parents {
		r.Progress.tell(i, len(snap.Parents))
		if err := r.parent(ctx, snap, parent, &res); err != nil {
			return res, err
		}
	}
	return res, nil
}

func (r *Reconciler) parent(ctx context.Context, snap *metering.Snapshot, parent string, res *Result) error {
	p := r.store.PartitionOf(parent)
	ids := append([]string{parent}, snap.Subs[parent]...)
	var err error
	for range tries {
		var drifts []balance.Drift
		if drifts, err = r.compare(ctx, snap, p, parent, ids); err == nil {
			res.Checked += len(ids)
			res.Drifted += len(drifts)
			res.Healed += len(drifts)
			return nil
		}
		if !errors.Is(err, balance.ErrMoved) && !errors.Is(err, balance.ErrEpoch) {
			return err
		}
	}
	return err
}

// compare reads the projection and seq S in one script, waits until no open
// answer is ≤ S, sums the rows up to S, and adds the difference if no other
// correction came between.
func (r *Reconciler) compare(ctx context.Context, snap *metering.Snapshot, p int, parent string, ids []string) ([]balance.Drift, error) {
	base, err := r.ledger.Base(ctx, parent, "")
	if err != nil {
		return nil, err
	}
	proj, err := r.store.Read(ctx, p, ids)
	if err != nil {
		return nil, err
	}
	ok, err := r.store.WaitSettled(ctx, p, proj.Seq, settleMax)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrBusy
	}
	sums, err := r.ledger.Sums(ctx, parent, base, proj.Epoch, proj.Seq)
	if err != nil {
		return nil, err
	}
	drifts := differences(proj, sums, ids)
	if len(drifts) == 0 {
		return nil, nil
	}
	months := balance.MonthsAround(snap.Accounts[parent].Calendar, r.clock.Now())
	if err := r.store.Heal(ctx, p, proj.Epoch, proj.Corr, months, drifts); err != nil {
		return nil, err
	}
	findings := make([]ledger.Finding, 0, len(drifts))
	for _, d := range drifts {
		findings = append(findings, ledger.Finding{
			At: r.clock.Now().UTC(), Kind: "projection_drift", AccountID: d.Account, Field: d.Field, Expected: d.Delta.String(), Healed: true,
		})
	}
	r.log.ErrorContext(ctx, "projection differed from the ledger and was healed", slog.String("parent", parent), slog.Int("fields", len(drifts)))
	return drifts, r.ledger.InsertFindings(ctx, findings)
}

// differences are what the projection lacks, field by field.
func differences(proj *balance.Projection, sums *ledger.Sums, ids []string) []balance.Drift {
	var out []balance.Drift
	add := func(account, field string, want, have metering.Micros) {
		if want != have {
			out = append(out, balance.Drift{Account: account, Field: field, Delta: want - have})
		}
	}
	for _, id := range ids {
		st := proj.States[id]
		if st == nil {
			continue // not pushed yet: nothing was charged to it
		}
		add(id, "bal", sums.Balance[id], st.Balance)
		periods := map[string]bool{}
		for period := range st.Used {
			periods[period] = period > sums.Through
		}
		for period := range sums.Used[id] {
			periods[period] = true
		}
		for period, open := range periods {
			if !open {
				continue // closed: nothing compares with it
			}
			add(id, "u:"+strings.TrimSpace(period), sums.Used[id][period], st.Used[period])
		}
	}
	return out
}
