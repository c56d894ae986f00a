package worker

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// While the ledger is away limits go on working: what can be charged without it is.
// Lines of a task that need it first, because a newer snapshot may know their account
// or price, or because their identity is cold, leave as a task of their own, so that
// one of them doesn't hold up the others. The answer to the charge of the others keeps
// which those are: that attempt and all that follow hand the same ones over, and charge
// none of them.

// withoutLedger tells whether an error says that the ledger can't be asked now.
func (e *engine) withoutLedger(err error) bool {
	return errors.Is(err, ledger.ErrAway) ||
		errors.Is(err, errLater) && (e.outage.away.Load() || e.outage.stands(e.clock.Now())) // what waits for others' rows
}

// separable: its lines may be charged apart. Refunds and corrections read the ledger
// in any case.
func (t *task) separable() bool { return t.corrections == nil && !t.inline }

// setDoubtfulAside takes lines out that a newer snapshot may know, after the ledger
// couldn't be asked for one (cause), if others are to be charged. They leave with the
// first slice that is charged.
func (e *engine) setDoubtfulAside(t *task, parts map[int]*slice, cause error) error {
	charges := func(s *slice) bool { return len(s.charged) > 0 }
	if !t.separable() || !e.withoutLedger(cause) || !slices.ContainsFunc(slices.Collect(maps.Values(parts)), charges) {
		return cause
	}
	for p, s := range parts {
		s.refused = slices.DeleteFunc(s.refused, func(r refusal) bool {
			doubtful := mayBeOld(r.reason)
			if doubtful {
				t.doubtful = append(t.doubtful, r.line)
			}
			return doubtful
		})
		if len(s.charged) == 0 && s.onlyCharges() {
			delete(parts, p)
		}
	}
	return nil
}

// setColdAside sets the identities of a slice aside that the ledger couldn't be asked
// for (cause), if others are left.
func (e *engine) setColdAside(t *task, s *slice, call *balance.Call, ask []int, cause error) error {
	if !t.separable() || !e.withoutLedger(cause) || len(ask) == len(s.charged) {
		return cause
	}
	away := make(map[int]bool, len(ask))
	for _, n := range ask {
		away[call.Items[n].Line] = true
		s.aside = append(s.aside, call.Items[n].Line)
	}
	s.charged = slices.DeleteFunc(s.charged, func(c candidate) bool { return away[c.line] })
	return nil
}

// handAside hands a slice's lines over that were set aside.
func (e *engine) handAside(ctx context.Context, t *task, s *slice) error {
	if len(s.aside) == 0 {
		return nil
	}
	lines := pick(t.lines, slices.Sorted(slices.Values(s.aside)))
	return e.enqueue(ctx, jobs.TypeIngest, idOf(t.id+"~a", lines), e.codec.Encode(lines), retryFirst)
}

// setAsideBy takes the lines out of a task's slices that an answer which was held has
// set aside, with whatever they have become by a newer snapshot.
func setAsideBy(reply *balance.Reply, parts map[int]*slice) error {
	if reply == nil || reply.State != balance.Held || len(parts) < 2 {
		return nil // recall does it for its slice
	}
	r, err := decodeRated(reply.Rated)
	if err != nil || len(r.aside) == 0 {
		return err
	}
	gone := func(line int) bool { return slices.Contains(r.aside, line) }
	for _, s := range parts {
		s.charged = slices.DeleteFunc(s.charged, func(c candidate) bool { return gone(c.line) })
		s.refused = slices.DeleteFunc(s.refused, func(r refusal) bool { return gone(r.line) })
		s.copies = slices.DeleteFunc(s.copies, func(c copied) bool { return gone(c.line) })
	}
	return nil
}
