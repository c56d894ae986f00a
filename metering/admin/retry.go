package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterd/meterd/metering/balance"
)

// metaOf makes sure that a partition's projection may be used, and reads its meta
// (reconcile.Projector.Ensure).
type metaOf func(ctx context.Context, p int) (*balance.Meta, error)

// projectionTries bounds how often a call begins anew with another projection.
const projectionTries = 5

// retried calls f, which may be repeated, with the projection of a partition that is in
// use; again where that was over on the way (balance.Over), or lacked accounts, which
// it is given first. what is said to have failed where that goes on.
func (h *Snapshots) retried(ctx context.Context, p int, what string, meta metaOf, f func(m *balance.Meta) error) error {
	var last error
	for range projectionTries {
		m, err := meta(ctx, p)
		if err != nil {
			return err
		}
		last = f(m)
		var missing *balance.MissingError
		switch {
		case errors.As(last, &missing):
			if err := h.PushMissing(ctx, p, m, missing.Accounts); err != nil {
				return err
			}
		case !balance.Over(last):
			return last
		}
	}
	return fmt.Errorf("%s: %w", what, last)
}
