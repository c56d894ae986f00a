package suspend

import "errors"

// ErrTurn puts a job of the suspensions queue back: others of the same parent, or
// for the same receiver, are in hand.
var ErrTurn = errors.New("not yet: the job waits for others of its parent, or for its receiver")

// errNever: no retry helps.
var errNever = errors.New("not set up")
