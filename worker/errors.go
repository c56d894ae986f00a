package worker

import (
	"errors"
	"fmt"
)

// errLater puts a task back: something that it waits for hasn't come. It is no
// failure.
var errLater = errors.New("not yet: the task waits for others to settle")

// panicError is a handler's panic, kept as a failure so that it is counted.
type panicError struct{ value any }

// Error implements error. The value may hold a record's text, so it isn't shown.
func (e *panicError) Error() string { return fmt.Sprintf("handler panicked with a %T", e.value) }
