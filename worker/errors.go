package worker

import (
	"errors"
	"slices"

	"github.com/meterd/meterd/internal/deliver"
	"github.com/meterd/meterd/worker/pipeline"
	"github.com/meterd/meterd/worker/suspend"
)

// quiet tells errors that only say that a task waits for its turn.
func quiet(err error) bool {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(many.Unwrap(), func(e error) bool { return !quiet(e) })
	}
	return errors.Is(err, pipeline.ErrLater) || errors.Is(err, suspend.ErrTurn) || errors.Is(err, deliver.ErrBusy)
}
