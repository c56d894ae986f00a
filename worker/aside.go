package worker

import (
	"context"
	"errors"
	"slices"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// While the ledger is away limits go on working: what can be charged without it is.
// Lines of a task that need it first, because a newer snapshot may know their account
// or price, or because their identity is cold, leave as a task of their own, so that
// one of them doesn't hold up the others.

// withoutLedger tells whether an error says that the ledger can't be asked now.
func (e *engine) withoutLedger(err error) bool {
	return errors.Is(err, ledger.ErrAway) ||
		errors.Is(err, errLater) && (e.outage.away.Load() || e.outage.stands(e.clock.Now())) // what waits for others' rows
}

// setAside hands lines over as a task of their own. It is named by them: an attempt
// that is cut off after it may set others aside next time. Lines of both are charged
// once, for their identity is the same.
func (e *engine) setAside(ctx context.Context, t *task, lines []int) error {
	part := pick(t.lines, lines)
	return e.enqueue(ctx, jobs.TypeIngest, idOf(t.id+"~a", part), e.codec.Encode(part), retryFirst)
}

// separable: its lines may be charged apart. Refunds and corrections read the ledger
// in any case.
func (t *task) separable() bool { return t.corrections == nil && !t.inline }

// setDoubtfulAside sets lines aside that a newer snapshot may know, after the ledger
// couldn't be asked for one (cause), if others are left.
func (e *engine) setDoubtfulAside(ctx context.Context, t *task, parts map[int]*slice, cause error) error {
	if !t.separable() || !e.withoutLedger(cause) {
		return cause
	}
	var doubtful []int
	left := 0
	for _, s := range parts {
		left += len(s.charged)
		for _, r := range s.refused {
			if mayBeOld(r.reason) {
				doubtful = append(doubtful, r.line)
			}
		}
	}
	if left == 0 {
		return cause
	}
	slices.Sort(doubtful)
	if err := e.setAside(ctx, t, doubtful); err != nil {
		return err
	}
	for p, s := range parts {
		s.refused = slices.DeleteFunc(s.refused, func(r refusal) bool { return mayBeOld(r.reason) })
		if len(s.charged) == 0 && s.onlyCharges() {
			delete(parts, p)
		}
	}
	return nil
}

// setColdAside sets the identities of a slice aside that the ledger couldn't be asked
// for (cause), if others are left.
func (e *engine) setColdAside(ctx context.Context, t *task, s *slice, meta *balance.Meta, call *balance.Call, cold *balance.ColdError, cause error) error {
	ask := s.toLookUp(call, meta.Window, cold)
	if !t.separable() || !e.withoutLedger(cause) || len(ask) == len(s.charged) {
		return cause
	}
	away := make(map[int]bool, len(ask))
	lines := make([]int, 0, len(ask))
	for _, n := range ask {
		away[call.Items[n].Line] = true
		lines = append(lines, call.Items[n].Line)
	}
	slices.Sort(lines)
	if err := e.setAside(ctx, t, lines); err != nil {
		return err
	}
	s.charged = slices.DeleteFunc(s.charged, func(c candidate) bool { return away[c.line] })
	return nil
}
