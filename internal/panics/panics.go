// Package panics turns a goroutine's panic into an error, which says of what kind it
// was and nothing of what it held: that may be an amount or a phone number.
package panics

import "fmt"

// Error is a panic that was recovered, kept as a failure so that it is counted.
type Error struct{ Value any }

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("handler panicked with a %T", e.Value) }
