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
	// Drifts say which, the first driftsMax of them.
	Drifts []Difference `json:"drifts"`
}

// Difference is one of what drifted.
type Difference struct {
	AccountID string `json:"account"`
	Field     string `json:"field"` // bal; u:MONTH; account; the kind and id of a row that landed in a closed month; a closed month
	Was       string `json:"was"`   // in the projection; lost; the closed month; its digest
	Is        string `json:"is"`    // by the ledger; held; the month that the row is booked in now; the digest of what is there
	Healed    bool   `json:"healed"`
}

// driftsMax bounds what a result holds.
const driftsMax = 10_000

// drifted notes one.
func (r *Result) drifted(account, field, was, is string, healed bool) {
	r.Drifted++
	if healed {
		r.Healed++
	}
	if len(r.Drifts) < driftsMax {
		r.Drifts = append(r.Drifts, Difference{AccountID: account, Field: field, Was: was, Is: is, Healed: healed})
	}
}

// Reconciler compares projection and ledger while ingest goes on.
type Reconciler struct {
	// Progress, if set, is told how many parents Run is through with.
	Progress Progress

	projector *Projector
	store     *balance.Store
	ledger    *ledger.Ledger
	clock     clock.Clock
	log       *slog.Logger

	looked map[ledger.ParentMonth]look // closed months
}

// Progress is told how far work has come.
type Progress func(done, total int64)

func (p Progress) tell(done, total int) {
	if p != nil {
		p(int64(done), int64(total))
	}
}

// NewReconciler returns one of a projector's store and ledger. It isn't for several
// goroutines at once.
func NewReconciler(p *Projector, log *slog.Logger) *Reconciler {
	return &Reconciler{projector: p, store: p.store, ledger: p.ledger, clock: p.clock, log: log, looked: map[ledger.ParentMonth]look{}}
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
	done := 0
	for p, list := range batches(r.store, snap) {
		for _, parents := range list {
			r.Progress.tell(done, len(snap.Parents))
			if err := r.parents(ctx, snap, p, parents, &res); err != nil {
				return res, err
			}
			done += len(parents)
		}
	}
	return res, nil
}

// parents compares those of a batch; again those that something came between.
func (r *Reconciler) parents(ctx context.Context, snap *metering.Snapshot, p int, parents []string, res *Result) error {
	var err error
	for range tries {
		if parents, err = r.compare(ctx, snap, p, parents, res); err == nil {
			return nil
		}
		if !errors.Is(err, balance.ErrMoved) && !errors.Is(err, balance.ErrEpoch) {
			return err
		}
	}
	return err
}

// compare reads the projection of each parent and its seq S in one script, waits
// until no open answer is ≤ S, sums the rows up to S, and adds the difference if
// no other correction came between. It returns the parents that are left, with
// ErrMoved or ErrEpoch.
func (r *Reconciler) compare(ctx context.Context, snap *metering.Snapshot, p int, parents []string, res *Result) ([]string, error) {
	meta, err := r.store.Meta(ctx, p) // before what is read, so that an account that it says was pushed is in that
	if err != nil {
		return parents, err
	}
	bases, err := r.ledger.Bases(ctx, parents)
	if err != nil {
		return parents, err
	}
	projs, of, last := make([]*balance.Projection, len(parents)), make([]ledger.SumsOf, len(parents)), int64(0)
	for i, parent := range parents {
		if projs[i], err = r.store.Read(ctx, p, snap.Family(parent)); err != nil {
			return parents, err
		}
		if projs[i].Epoch != meta.Epoch {
			return parents, balance.ErrEpoch
		}
		of[i] = ledger.SumsOf{Parent: parent, Base: bases[parent], Seq: projs[i].Seq}
		last = max(last, projs[i].Seq)
	}
	if lost := lostAccounts(snap, meta, parents, projs); len(lost) > 0 {
		return parents, r.replace(ctx, snap, p, meta, lost, res)
	}
	ok, err := r.store.WaitSettled(ctx, p, last, settleMax)
	if err != nil {
		return parents, err
	}
	if !ok {
		return parents, ErrBusy
	}
	sums, err := r.ledger.Sums(ctx, meta.Epoch, of)
	if err != nil {
		return parents, err
	}
	var left []string
	var moved error
	heals := int64(0) // of this batch: each raises the correction number
	for i, parent := range parents {
		ids := snap.Family(parent)
		drifts := differences(projs[i], sums[parent], ids)
		if len(drifts) > 0 {
			projs[i].Corrections += heals
			err := r.heal(ctx, snap.Accounts[parent], p, projs[i], drifts)
			if errors.Is(err, balance.ErrMoved) || errors.Is(err, balance.ErrEpoch) {
				left, moved = append(left, parent), err
				continue
			}
			if err != nil {
				return append(left, parents[i:]...), err
			}
			heals++
		}
		res.Checked += len(ids)
		for _, d := range drifts {
			res.drifted(d.Account, d.Field, d.Have.String(), (d.Have + d.Delta).String(), true)
		}
	}
	return left, moved
}

// lostAccounts are those that were pushed to the projection and that it holds no more.
func lostAccounts(snap *metering.Snapshot, meta *balance.Meta, parents []string, projs []*balance.Projection) (lost []string) {
	for i, parent := range parents {
		for _, id := range snap.Family(parent) {
			if projs[i].States[id] == nil && snap.Accounts[id].First <= meta.Catalog {
				lost = append(lost, id)
			}
		}
	}
	return lost
}

// replace makes a projection anew that has lost accounts: with them went who was
// suspended by hand, and what was told and alerted, which no sum brings back. Who pushes
// an account that was lost ends the projection. ErrEpoch once there is another.
func (r *Reconciler) replace(ctx context.Context, snap *metering.Snapshot, p int, meta *balance.Meta, lost []string, res *Result) error {
	err := r.store.Push(ctx, p, meta, 0, []*metering.Account{snap.Accounts[lost[0]]}, r.clock.Now())
	if err == nil { // another was faster
		return balance.ErrMoved
	}
	if !errors.Is(err, balance.ErrLost) {
		return err
	}
	for _, id := range lost {
		res.drifted(id, fieldAccount, accountLost, accountHeld, true)
	}
	if _, err := r.projector.Ensure(ctx, p); err != nil {
		return err
	}
	return balance.ErrEpoch
}

// heal adds what the projection of a parent lacks, and notes it.
func (r *Reconciler) heal(ctx context.Context, parent *metering.Account, p int, proj *balance.Projection, drifts []balance.Drift) error {
	months := balance.MonthsAround(parent.Calendar, r.clock.Now())
	if err := r.store.Heal(ctx, p, proj.Epoch, proj.Corrections, months, drifts); err != nil {
		return err
	}
	findings := make([]ledger.Finding, 0, len(drifts))
	for _, d := range drifts {
		findings = append(findings, ledger.Finding{
			At: r.clock.Now().UTC(), Kind: ledger.FindingDrift, AccountID: d.Account, Field: d.Field,
			Expected: (d.Have + d.Delta).String(), Actual: d.Have.String(), Healed: true,
		})
	}
	r.log.ErrorContext(ctx, "projection differed from the ledger and was healed", slog.String("parent", parent.ID), slog.Int("fields", len(drifts)))
	return r.ledger.InsertFindings(ctx, findings)
}

// differences are what the projection lacks, field by field.
func differences(proj *balance.Projection, sums *ledger.Sums, ids []string) []balance.Drift {
	var out []balance.Drift
	add := func(account, field string, want, have metering.Micros) {
		if want != have {
			out = append(out, balance.Drift{Account: account, Field: field, Have: have, Delta: want - have})
		}
	}
	for _, id := range ids {
		st := proj.States[id]
		if st == nil {
			continue // not pushed yet: nothing was charged to it (else see lostAccounts)
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
