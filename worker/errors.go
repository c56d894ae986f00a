package worker

import (
	"errors"
	"slices"

	"github.com/meterd/meterd/internal/deliver"
)

// errLater puts a task back: something that it waits for hasn't come. It is no
// failure.
var errLater = errors.New("not yet: the task waits for others to settle")

// errLanding puts a task back that reads what messages stand at: what an older
// epoch has charged about one of them may not have landed yet. It comes within
// metering.LandMax of the new epoch.
var errLanding = errors.New("not yet: a charge of before Redis was rebuilt may still be on its way to ClickHouse, for six minutes at most")

// errTurn puts a job of the suspensions queue back: others of the same parent, or
// for the same receiver, are in hand.
var errTurn = errors.New("not yet: the job waits for others of its parent, or for its receiver")

// errNever: no retry helps.
var errNever = errors.New("not set up")

// quiet tells errors that only say that a task waits for its turn.
func quiet(err error) bool {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(many.Unwrap(), func(e error) bool { return !quiet(e) })
	}
	return errors.Is(err, errLater) || errors.Is(err, errTurn) || errors.Is(err, deliver.ErrBusy)
}
